import { assert, assertEquals, assertThrows } from "@std/assert";
import { generic } from "./presets/generic.ts";
import { DEFAULT_PRESET, findPreset, PRESETS } from "./presets/index.ts";
import type { MachineSpec } from "./spec.ts";
import { Tlb } from "./tlb.ts";
import {
  checkSpec,
  cpusOf,
  sourceOf,
  SpecError,
  validateSpec,
  withCpus,
} from "./validate.ts";

/** Paths of the fields that hold a number, or a range that stands for one. */
function constants(value: object, path = ""): string[] {
  return Object.entries(value).flatMap(([key, item]) => {
    const at = path === "" ? key : `${path}.${key}`;
    if (at === "sources" || at === "name" || at === "description") return [];
    return typeof item === "object" ? constants(item, at) : [at];
  });
}

const MACHINES: MachineSpec[] = [
  ...Object.values(PRESETS),
  generic(1, 1),
  generic(2, 4),
  generic(512, 8),
  withCpus(PRESETS["opteron-2x4"], 13),
];

Deno.test("presets validate, as they are and through JSON", () => {
  for (const spec of MACHINES) {
    checkSpec(spec);
    assertEquals(validateSpec(JSON.parse(JSON.stringify(spec))), spec);
    new Tlb(spec.tlb);
  }
});

Deno.test("presets name a source for every constant, and none twice", () => {
  for (const spec of MACHINES) {
    const fields = constants(spec);
    for (const field of fields) {
      assert(sourceOf(spec, field), `${spec.name}: ${field} has no source`);
    }
    const sourced = spec.sources.map(({ field }) => field);
    assertEquals(sourced.length, new Set(sourced).size, spec.name);
    for (const at of sourced) {
      assert(
        fields.some((field) => field === at || field.startsWith(`${at}.`)),
        `${spec.name}: source of "${at}", which is no field`,
      );
    }
  }
});

Deno.test("findPreset() knows its names and suggests the nearest", () => {
  for (const [name, spec] of Object.entries(PRESETS)) {
    assertEquals(findPreset(name).name, name);
    assertEquals(spec.name, name);
  }
  assertEquals(Object.keys(PRESETS)[0], DEFAULT_PRESET);
  assertThrows(
    () => findPreset("opteron2x4"),
    RangeError,
    'Cannot find a machine as it must be one of opteron-2x4, generic, i386-4, xeon-2s, altix-64, xen-pv (nearest is "opteron-2x4"): current value is "opteron2x4"',
  );
  assertThrows(() => findPreset("constructor"), RangeError);
});

Deno.test("generic() refuses what is no machine", () => {
  for (const [s, c] of [[0, 1], [1, 0], [1.5, 2], [4097, 1], [65, 64]]) {
    assertThrows(() => generic(s, c), RangeError, "1..4096");
  }
  assertEquals(cpusOf(generic(1024, 4)), 4096);
  assertEquals(generic(1024, 4).kernel.nrCpus, 4096);
});

Deno.test("validateSpec() lays a file over a preset", () => {
  const base = PRESETS["opteron-2x4"];
  const spec = validateSpec({
    extends: "opteron-2x4",
    name: "slow",
    cache: { otherSocketCycles: 900 },
    tlb: { l1: { entries: 32, ways: 32 } },
    sources: [{ field: "tlb.l1.ways", source: "a guess" }],
  });
  assertEquals(spec.name, "slow");
  assertEquals(spec.cache, { ...base.cache, otherSocketCycles: 900 });
  assertEquals(spec.tlb.l1, { entries: 32, ways: 32 });
  assertEquals(spec.tlb.l2, base.tlb.l2);
  assertEquals(sourceOf(spec, "tlb.l1.ways")?.source, "a guess");
  assertEquals(
    sourceOf(spec, "cache.otherSocketCycles")?.source,
    "chosen: by the machine file",
  );
  assertEquals(
    sourceOf(spec, "cache.hitCycles"),
    sourceOf(base, "cache.hitCycles"),
  );
  assertEquals(base.cache.otherSocketCycles, 282); // untouched
  assertEquals(validateSpec({ extends: "xeon-2s" }), PRESETS["xeon-2s"]);
});

Deno.test("validateSpec() accepts an ia64 machine", () => {
  const spec = validateSpec({
    extends: "generic",
    paging: { format: "ia64-16k", pageShift: 14 },
    layout: {
      directMapStart: "0x800000000000",
      vmallocStart: "0x200000000",
      vmallocEnd: "0x800000000000",
      modulesStart: "0x200000000",
      modulesEnd: "0x800000000000",
    },
    clocksource: { name: "rtc" },
  });
  assertEquals(spec.paging.pageShift, 14);
});

Deno.test("validateSpec() takes a directory's field where there is one, and leaves it out else", () => {
  const own = validateSpec({
    extends: "altix-64",
    cache: { homeBusyCycles: 10 },
  });
  assertEquals(own.cache.homeBusyCycles, 10);
  assertEquals(PRESETS["altix-64"].cache.homeBusyCycles, 60);
  const added = validateSpec({
    extends: "generic",
    cache: { homeBusyCycles: 0 },
  });
  assertEquals(added.cache.homeBusyCycles, 0);
  const none = validateSpec({ extends: "generic", name: "plain" });
  assert(!Object.hasOwn(none.cache, "homeBusyCycles"));
  assertThrows(
    () => validateSpec({ extends: "generic", cache: { homeBusyCycles: -1 } }),
    SpecError,
    "cache.homeBusyCycles must be an integer in 0..1000000000",
  );
});

Deno.test("validateSpec() says in one line what is wrong", () => {
  const over = (file: object) => ({ extends: "opteron-2x4", ...file });
  const layout = (fields: object) => over({ layout: fields });
  const full = PRESETS["opteron-2x4"];
  const { clockHz: _, ...noClock } = full;
  const { tlb: __, ...noTlb } = full;
  const cases: [unknown, string][] = [
    [null, "it must be a JSON object: current value is null"],
    [[], "it must be a JSON object: current value is []"],
    ["opteron-2x4", 'it must be a JSON object: current value is "opteron-2x4"'],
    [
      {},
      "name must be 1 to 200 printable characters: current value is missing",
    ],
    [
      noClock,
      "clockHz must be an integer in 1000000..100000000000: current value is missing",
    ],
    [noTlb, "tlb must be a JSON object: current value is missing"],
    [
      { extends: "opteron2x4" },
      'extends must be one of opteron-2x4, generic, i386-4, xeon-2s, altix-64, xen-pv (nearest is "opteron-2x4"): current value is "opteron2x4"',
    ],
    [
      { extends: 7 },
      "extends must be one of opteron-2x4, generic, i386-4, xeon-2s, altix-64, xen-pv: current value is 7",
    ],
    [
      { extend: "generic" },
      'extend must be a field that exists (nearest is "extends"): current value is "generic"',
    ],
    [
      over({ clockHZ: 5 }),
      'clockHZ must be a field that exists (nearest is "clockHz"): current value is 5',
    ],
    [
      over({ tlb: { l3: {} } }),
      'tlb.l3 must be a field that exists (nearest is "tlb.l1"): current value is {}',
    ],
    [
      JSON.parse('{"extends":"generic","__proto__":{"x":1}}'),
      '__proto__ must be a field that exists (nearest is "topology"): current value is {"x":1}',
    ],
    [
      over({ "a\nb": 1 }),
      'a\\nb must be a field that exists (nearest is "tlb"): current value is 1',
    ],
    [over({ tlb: 5 }), "tlb must be a JSON object: current value is 5"],
    [
      over({ clockHz: "2.3" }),
      'clockHz must be an integer in 1000000..100000000000: current value is "2.3"',
    ],
    [
      over({ cache: { hitCycles: 1.5 } }),
      "cache.hitCycles must be an integer in 0..1000000000: current value is 1.5",
    ],
    [
      over({ cache: { hitCycles: -1 } }),
      "cache.hitCycles must be an integer in 0..1000000000: current value is -1",
    ],
    [
      over({ cyclesPerInstruction: 0 }),
      "cyclesPerInstruction must be a number above 0, at most 100: current value is 0",
    ],
    [
      over({ name: "two\nlines" }),
      'name must be 1 to 200 printable characters: current value is "two\\nlines"',
    ],
    [
      over({ kernel: { hashdist: 1 } }),
      "kernel.hashdist must be true or false: current value is 1",
    ],
    [
      over({ clocksource: { name: "HPTE" } }),
      'clocksource.name must be one of hpet, acpi_pm, tsc, itc, rtc (nearest is "hpet"): current value is "HPTE"',
    ],
    [
      over({ ipi: { broadcast: null } }),
      "ipi.broadcast must be one of mask, each: current value is null",
    ],
    [
      over({ tlb: { l1: { ways: 7 } } }),
      "tlb.l1.ways must divide tlb.l1.entries (48): current value is 7",
    ],
    [
      over({ tlb: { l1: { ways: 16 } } }),
      "tlb.l1.ways must split tlb.l1.entries (48) into a power of two of sets: current value is 16",
    ],
    [
      over({ tlb: { l1: { entries: 0 } } }),
      "tlb.l1.entries must be >= 1: current value is 0",
    ],
    [
      over({ topology: { nodes: 3 } }),
      "topology.nodes must divide topology.sockets (2): current value is 3",
    ],
    [
      over({ topology: { sockets: 4096, nodes: 1 } }),
      "topology.sockets must give at most 4096 CPUs with topology.coresPerSocket (4): current value is 4096",
    ],
    [
      over({ topology: { cpus: 9 } }),
      "topology.cpus must fill 2 sockets of 4, the last at least in part (5..8): current value is 9",
    ],
    [
      over({ topology: { cpus: 4 } }),
      "topology.cpus must fill 2 sockets of 4, the last at least in part (5..8): current value is 4",
    ],
    [
      over({ kernel: { nrCpus: 4 } }),
      "kernel.nrCpus must be at least the CPUs present (8): current value is 4",
    ],
    [
      over({ memory: { lineBytes: 48 } }),
      "memory.lineBytes must be a power of two: current value is 48",
    ],
    [
      over({ memory: { bytesPerNode: 2 ** 20 + 1 } }),
      "memory.bytesPerNode must be a multiple of the page size (4096), and 2147483648 pages at most in all nodes: current value is 1048577",
    ],
    [
      over({ paging: { pageShift: 14 } }),
      "paging.pageShift must be 12, which x86-64 has: current value is 14",
    ],
    [
      over({ paging: { format: "i386" } }),
      'paging.format must be one of x86-64, i386-pae, ia64-16k (nearest is "i386-pae"): current value is "i386"',
    ],
    [
      layout({ vmallocStart: "ffffc20000000000" }),
      'layout.vmallocStart must be the low 48 bits in hex, such as "0xc20000000000": current value is "ffffc20000000000"',
    ],
    [
      layout({ vmallocStart: "0xc20000000010" }),
      'layout.vmallocStart must be a multiple of the page size (0x1000): current value is "0xc20000000010"',
    ],
    [
      layout({ vmallocStart: "0x1000" }),
      'layout.vmallocStart must be in the kernel\'s part of x86-64 (0x800000000000..0xffffffffffff): current value is "0x1000"',
    ],
    [
      layout({ vmallocEnd: "0xc10000000000" }),
      'layout.vmallocEnd must be above layout.vmallocStart (0xc20000000000): current value is "0xc10000000000"',
    ],
    [
      layout({ vmallocEnd: "0xe10000000010" }),
      'layout.vmallocEnd must be a multiple of the page size (0x1000), or one less: current value is "0xe10000000010"',
    ],
    [
      layout({ modulesStart: "0xd00000000000" }),
      'layout.modulesStart must begin a range that is the vmalloc range or disjoint from it: current value is "0xd00000000000"',
    ],
    [
      layout({ directMapStart: "0xc1ff00000000" }),
      'layout.directMapStart must keep all memory (0x200000000 bytes) clear of vmalloc and modules: current value is "0xc1ff00000000"',
    ],
    [
      layout({ directMapStart: "0xffffff000000" }),
      'layout.directMapStart must leave room for all memory (0x200000000 bytes): current value is "0xffffff000000"',
    ],
    [
      { extends: "i386-4", layout: { vmallocEnd: "0x200000000" } },
      'layout.vmallocEnd must be at most 0x100000000: current value is "0x200000000"',
    ],
    [
      over({ sources: {} }),
      "sources must be a list of { field, source }: current value is {}",
    ],
    [
      over({ sources: [{ field: "tlb" }] }),
      "sources[0].source must be 1 to 1000 printable characters: current value is missing",
    ],
  ];
  for (const [json, message] of cases) {
    const error = assertThrows(() => validateSpec(json), SpecError);
    assertEquals(error.message, `Cannot use machine file as ${message}`);
    assertEquals(error.message.includes("\n"), false);
  }
});

Deno.test("withCpus() keeps cores per socket and validates at every size", () => {
  for (const base of Object.values(PRESETS)) {
    for (const n of [1, 2, 3, 5, 8, 13, 64, 65, 100, 1023, 4095, 4096]) {
      const spec = withCpus(base, n);
      checkSpec(spec);
      assertEquals(cpusOf(spec), n);
      const { coresPerSocket } = base.topology;
      assertEquals(spec.topology.coresPerSocket, coresPerSocket);
      assertEquals(spec.topology.sockets, Math.ceil(n / coresPerSocket));
      assert(spec.kernel.nrCpus >= n);
    }
  }
  const opteron = PRESETS["opteron-2x4"];
  assertEquals(withCpus(opteron, 8), opteron);
  assertEquals(withCpus(opteron, 6).topology, {
    sockets: 2,
    coresPerSocket: 4,
    nodes: 2,
    cpus: 6,
  });
  assertEquals(withCpus(opteron, 6).ipi.broadcast, "mask");
  assertEquals(withCpus(opteron, 12).ipi.broadcast, "each");
  assertEquals(withCpus(PRESETS["i386-4"], 9).topology.nodes, 1);
  for (const n of [0, -1, 1.5, 4097, NaN]) {
    assertThrows(
      () => withCpus(opteron, n),
      RangeError,
      "Cannot set the number of CPUs as it must be an integer in 1..4096",
    );
  }
});

Deno.test("validateSpec() takes a hypervisor's costs whole, and gives none to a machine without", () => {
  assertEquals(validateSpec({ extends: "opteron-2x4" }).xen, undefined);
  const spec = validateSpec({ extends: "xen-pv", xen: { trapCycles: 1 } });
  assertEquals(spec.xen, { ...PRESETS["xen-pv"].xen, trapCycles: 1 });
  for (
    const [base, field] of [["opteron-2x4", "xen.updateCycles"], [
      "i386-4",
      "paging.format",
    ]]
  ) {
    const xen = base === "i386-4" ? PRESETS["xen-pv"].xen : { trapCycles: 1 };
    const error = assertThrows(
      () => validateSpec({ extends: base, xen }),
      SpecError,
    );
    assertEquals(error.field, field);
  }
});
