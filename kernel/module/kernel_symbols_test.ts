import { assert, assertEquals, assertThrows } from "@std/assert";
import { hex64 } from "../lib/u64.ts";
import {
  KernelSymbols,
  MapSyntaxError,
  parseSystemMap,
} from "./kernel_symbols.ts";

Deno.test("parseSystemMap() reads System.map, nm and kallsyms, and prefers what is global", () => {
  const symbols = parseSystemMap(`\
0000000000000000 A fixed_percpu_data
ffffffff81000000 T _text
ffffffff81000010 t init
ffffffff81000020 T init
ffffffff81000030 T init
ffffffffc0000000 t helper\t[some_module]

c0100000 T on_i386
`);
  assertEquals(symbols.map(({ name, value }) => [name, hex64(value)]), [
    ["fixed_percpu_data", "0000000000000000"],
    ["_text", "ffffffff81000000"],
    ["init", "ffffffff81000020"],
    ["helper", "ffffffffc0000000"],
    ["on_i386", "00000000c0100000"],
  ]);
});

Deno.test("parseSystemMap() names the line that is none", () => {
  for (const line of ["vmalloc", "ffffffff8 T x", "ffffffff81000000 T", "\0"]) {
    assertThrows(
      () => parseSystemMap(`ffffffff81000000 T a\n${line}\n`),
      MapSyntaxError,
      "line 2",
    );
  }
});

Deno.test("add() moves a symbol and keeps its licence", () => {
  const symbols = new KernelSymbols();
  const { count } = symbols;
  const value = { lo: 0x81234567, hi: 0xffffffff };
  symbols.add([{ name: "vm_unmap_aliases", value }, { name: "other", value }]);
  assertEquals(symbols.count, count + 1);
  assertEquals(symbols.find("vm_unmap_aliases")!.value, value);
  assert(symbols.find("vm_unmap_aliases")!.gpl);
  assert(!symbols.find("other")!.gpl);
  assertEquals(symbols.find("nobody"), null);
});

Deno.test("the kernel's own exports have addresses of their own", () => {
  const symbols = new KernelSymbols();
  const names = ["printk", "vmalloc", "vfree", "kfree", "synchronize_rcu"];
  const values = names.map((name) => hex64(symbols.find(name)!.value));
  assertEquals(new Set(values).size, names.length);
  for (const value of values) assert(value.startsWith("ffffffff80"), value);
});
