import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { DEFAULT_PARAMS } from "../kernel/params.ts";
import {
  memparse,
  ParamError,
  PARAMETERS,
  parseCommandLine,
  sizeText,
  splitCommandLine,
  unknownBootOption,
} from "./params.ts";

Deno.test("splitCommandLine() takes quotes as the kernel does", () => {
  const cases: [string, [string, string | null][]][] = [
    ["", []],
    [" \t a  b\n", [["a", null], ["b", null]]],
    ["a=b", [["a", "b"]]],
    ["a=", [["a", ""]]],
    ["a=b=c", [["a", "b=c"]]],
    ['a="b c" d', [["a", "b c"], ["d", null]]],
    ['"a=b c" d', [["a", "b c"], ["d", null]]],
    ['"a b"', [["a b", null]]],
    ['a=b" c"d', [["a", 'b" c"d']]],
    ['a="b c', [["a", "b c"]]],
    ['a=""', [["a", ""]]],
    ['"', [["", null]]],
  ];
  for (const [line, words] of cases) {
    assertEquals(
      splitCommandLine(line).map(({ name, value }) => [name, value]),
      words,
      line,
    );
  }
});

Deno.test("splitCommandLine() gives back what was quoted", () => {
  const name = fc.stringMatching(/^[a-z][a-z0-9_.-]*$/);
  const value = fc.option(fc.stringMatching(/^[ -!#-~]*$/));
  fc.assert(fc.property(
    fc.array(fc.record({ name, value })),
    fc.boolean(),
    (words, around) => {
      const line = words.map(({ name, value }) => {
        if (value === null) return name;
        return around ? `"${name}=${value}"` : `${name}="${value}"`;
      }).join(" ");
      assertEquals(splitCommandLine(line), words.map((w) => ({ ...w })));
    },
  ));
});

Deno.test("memparse() reads C integers with K, M and G", () => {
  const cases: [string, number][] = [
    ["0", 0],
    ["4096", 4096],
    ["64k", 65536],
    ["64K", 65536],
    ["128M", 2 ** 27],
    ["2g", 2 ** 31],
    ["0x10M", 2 ** 24],
    ["010", 8],
    ["", NaN],
    ["-1", NaN],
    ["M", NaN],
    ["1.5M", NaN],
    ["1T", NaN],
    ["12MB", NaN],
    ["0x", NaN],
    ["09", NaN],
    [" 1", NaN],
    ["1 ", NaN],
    ["99999999999G", NaN],
  ];
  for (const [text, bytes] of cases) {
    assertStrictEquals(memparse(text), bytes, text);
  }
});

Deno.test("memparse() reads what sizeText() writes", () => {
  fc.assert(fc.property(fc.maxSafeNat(), (bytes) => {
    assertEquals(memparse(sizeText(bytes)), bytes);
  }));
});

Deno.test("parseCommandLine() of nothing gives the defaults", () => {
  assertEquals(parseCommandLine(""), {
    params: DEFAULT_PARAMS,
    given: new Set<string>(),
    initArgs: [],
  });
});

Deno.test("parseCommandLine() reads every parameter", () => {
  const line =
    "nr_cpus=4 mem=1G vmalloc=64M hashdist=0 loglevel=5 vmap=vmlist " +
    "vmap.quirk=posted-search,insert-overlap lazy_max=100 seed=7 panic_on_warn " +
    "vmap.max_alloc=4 vmap.space=256 xfs.buf_map=vmap pageattr.quirk=no-unmap-aliases " +
    "xen.quirk=no-unmap-aliases-on-pin failslab=3,10,4096,-1 " +
    "fail_page_alloc=1,50,0,7 fail-page-table=0,100,2,1 ipi_delay=20,5000";
  const { params, given } = parseCommandLine(line);
  assertEquals(params, {
    nr_cpus: 4,
    mem_bytes: 2 ** 30,
    vmalloc_bytes: 2 ** 26,
    hashdist: false,
    loglevel: 5,
    vmap: "vmlist",
    vmap_quirk: new Set(["posted-search", "insert-overlap"]),
    pageattr_quirk: new Set(["no-unmap-aliases"]),
    xen_quirk: new Set(["no-unmap-aliases-on-pin"]),
    lazy_max: 100,
    vmap_max_alloc: 4,
    vmap_space: 256,
    xfs_buf_map: "vmap",
    failslab: { interval: 3, probability: 10, space: 4096, times: -1 },
    fail_page_alloc: { interval: 1, probability: 50, space: 0, times: 7 },
    fail_page_table: { interval: 0, probability: 100, space: 2, times: 1 },
    ipi_delay: { probability: 20, cycles: 5000 },
    seed: 7,
    panic_on_warn: true,
    command_line: line,
    unknown_options: [],
  });
  assertEquals(given.size, 19);
});

Deno.test("parseCommandLine() takes a dash for an underscore, and the last of several", () => {
  const { params } = parseCommandLine("nr-cpus=4 nr_cpus=2 lazy-max=0");
  assertEquals([params.nr_cpus, params.lazy_max], [2, 0]);
  assertEquals(parseCommandLine("quiet").params.loglevel, 4);
  assertEquals(parseCommandLine("quiet debug").params.loglevel, 10);
  assertEquals(parseCommandLine("panic_on_warn=0").params.panic_on_warn, false);
});

Deno.test("parseCommandLine() reports unknown names and stops at --", () => {
  const { initArgs, params } = parseCommandLine(
    'root=/dev/sda1 foo seed=3 -- seed=x "two words" single',
  );
  assertEquals(params.unknown_options, ["root", "foo"]);
  assertEquals(initArgs, ["seed=x", "two words", "single"]);
  assertEquals(params.seed, 3);
  assertEquals(unknownBootOption("foo"), "Unknown boot option `foo': ignoring");
});

Deno.test("parseCommandLine() refuses values that cannot be read", () => {
  const cases: [string, string][] = [
    [
      "vmalloc=-1",
      'Cannot use kernel parameter vmalloc as it must be a size such as 128M: current value is "-1"',
    ],
    [
      "vmalloc",
      "Cannot use kernel parameter vmalloc as it must be a size such as 128M: current value is missing",
    ],
    [
      "mem=1M",
      'Cannot use kernel parameter mem as it must be at least 32M: current value is "1M"',
    ],
    [
      "nr_cpus=0",
      'Cannot use kernel parameter nr_cpus as it must be an integer in 1..4096: current value is "0"',
    ],
    [
      "hashdist=2",
      'Cannot use kernel parameter hashdist as it must be 0 or 1: current value is "2"',
    ],
    [
      "loglevel=11",
      'Cannot use kernel parameter loglevel as it must be an integer in 0..10: current value is "11"',
    ],
    [
      "lazy_max=32M",
      'Cannot use kernel parameter lazy_max as it must be a number of pages such as 8192: current value is "32M"',
    ],
    [
      "vmap.max_alloc=3",
      'Cannot use kernel parameter vmap.max_alloc as it must be a power of two in 1..512: current value is "3"',
    ],
    [
      "vmap.max_alloc=1024",
      'Cannot use kernel parameter vmap.max_alloc as it must be a power of two in 1..512: current value is "1024"',
    ],
    [
      "vmap.space=-1",
      'Cannot use kernel parameter vmap.space as it must be a number of pages such as 1024: current value is "-1"',
    ],
    ...["1,10,0", "1,101,0,-1", "1,10,0,-2", "x", "1,10,0,-1,", "0x1,1,0,1"]
      .map((
        value,
      ): [string, string] => [
        `failslab=${value}`,
        `Cannot use kernel parameter failslab as it must be <interval>,<probability>,<space>,<times> such as 1,10,0,-1: a percentage, and times -1 for no limit: current value is "${value}"`,
      ]),
    [
      "fail_page_table",
      "Cannot use kernel parameter fail_page_table as it must be <interval>,<probability>,<space>,<times> such as 1,10,0,-1: a percentage, and times -1 for no limit: current value is missing",
    ],
    [
      "ipi_delay=10,0",
      'Cannot use kernel parameter ipi_delay as it must be <probability>,<cycles> such as 10,5000: a percentage, and 1..1000000000 cycles: current value is "10,0"',
    ],
    [
      "seed=abc",
      'Cannot use kernel parameter seed as it must be an integer in 0..9007199254740991: current value is "abc"',
    ],
    [
      "vmap=rewrit",
      'Cannot use kernel parameter vmap as it must be one of rewrite, vmlist (nearest is "rewrite"): current value is "rewrit"',
    ],
    [
      "vmap=",
      'Cannot use kernel parameter vmap as it must be one of rewrite, vmlist: current value is ""',
    ],
    [
      "vmap.quirk=posted-search,posted-serch",
      'Cannot use kernel parameter vmap.quirk as it must be a list of quirks from --help (nearest is "posted-search"): current value is "posted-search,posted-serch"',
    ],
    [
      "xfs.buf_map=vm_map",
      'Cannot use kernel parameter xfs.buf_map as it must be one of vmap, vm_map_ram (nearest is "vmap"): current value is "vm_map"',
    ],
    [
      "quiet=1",
      'Cannot use kernel parameter quiet as it must be given without a value: current value is "1"',
    ],
    [
      "panic_on_warn=y",
      'Cannot use kernel parameter panic_on_warn as it must be 0 or 1: current value is "y"',
    ],
  ];
  for (const [line, message] of cases) {
    const error = assertThrows(() => parseCommandLine(line), ParamError);
    assertEquals(error.message, message);
  }
});

Deno.test("parseCommandLine() either reads a line or says in one line why not", () => {
  const word = fc.tuple(
    fc.constantFrom(...PARAMETERS.map(({ name }) => name), "foo"),
    fc.oneof(fc.string(), fc.integer().map(String), fc.constant("64M")),
  ).map(([name, value]) => `${name}=${value}`);
  fc.assert(fc.property(fc.array(word), (words) => {
    try {
      parseCommandLine(words.join(" "));
    } catch (error) {
      if (!(error instanceof ParamError)) throw error;
      assertEquals(error.message.includes("\n"), false);
    }
  }));
});
