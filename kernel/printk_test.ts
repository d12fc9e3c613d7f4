import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { enter, ksym, leave } from "../arch/asm.ts";
import { WARN_ON } from "./bug.ts";
import { KERN_DEBUG, KERN_INFO, Printk, printk } from "./printk.ts";
import { runKernel } from "./testing.ts";

Deno.test("printk stamps lines with virtual seconds", () => {
  const log = new Printk(2_000_000_000);
  log.emit(null, KERN_INFO, "Linux version 2.6.28");
  assertEquals(log.dmesg(), "[    0.000000] Linux version 2.6.28\n");
  assertEquals(log.stamp(2_469_134_000), "[    1.234567]");
});

Deno.test("the log drops its oldest lines when it is full", () => {
  const log = new Printk(1e9, 1000);
  for (let i = 0; i < 3000; i++) log.emit(null, KERN_INFO, `line ${i}`);
  const lines = log.lines();
  assertEquals(lines.at(-1)!.text, "line 2999");
  assert(lines.length >= 30 && lines.length <= 40, `${lines.length} lines`);
  assertEquals(log.dropped + lines.length, 3000);
});

Deno.test("dmesg() leaves out what is above the log level", () => {
  const log = new Printk(1e9);
  log.emit(null, KERN_DEBUG, "detail");
  log.emit(null, KERN_INFO, "news");
  assertEquals(log.dmesg(7), "[    0.000000] news\n");
});

Deno.test("a warning prints who ran and where", () => {
  const { k } = runKernel({ cpus: 1 }, function* (t) {
    printk(t, KERN_INFO, "before");
    enter(t, ksym("vmap_pte_range"));
    WARN_ON(t, true, "entry is not empty");
    leave(t);
    yield* [];
  });
  const text = k.printk.dmesg();
  assertEquals(k.printk.warnings, 1);
  assertStringIncludes(text, "------------[ cut here ]------------\n");
  assertStringIncludes(
    text,
    "WARNING: at vmap_pte_range: entry is not empty\n",
  );
  assertStringIncludes(text, "Pid: 1, comm: init Not tainted 2.6.28 #1\n");
  assertStringIncludes(text, "Call Trace:\n");
  assert(/\] {2}vmap_pte_range\n/.test(text), text);
  assertStringIncludes(text, "---[ end trace 0000000000000001 ]---\n");
});
