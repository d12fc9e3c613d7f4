import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { cpusOf } from "../../arch/hw/validate.ts";
import { DEFAULT_PARAMS } from "../../kernel/params.ts";
import { SANITIZERS } from "../../kernel/sanitizers/index.ts";
import { FakeIo } from "./_fake_io.ts";
import { type BootCommand, defaultThreads, parseOptions } from "./options.ts";
import { UsageError } from "./usage.ts";

function parse(...args: string[]): BootCommand {
  const command = parseOptions(args, new FakeIo());
  assert(command.kind === "boot");
  return command;
}

Deno.test("parseOptions() of nothing is the mixed run, then the benchmark of 2008", () => {
  const { spec, ...rest } = parse();
  assertEquals(spec.name, "opteron-2x4");
  assertEquals(rest, {
    kind: "boot",
    params: { ...DEFAULT_PARAMS, vmap: "vmlist" },
    commandLine: "",
    workload: "map-touch-unmap",
    mixed: true,
    layers: ["vmlist", "rewrite"],
    threads: [1, 2, 4, 8],
    pages: 4,
    ops: null,
    api: null,
    disk: null,
    diskDriver: "brd",
    pcap: null,
    insmod: [],
    ksyms: null,
    sanitize: [],
    path: null,
    format: "text",
    quiet: false,
  });
});

Deno.test("parseOptions() reads every flag, with = or a space", () => {
  const command = parse(
    "--machine=xeon-2s",
    "--cpus",
    "6",
    "--threads=6,1",
    "--vmap=rewrite",
    "--workload=map-touch-unmap",
    "--pages",
    "16",
    "--ops=1000",
    "--api=vmap",
    "--append=loglevel=3",
    "--append",
    "foo",
    "--seed=0",
    "--format=csv",
    "--quiet",
  );
  assertEquals(command.spec.name, "xeon-2s");
  assertEquals(cpusOf(command.spec), 6);
  assertEquals(command.threads, [6, 1]);
  assertEquals(command.layers, ["rewrite"]);
  assertEquals([command.pages, command.ops, command.api], [16, 1000, "vmap"]);
  assertEquals(command.commandLine, "loglevel=3 foo");
  assertEquals(command.params.unknown_options, ["foo"]);
  assertEquals([command.params.loglevel, command.params.seed], [3, 0]);
  assertEquals([command.format, command.quiet], ["csv", true]);
});

Deno.test("parseOptions() lets flags come before the kernel command line", () => {
  assertEquals(parse("--append=seed=5").params.seed, 5);
  assertEquals(parse("--append=seed=5", "--seed=6").params.seed, 6);
  assertEquals(parse("--append=vmap=rewrite").layers, ["rewrite"]);
  assertEquals(parse("--append=vmap=rewrite", "--vmap=vmlist").layers, [
    "vmlist",
  ]);
  assertEquals(parse("--append=nr_cpus=2").threads, [1, 2]);
});

Deno.test("parseOptions() takes a leading -- as some task runners add it", () => {
  assertEquals(parse("--", "--seed=4").params.seed, 4);
});

Deno.test("parseOptions() shows help whatever else is asked", () => {
  for (const args of [["--help"], ["-h"], ["--cpus=0", "--help"]]) {
    assertEquals(parseOptions(args, new FakeIo()).kind, "help");
  }
});

Deno.test("parseOptions() of an XFS workload has defaults of its own", () => {
  const ls = parse("--workload=xfs-ls", "--disk=a.img", "--path=/b/c");
  assertEquals([ls.disk, ls.path, ls.layers], ["a.img", "/b/c", ["rewrite"]]);
  assertEquals(parse("--workload=xfs-ls", "--vmap=vmlist").layers, ["vmlist"]);
  const largeDir = parse("--workload=xfs-large-dir", "--cpus=6");
  assertEquals([largeDir.threads, largeDir.disk], [[6], null]);
  assertEquals(largeDir.layers, ["vmlist", "rewrite"]);
  const some = parse("--workload=xfs-large-dir", "--threads=1,4", "--ops=7");
  assertEquals([some.threads, some.ops], [[1, 4], 7]);
});

Deno.test("defaultThreads() are powers of two, and all CPUs", () => {
  assertEquals(defaultThreads(1), [1]);
  assertEquals(defaultThreads(6), [1, 2, 4, 6]);
  assertEquals(defaultThreads(8), [1, 2, 4, 8]);
  assertEquals(defaultThreads(4096).length, 13);
});

Deno.test("parseOptions() says in one line what is wrong", () => {
  const cases: [string[], string][] = [
    [
      ["--cpus=0"],
      'Cannot use --cpus as it must be an integer in 1..4096: current value is "0"',
    ],
    [
      ["--cpus=4097"],
      'Cannot use --cpus as it must be an integer in 1..4096: current value is "4097"',
    ],
    [
      ["--cpus"],
      'Cannot use --cpus as it must be an integer in 1..4096: current value is ""',
    ],
    [
      ["--cpus=2", "--cpus=4"],
      'Cannot use --cpus as it must come once: current values are "2", "4"',
    ],
    [
      ["--machine=nope"],
      'Cannot use --machine as it must be one of opteron-2x4, generic, i386-4, xeon-2s, altix-64, xen-pv (nearest is "xen-pv") or a file such as mine.json: current value is "nope"',
    ],
    [
      ["--threads=9"],
      'Cannot use --threads as it must be an integer in 1..8, the CPUs of opteron-2x4: current value is "9"',
    ],
    [
      ["--threads=9", "--cpus=6"],
      'Cannot use --threads as it must be an integer in 1..6, the CPUs of opteron-2x4: current value is "9"',
    ],
    [
      ["--threads=3", "--append=nr_cpus=2"],
      'Cannot use --threads as it must be an integer in 1..2, the CPUs of opteron-2x4 with nr_cpus: current value is "3"',
    ],
    [
      ["--threads=1,,2"],
      'Cannot use --threads as it must be an integer in 1..8, the CPUs of opteron-2x4: current value is ""',
    ],
    [
      ["--threads=2,2"],
      'Cannot use --threads as it must name each item once: current value is "2,2"',
    ],
    [
      ["--vmap=vmlists"],
      'Cannot use --vmap as it must be one of rewrite, vmlist (nearest is "vmlist"): current value is "vmlists"',
    ],
    [
      ["--vmap=rewrite,rewrite"],
      'Cannot use --vmap as it must name each item once: current value is "rewrite,rewrite"',
    ],
    [
      ["--workload=map"],
      'Cannot use --workload as it must be one of map-touch-unmap, xfs-large-dir, xfs-ls, modules, xen, all, none (nearest is "xen"): current value is "map"',
    ],
    [
      ["--workload=xfs-ls", "--pages=4"],
      'Cannot use --pages as it goes with --workload=map-touch-unmap alone: current workload is "xfs-ls"',
    ],
    [
      ["--workload=xfs-large-dir", "--api=ram"],
      'Cannot use --api as it goes with --workload=map-touch-unmap alone: current workload is "xfs-large-dir"',
    ],
    [
      ["--workload=xfs-ls", "--threads=2"],
      'Cannot use --threads as it goes with --workload=map-touch-unmap or --workload=xfs-large-dir or --workload=modules alone: current workload is "xfs-ls"',
    ],
    [
      ["--disk=x.img"],
      'Cannot use --disk as it goes with --workload=xfs-large-dir or --workload=xfs-ls alone: current workload is "map-touch-unmap"',
    ],
    [
      ["--workload=xen"],
      'Cannot use --workload=xen as it goes with a machine that has Xen, such as --machine=xen-pv, alone: current machine is "opteron-2x4"',
    ],
    [
      ["--workload=xfs-ls", "--disk="],
      'Cannot use --disk as it must be the path of a file: current value is ""',
    ],
    [
      ["--workload=xfs-ls", "--path=bigdir"],
      'Cannot use --path as it must start with / (nearest is "/bigdir"): current value is "bigdir"',
    ],
    [
      ["--workload=xfs-ls", "--vmap=vmlist,rewrite"],
      'Cannot use --vmap as it must name one layer with xfs-ls: current value is "vmlist,rewrite"',
    ],
    [
      ["--pages=1.5"],
      'Cannot use --pages as it must be an integer in 1..65536: current value is "1.5"',
    ],
    [
      ["--pages=65536", "--append=mem=1G"],
      'Cannot use --pages as it must be at most 16384, so that 8 threads fit in half the memory: current value is "65536"',
    ],
    [
      ["--ops=0"],
      'Cannot use --ops as it must be an integer in 1..1000000000: current value is "0"',
    ],
    [
      ["--ops=1e3"],
      'Cannot use --ops as it must be an integer in 1..1000000000: current value is "1e3"',
    ],
    [
      ["--api=map"],
      'Cannot use --api as it must be one of ram, vmap (nearest is "vmap"): current value is "map"',
    ],
    [
      ["--seed=-1"],
      'Cannot use --seed as it must be an integer in 0..9007199254740991: current value is "-1"',
    ],
    [
      ["--format=jsn"],
      'Cannot use --format as it must be one of text, json, csv (nearest is "json"): current value is "jsn"',
    ],
    [
      ["--append=vmalloc=-1"],
      'Cannot use kernel parameter vmalloc as it must be a size such as 128M: current value is "-1"',
    ],
    [
      ["--append=vmalloc=2G", "--machine=i386-4"],
      'Cannot use kernel parameter vmalloc as it must be 32M to 512M on i386-4: current value is "2G"',
    ],
    [
      ["--thread=3"],
      'Cannot use "--thread=3" as there is no such option: nearest is --threads',
    ],
    [
      ["--no-quiet"],
      'Cannot use "--no-quiet" as there is no such option: nearest is --quiet',
    ],
    [["-q"], 'Cannot use "-q" as there is no such option: nearest is --quiet'],
    [
      ["--quiet=yes"],
      'Cannot use "--quiet=yes": --quiet takes no value',
    ],
    [["boot"], 'Cannot use "boot" as only options are expected: see --help'],
    [["8"], 'Cannot use "8" as only options are expected: see --help'],
    [
      ["--seed=1", "--", "x"],
      'Cannot use "x" as only options are expected: see --help',
    ],
    [[""], 'Cannot use "" as only options are expected: see --help'],
  ];
  for (const [args, message] of cases) {
    const error = assertThrows(() => parse(...args), UsageError);
    assertEquals(error.message, message);
  }
});

Deno.test("parseOptions() either takes arguments or throws a UsageError", () => {
  const flag = fc.constantFrom(
    ..."machine cpus threads vmap workload pages ops api disk path append seed format quiet __proto__ constructor a.b"
      .split(" "),
  );
  const arg = fc.oneof(
    fc.string(),
    fc.tuple(flag, fc.string()).map(([name, value]) => `--${name}=${value}`),
    flag.map((name) => `--${name}`),
    flag.map((name) => `-${name}`),
  );
  fc.assert(fc.property(fc.array(arg, { maxLength: 5 }), (args) => {
    try {
      parseOptions(args, new FakeIo());
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      assert(error.message.startsWith("Cannot "), error.message);
    }
  }));
});

Deno.test("parseOptions() reads --insmod and --ksyms, and checks what goes with what", () => {
  const command = parse("--workload=none", "--insmod=a.ko,b.ko", "--ksyms=m");
  assertEquals(command.insmod, ["a.ko", "b.ko"]);
  assertEquals([command.ksyms, command.workload], ["m", "none"]);
  assertEquals(command.layers, ["rewrite"]);
  assertEquals(parse("--insmod=a.ko").mixed, true);
  assertEquals(parse("--workload=modules", "--ops=5").ops, 5);
  for (
    const args of [
      ["--insmod="],
      ["--insmod=a.ko,,b.ko"],
      ["--ksyms=map"],
      ["--insmod=a.ko", "--ksyms="],
      ["--workload=none", "--threads=1"],
      ["--workload=none", "--ops=1"],
      ["--workload=none", "--vmap=vmlist,rewrite"],
      ["--workload=modules", "--pages=4"],
    ]
  ) assertThrows(() => parse(...args), UsageError, "Cannot use", `${args}`);
});

Deno.test("parseOptions() reads --sanitize= as names, or all", () => {
  assertEquals(parse("--sanitize=race").sanitize, ["race"]);
  assertEquals(parse("--sanitize=tlb,lockdep").sanitize, ["tlb", "lockdep"]);
  assertEquals(
    parse("--sanitize=all").sanitize,
    SANITIZERS.map(({ name }) => name),
  );
  const mistakes = {
    "lockdpe": '(nearest is "lockdep"): current value is "lockdpe"',
    "race,race": "must name each item once",
    "race,all": "must be all or none alone, or names",
    "": "must be one of tlb, ",
  };
  for (const [value, message] of Object.entries(mistakes)) {
    const error = assertThrows(() => parse(`--sanitize=${value}`), UsageError);
    assert(error.message.includes(message), error.message);
  }
});
