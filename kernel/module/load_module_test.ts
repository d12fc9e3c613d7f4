import { assert, assertEquals, assertMatch } from "@std/assert";
import { findPreset } from "../../arch/hw/presets/index.ts";
import {
  EAGAIN,
  EBUSY,
  EEXIST,
  ENOENT,
  ENOEXEC,
  ENOMEM,
  ENOSYS,
  err,
} from "../lib/errno.ts";
import { kthread_join, kthread_run } from "../kthread.ts";
import { msleep } from "../timer.ts";
import { find_vm_area, is_vmalloc_addr } from "../mm/vmalloc.ts";
import { __free_page, alloc_page, nr_free_pages } from "../mm/page_alloc.ts";
import { GFP_ATOMIC } from "../mm/gfp.ts";
import type { Page } from "../mm/page.ts";
import { attempt, FILES, Patched, withModules } from "./testing.ts";
import { module_kallsyms } from "./kallsyms.ts";
import {
  find_module,
  module_put,
  module_state,
  type ModuleNotifier,
  register_module_notifier,
  TAINT_FORCED_MODULE,
  TAINT_PROPRIETARY_MODULE,
  try_module_get,
  unregister_module_notifier,
} from "./module.ts";
import { module_alloc, module_free } from "./module_alloc.ts";
import {
  proc_modules,
  sys_delete_module,
  sys_init_module,
} from "./sys_module.ts";

const NOEXEC = err(ENOEXEC);

Deno.test("modules load, list their users, and unload in the reverse order alone", () => {
  withModules({ cpus: 2 }, function* (t) {
    assertEquals(yield* sys_init_module(t, FILES.lab_base), 0);
    assertEquals(yield* sys_init_module(t, FILES.lab_user), 0);
    assertEquals(yield* proc_modules(t), [
      "lab_user 1416 0 - Live 0xffffffffa0006000",
      "lab_base 1704 1 lab_user, Live 0xffffffffa0000000",
    ]);
    assertEquals(find_module(t, "lab_user")!.depends, ["lab_base"]);
    assertEquals(yield* sys_delete_module(t, "lab_base"), err(EAGAIN));
    assertEquals(yield* sys_delete_module(t, "lab_user"), 0);
    assertEquals(yield* sys_delete_module(t, "lab_base"), 0);
    assertEquals(yield* sys_delete_module(t, "lab_base"), err(ENOENT));
    assertEquals(yield* proc_modules(t), []);
  });
});

Deno.test("a live module has its core region alone, in the modules' range", () => {
  withModules({}, function* (t) {
    yield* sys_init_module(t, FILES.lab_big);
    const mod = find_module(t, "lab_big")!;
    const { start, end } = t.k.vmalloc.modules;
    assert(mod.core >= start && mod.core + mod.core_size <= end);
    assertEquals(mod.init, 0);
    const init = mod.sections.find(({ region }) => region === "init")!;
    assertEquals(yield* find_vm_area(t, init.addr - init.addr % 4096), null);
    yield* sys_delete_module(t, "lab_big");
  });
});

Deno.test("a module that needs one on its way in waits for it", () => {
  // 1. A thread loads lab_base, and sleeps in a notifier before it is live.
  // 2. Another loads lab_user: it finds lab_call, but must not use it yet.
  // 3. lab_base gets live, lab_user goes on.
  withModules({ cpus: 2 }, function* (t) {
    const order: string[] = [];
    const slow: ModuleNotifier = function* (t, mod, state) {
      if (state === "coming" && mod.name === "lab_base") yield* msleep(t, 50);
      order.push(`${mod.name} ${state}`);
    };
    yield* register_module_notifier(t, slow);
    const base = yield* kthread_run(
      t,
      (self) => sys_init_module(self, FILES.lab_base),
      "insmod/0",
    );
    yield* msleep(t, 10);
    assertEquals(find_module(t, "lab_base")!.state, "coming");
    assertEquals(yield* sys_delete_module(t, "lab_base"), err(EBUSY));
    assertEquals(yield* sys_init_module(t, FILES.lab_user), 0);
    assertEquals(order, ["lab_base coming", "lab_user coming"]);
    assertEquals(yield* kthread_join(t, base), 0);
    yield* unregister_module_notifier(t, slow);
    assertEquals(yield* sys_delete_module(t, "lab_user"), 0);
    assertEquals(yield* sys_delete_module(t, "lab_base"), 0);
  });
});

Deno.test("a reference keeps a module from going", () => {
  withModules({}, function* (t) {
    yield* sys_init_module(t, FILES.lab_base);
    const mod = find_module(t, "lab_base")!;
    assert(try_module_get(t, mod));
    assertEquals(yield* sys_delete_module(t, "lab_base"), err(EAGAIN));
    module_put(t, mod);
    assertEquals(yield* sys_delete_module(t, "lab_base"), 0);
  });
});

Deno.test("kallsyms has a capital for what is exported, and the addresses of others", () => {
  withModules({}, function* (t) {
    yield* sys_init_module(t, FILES.lab_base);
    const lines = yield* module_kallsyms(t);
    const find = (name: string) =>
      lines.find((line) => line.includes(` ${name}\t`)) ?? name;
    assertMatch(
      find("lab_call"),
      /^ffffffffa0000\w{3} T lab_call\t\[lab_base\]$/,
    );
    assertMatch(find("lab_counter"), / D lab_counter/);
    assertMatch(find("one"), / t one/);
    assertMatch(find("printk"), /^ffffffff80\w{6} U printk/);
    assertEquals(
      find("lab_absolute"),
      "0000000012345678 a lab_absolute\t[lab_base]",
    );
    yield* sys_delete_module(t, "lab_base");
  });
});

Deno.test("what a module lacks is named, a line a symbol, and its name may be there once", () => {
  withModules({}, function* (t) {
    assertEquals(yield* attempt(t, FILES.lab_user), [err(ENOENT), [
      "lab_user: Unknown symbol lab_counter",
      "lab_user: Unknown symbol lab_call",
      "lab_user: Unknown symbol lab_table",
    ]]);
    yield* sys_init_module(t, FILES.lab_base);
    assertEquals(yield* attempt(t, FILES.lab_base), [err(EEXIST), []]);
    // Another name, but the same exports.
    const twin = new Patched(FILES.lab_base);
    const name = twin.contents(".gnu.linkonce.this_module") + 24;
    twin.u8(name, 0x78);
    assertEquals(yield* attempt(t, twin.bytes), [NOEXEC, [
      "xab_base: exports duplicate symbol lab_call (owned by lab_base)",
    ]]);
    yield* sys_delete_module(t, "lab_base");
  });
});

Deno.test("a licence that is not the GPL's taints, and gets no GPL exports", () => {
  withModules({}, function* (t) {
    yield* sys_init_module(t, FILES.lab_base);
    const user = new Patched(FILES.lab_user).text(
      "license=GPL\0",
      "license=Own\0",
    );
    assertEquals(yield* attempt(t, user.bytes), [err(ENOENT), [
      "lab_user: module license 'Own' taints kernel.",
      "lab_user: Unknown symbol lab_counter",
    ]]);
    const big = new Patched(FILES.lab_big).text("GPL v2\0", "Secret\0");
    assertEquals(yield* attempt(t, big.bytes), [0, []]);
    assertMatch((yield* proc_modules(t))[0], /^lab_big .* \(P\)$/);
    assertEquals(module_state(t.k).tainted, TAINT_PROPRIETARY_MODULE);
    yield* sys_delete_module(t, "lab_big");
    yield* sys_delete_module(t, "lab_base");
  });
});

Deno.test("a module for another kernel is loaded with a message and a taint", () => {
  withModules({}, function* (t) {
    const file = new Patched(FILES.lab_big).text("2.6.28 SMP", "6.1.0! SMP");
    assertEquals(yield* attempt(t, file.bytes), [0, [
      "lab_big: version magic '6.1.0! SMP mod_unload ' should be '2.6.28 SMP mod_unload '",
    ]]);
    assertEquals(module_state(t.k).tainted, TAINT_FORCED_MODULE);
    yield* sys_delete_module(t, "lab_big");
  });
});

/** Ways to spoil lab_base, and what the kernel says. */
const BAD: readonly [string, (p: Patched) => unknown, number, string[]][] = [
  ["no magic", (p) => p.u8(0, 0), NOEXEC, []],
  ["32 bits", (p) => p.u8(4, 1), NOEXEC, []],
  ["big-endian", (p) => p.u8(5, 2), NOEXEC, []],
  ["a program", (p) => p.u16(16, 2), NOEXEC, []],
  ["for i386", (p) => p.u16(18, 3), NOEXEC, []],
  ["section headers of 40 bytes", (p) => p.u16(58, 40), NOEXEC, []],
  ["a wild section table", (p) => p.u64(40, 2n ** 63n), NOEXEC, [
    "Module len 4560 truncated",
  ]],
  ["no sections", (p) => p.u16(60, 0), NOEXEC, ["Module has no section names"]],
  ["names in no section", (p) => p.u16(62, 0xffff), NOEXEC, [
    "Module has no section names",
  ]],
  [
    "a wild section",
    (p) => p.u64(p.header(".text") + 24, 2n ** 64n - 8n),
    NOEXEC,
    [
      "Module len 4560 truncated",
    ],
  ],
  ["an absurd size", (p) => p.u64(p.header(".text") + 32, 2n ** 62n), NOEXEC, [
    "Module len 4560 truncated",
  ]],
  [
    "an absurd .bss",
    (p) => p.u64(p.header(".bss") + 32, 2n ** 62n),
    err(ENOMEM),
    [],
  ],
  [
    "a .bss larger than the modules' range",
    (p) => p.u64(p.header(".bss") + 32, 2n ** 31n),
    err(ENOMEM),
    [],
  ],
  ["an absurd alignment", (p) => p.u64(p.header(".text") + 48, 3n), NOEXEC, [
    "Module section 1 has a bad alignment",
  ]],
  [
    "sections that overlap",
    (p) => p.u64(p.header(".rodata") + 24, 0x44n),
    NOEXEC,
    [
      "Module sections .text and .rodata overlap",
    ],
  ],
  [
    "a name outside the table",
    (p) => p.u32(p.header(".text"), 0xffffff),
    NOEXEC,
    [
      "Module section 1 has a name outside the table",
    ],
  ],
  ["no symbols", (p) => p.u32(p.header(".symtab") + 4, 1), NOEXEC, [
    "lab_base: module has no symbols (stripped?)",
  ]],
  [
    "a symbol table without strings",
    (p) => p.u32(p.header(".symtab") + 40, 999),
    NOEXEC,
    [
      "lab_base: symbol table has no strings",
    ],
  ],
  ["symbols of 16 bytes", (p) => p.u64(p.header(".symtab") + 56, 16n), NOEXEC, [
    "lab_base: symbol table has entries of a wrong size",
  ]],
  [
    "a symbol with a wild name",
    (p) => p.u32(p.contents(".symtab") + 24, 0x7fffffff),
    NOEXEC,
    [
      "lab_base: symbol with a name outside the strings",
    ],
  ],
  [
    "a symbol in no section",
    (p) => p.u16(p.contents(".symtab") + 24 * 3 + 6, 0x1234),
    NOEXEC,
    [
      "lab_base: symbol one is in a section that is not there",
    ],
  ],
  [
    "a common symbol",
    (p) => p.u16(p.contents(".symtab") + 24 * 3 + 6, 0xfff2),
    NOEXEC,
    [
      "lab_base: please compile with -fno-common",
    ],
  ],
  [
    "relocations without addends",
    (p) => p.u32(p.header(".rela.text") + 4, 9),
    err(ENOSYS),
    [
      "non add relocation not supported",
    ],
  ],
  [
    "an unknown relocation",
    (p) => p.u32(p.contents(".rela.text") + 8, 99),
    NOEXEC,
    [
      "module lab_base: Unknown rela relocation: 99",
    ],
  ],
  [
    "a relocation past the section",
    (p) => p.u64(p.contents(".rela.text"), 0x44n),
    NOEXEC,
    [
      "module lab_base: relocation past the end of .text",
    ],
  ],
  [
    "a wild relocation",
    (p) => p.u64(p.contents(".rela.text"), 2n ** 64n - 4n),
    NOEXEC,
    [
      "module lab_base: relocation past the end of .text",
    ],
  ],
  [
    "a relocation of no symbol",
    (p) => p.u32(p.contents(".rela.text") + 12, 500),
    NOEXEC,
    [
      "module lab_base: relocation with a symbol that is not there",
    ],
  ],
  [
    "a PC32 that overflows",
    (p) => p.u64(p.contents(".rela.text") + 16, 2n ** 32n),
    NOEXEC,
    [
      "overflow in relocation type 2 val 0000000100000",
      "`lab_base' likely not compiled with -mcmodel=kernel",
    ],
  ],
  [
    "a 32S that overflows",
    (p) => p.u64(p.contents(".rela.text") + 40, -(2n ** 33n)),
    NOEXEC,
    [
      "overflow in relocation type 11 val fffffffda0000",
      "`lab_base' likely not compiled with -mcmodel=kernel",
    ],
  ],
  [
    "a 32 that overflows",
    (p) => p.u64(p.contents(".rela.rodata.lab") + 40, 2n ** 32n),
    NOEXEC,
    [
      "overflow in relocation type 10 val 0000000112345678",
      "`lab_base' likely not compiled with -mcmodel=kernel",
    ],
  ],
  [
    "a table of exports cut off",
    (p) => p.u64(p.header("__ksymtab") + 32, 24n),
    NOEXEC,
    [
      "module lab_base: relocation past the end of __ksymtab",
    ],
  ],
];

for (const [what, spoil, error, said] of BAD) {
  Deno.test(`a module with ${what} is refused, and memory comes back`, () => {
    withModules({}, function* (t) {
      const file = new Patched(FILES.lab_base);
      spoil(file);
      const [got, lines] = yield* attempt(t, file.bytes);
      assertEquals(got, error);
      assertEquals(
        lines.map((line, i) => line.slice(0, said[i]?.length ?? 0)),
        said,
        lines.join("\n"),
      );
      assertEquals(yield* proc_modules(t), []);
    });
  });
}

Deno.test("a file cut short anywhere is refused", () => {
  withModules({}, function* (t) {
    for (let length = 0; length < FILES.lab_percpu.length; length += 13) {
      const error = yield* sys_init_module(
        t,
        FILES.lab_percpu.slice(0, length),
      );
      assertEquals(error, NOEXEC, `${length} bytes`);
    }
    assertEquals(
      yield* sys_init_module(t, new Uint8Array(2 ** 26 + 1)),
      err(ENOMEM),
    );
  });
});

Deno.test("a module without struct module is refused", () => {
  withModules({}, function* (t) {
    const file = new Patched(FILES.lab_base);
    file.u32(file.header(".gnu.linkonce.this_module") + 8, 0);
    assertEquals(yield* attempt(t, file.bytes), [NOEXEC, [
      "No module found in object",
    ]]);
  });
});

Deno.test("more per-CPU data than the reserve has is refused", () => {
  withModules({ cpus: 4 }, function* (t) {
    const file = new Patched(FILES.lab_percpu);
    file.u64(file.header(".data.percpu") + 48, 8192n);
    assertEquals(yield* attempt(t, file.bytes), [0, [
      "lab_percpu: per-cpu alignment 8192 > 4096",
    ]]);
    yield* sys_delete_module(t, "lab_percpu");
    const grown = new Uint8Array(FILES.lab_percpu.length + 9000);
    grown.set(FILES.lab_percpu);
    const much = new Patched(grown);
    const header = much.header(".data.percpu");
    much.u64(header + 24, BigInt(FILES.lab_percpu.length));
    much.u64(header + 32, 9000n);
    assertEquals(yield* attempt(t, much.bytes), [err(ENOMEM), [
      "Could not allocate 9000 bytes percpu data",
    ]]);
  });
});

for (const name of ["i386-4", "altix-64"]) {
  Deno.test(`${name}: modules come from vmalloc space, and x86-64 ones are refused`, () => {
    withModules({ spec: findPreset(name) }, function* (t) {
      assertEquals(yield* attempt(t, FILES.lab_base), [NOEXEC, []]);
      const addr = yield* module_alloc(t, 10_000);
      assert(is_vmalloc_addr(t, addr));
      yield* module_free(t, addr);
    });
  });
}

Deno.test("module_alloc() gives nothing for nothing, and nothing above the range", () => {
  withModules({}, function* (t) {
    const { start, end } = t.k.vmalloc.modules;
    assertEquals(yield* module_alloc(t, 0), 0);
    assertEquals(yield* module_alloc(t, end - start + 1), 0);
    const addr = yield* module_alloc(t, 1);
    assertEquals(addr, start);
    yield* module_free(t, addr);
  });
});

Deno.test("a module that finds no memory at any point gives back what it had", () => {
  const spec = findPreset("opteron-2x4");
  withModules({
    spec: { ...spec, memory: { ...spec.memory, bytesPerNode: 2 ** 25 } },
  }, function* (t) {
    const held: Page[] = [];
    for (;;) {
      const page = yield* alloc_page(t, GFP_ATOMIC);
      if (page === null) break;
      held.push(page);
    }
    let failures = 0;
    for (;;) {
      const error = yield* sys_init_module(t, FILES.lab_big);
      if (error === 0) break;
      assertEquals(error, err(ENOMEM));
      failures++;
      yield* __free_page(t, held.pop()!);
    }
    assert(failures > 30, `${failures} failures, ${nr_free_pages(t.k)} free`);
    assertEquals(yield* sys_delete_module(t, "lab_big"), 0);
    while (held.length > 0) yield* __free_page(t, held.pop()!);
  });
});
