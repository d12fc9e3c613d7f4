import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Deadlock } from "../../arch/sim/engine.ts";
import { KernelBug } from "../../kernel/bug.ts";
import {
  sampleLargeDirRun,
  sampleLsRun,
  sampleMixedRun,
  sampleResult,
  sampleRun,
} from "../../report/_sample.ts";
import type { BootResult } from "../results.ts";
import type { RunOptions } from "../run.ts";
import type { MixedOptions } from "../run_mixed.ts";
import type { XfsLargeDirOptions, XfsLsOptions } from "../run_xfs.ts";
import { WorkloadError } from "../workload_error.ts";
import { FakeIo } from "./_fake_io.ts";
import { run } from "./command.ts";
import { OutputClosed, ReadError } from "./io.ts";
import type { Runners } from "./workloads.ts";

const RESULT = sampleResult([
  sampleRun("vmlist", 1, 14_700),
  sampleRun("vmlist", 2, 33_600),
  sampleRun("rewrite", 1, 2900),
  sampleRun("rewrite", 2, 3000),
]);

/** A runner that logs a line, makes progress, and gives {@linkcode RESULT}. */
function fakeRunner(options: RunOptions): BootResult {
  options.onProgress?.(0, 4, "vmlist, 1 thread");
  options.onLog?.("[    0.000000] Linux version 2.6.28");
  options.onProgress?.(4, 4, "done");
  return RESULT;
}

const LARGE_DIR = sampleResult([
  sampleLargeDirRun("vmlist", 64),
  sampleLargeDirRun("rewrite", 64),
]);
const LS = sampleResult([sampleLsRun()]);
const MIXED = sampleResult([sampleMixedRun()]);

/** Runners that must not be called, but for `some`. */
function runners(some: Partial<Runners>): Runners {
  return {
    mapTouchUnmap: unreachable,
    xfsLargeDir: unreachable,
    xfsLs: unreachable,
    modules: unreachable,
    none: unreachable,
    mixed: unreachable,
    ...some,
  };
}

/** The benchmark alone, without the mixed run. */
const BENCHMARK = "--workload=map-touch-unmap";
const FAKES = runners({ mapTouchUnmap: fakeRunner });
const UNREACHABLE = runners({});

function failWith(error: unknown): Runners {
  const fail = (options: Pick<RunOptions, "onLog">) => {
    options.onLog?.("[    0.000000] Linux version 2.6.28");
    throw error;
  };
  return {
    mapTouchUnmap: fail,
    xfsLargeDir: fail,
    xfsLs: fail,
    modules: fail,
    none: fail,
    mixed: fail,
  };
}

/** What BUG() throws, without a kernel to throw it. */
function kernelBug(): KernelBug {
  const t = {
    cpu: { id: 3, clock: 2_300_000 },
    backtrace: () => ["vb_free", "kthread"],
    name: "test/3",
    task: { pid: 12 },
  };
  return new KernelBug(
    t as unknown as ConstructorParameters<typeof KernelBug>[0],
    "kernel BUG at vb_free: freed twice",
  );
}

function unreachable(): never {
  throw new Error("the runner was called");
}

Deno.test("run() prints the log, the table and the top of each layer", async () => {
  const io = new FakeIo();
  assertEquals(await run([BENCHMARK], io, FAKES), 0);
  const { stdout } = io;
  const parts = [
    "[    0.000000] Linux version 2.6.28\n\nmap-touch-unmap of 4 pages on opteron-2x4",
    "\nthreads  ns/op",
    "\n\nvmlist, 2 threads: where time went",
    "\n\nvmlist, 2 threads: locks waited for",
    "\n\nrewrite, 2 threads: where time went",
  ];
  const places = parts.map((part) => stdout.indexOf(part));
  assert(places.every((at) => at >= 0), stdout);
  assertEquals(places, [...places].sort((a, b) => a - b));
  assert(stdout.endsWith("\n") && !stdout.endsWith("\n\n"), stdout);
  assertEquals(
    io.stderr,
    "vmaplab: 48000 operations in 1.0 s on this host, 48000 ops/s\n",
  );
});

Deno.test("run() without a workload begins with the mixed run, whose log is the one that shows", async () => {
  const seen: MixedOptions[] = [];
  const both = runners({
    mapTouchUnmap: fakeRunner,
    mixed(options) {
      seen.push(options);
      options.onLog?.("[    0.000000] a mixed machine");
      return MIXED;
    },
  });
  const text = new FakeIo();
  assertEquals(await run([], text, both), 0, text.stderr);
  assert(
    text.stdout.startsWith(
      "[    0.000000] a mixed machine\n\nmixed run on opteron-2x4, vmap=rewrite: 5 tasks",
    ),
    text.stdout,
  );
  assertStringIncludes(
    text.stdout,
    "returned: all pages, all areas\n\nmap-touch-unmap of 4 pages",
  );
  assert(text.stderr.startsWith("vmaplab: 49500 operations"), text.stderr);
  const json = new FakeIo();
  await run(["--format=json", "--vmap=vmlist"], json, both);
  assertEquals(JSON.parse(json.stdout), { ...RESULT, mixed: MIXED.runs[0] });
  assertEquals(seen.map(({ layer }) => layer), ["rewrite", "vmlist"]);
  assertEquals(seen[0].workload, "mixed");
});

Deno.test("run() --workload=all is a mixed run alone", async () => {
  const print = async (...args: string[]) => {
    const io = new FakeIo();
    const mixed = runners({ mixed: () => MIXED });
    assertEquals(await run(["--workload=all", ...args], io, mixed), 0);
    return io.stdout;
  };
  assertStringIncludes(await print(), "\nmixed run on opteron-2x4");
  const { runs } = JSON.parse(await print("--format=json"));
  assertEquals(runs, MIXED.runs);
  assertEquals(
    await print("--format=csv"),
    "schema,machine,cpus,seed,workload,vmap,part,tasks,ops,skipped\n" +
      "1,opteron-2x4,8,1,mixed,rewrite,xfs,5,1500,\n" +
      "1,opteron-2x4,8,1,mixed,rewrite,xen,2,0,no hypervisor\n",
  );
});

Deno.test("run() prints the same on standard output whatever the host is like", async () => {
  for (const format of ["text", "json", "csv"]) {
    const slow = new FakeIo({}, true);
    slow.clockReads = 77;
    slow.columns = 20;
    const fast = new FakeIo();
    await run([BENCHMARK, `--format=${format}`], slow, FAKES);
    await run([BENCHMARK, `--format=${format}`], fast, FAKES);
    assertEquals(slow.stdout, fast.stdout);
  }
});

Deno.test("run() prints JSON and CSV without a log", async () => {
  const json = new FakeIo();
  assertEquals(await run([BENCHMARK, "--format=json"], json, FAKES), 0);
  assertEquals(JSON.parse(json.stdout), RESULT);
  const csv = new FakeIo();
  assertEquals(await run([BENCHMARK, "--format=csv"], csv, FAKES), 0);
  assertEquals(csv.stdout.split("\n").length, 6);
});

Deno.test("run() --quiet leaves the results", async () => {
  const io = new FakeIo({}, true);
  assertEquals(await run([BENCHMARK, "--quiet"], io, FAKES), 0);
  assert(io.stdout.startsWith("map-touch-unmap of"), io.stdout);
  assertEquals(io.stderr, "");
});

Deno.test("run() draws a bar on a terminal, and wipes it before anything else", async () => {
  const io = new FakeIo({}, true);
  await run([BENCHMARK], io, FAKES);
  const clear = "\r\x1b[K";
  assertEquals(io.stderr.split(clear).map((part) => part.slice(0, 3)), [
    "",
    "[..",
    "",
    "[##",
    "vma",
  ]);
});

Deno.test("run() hands the runner what was asked for", async () => {
  let seen: RunOptions | null = null;
  await run(
    [
      BENCHMARK,
      "--threads=2",
      "--ops=5",
      "--api=vmap",
      "--append=loglevel=3",
      "--seed=9",
      "--vmap=rewrite",
    ],
    new FakeIo(),
    runners({
      mapTouchUnmap(options) {
        seen = options;
        return RESULT;
      },
    }),
  );
  const { spec, params, onLog, onProgress, ...rest } = seen! as RunOptions;
  assertEquals(spec.name, "opteron-2x4");
  assertEquals(
    [params?.loglevel, params?.seed, params?.vmap],
    [3, 9, "rewrite"],
  );
  assert(onLog && onProgress);
  assertEquals(rest, {
    commandLine: "loglevel=3",
    insmod: undefined,
    sanitize: [],
    workload: "map-touch-unmap",
    layers: ["rewrite"],
    threads: [2],
    pages: 4,
    ops: 5,
    api: "vmap",
  });
});

Deno.test("run() answers a mistake with one line, exit code 2, and no boot", async () => {
  const mistakes = [
    ["--cpus=0"],
    ["--machine=nope"],
    ["--machine=nope.json"],
    ["--threads=9"],
    ["--append=vmalloc=-1"],
    ["--bogus"],
    ["--sanitize=rcae"],
    ["--machine=two\nlines"],
    ["--machine=\x1b[2Jx.json"],
  ];
  for (const args of mistakes) {
    const io = new FakeIo();
    assertEquals(await run(args, io, UNREACHABLE), 2);
    assertEquals(io.stdout, "");
    assert(/^vmaplab: Cannot .*: .*\n$/.test(io.stderr), io.stderr);
    assert(!io.stderr.includes("\x1b"), io.stderr);
    assertEquals(io.stderr.split("\n").length, 2);
  }
});

Deno.test("run() --help prints help and boots nothing", async () => {
  const io = new FakeIo();
  assertEquals(await run(["--help"], io, UNREACHABLE), 0);
  assertEquals(io.stderr, "");
  for (
    const word of [
      "--machine=",
      "opteron-2x4",
      "vmap.quirk",
      "posted-search",
      "lockdep",
    ]
  ) {
    assertStringIncludes(io.stdout, word);
  }
  const long = io.stdout.split("\n").filter((line) => line.length > 80);
  assertEquals(long, []);
});

Deno.test("run() ends the log with the oops, exit code 1", async () => {
  const io = new FakeIo();
  assertEquals(await run(["--seed=42"], io, failWith(kernelBug())), 1);
  assertEquals(
    io.stdout,
    `\
[    0.000000] Linux version 2.6.28
[    0.001000] ------------[ cut here ]------------
[    0.001000] kernel BUG at vb_free: freed twice
[    0.001000] invalid opcode: 0000 [#1] SMP
[    0.001000] CPU 3
[    0.001000] Pid: 12, comm: test/3 Not tainted 2.6.28 #1
[    0.001000] Call Trace:
[    0.001000]  vb_free
[    0.001000]  kthread
[    0.001000] ---[ end trace 0000000000000001 ]---
[    0.001000] Seed: 42 (the same arguments give the same oops)
`,
  );
  assertEquals(
    io.stderr,
    "vmaplab: Cannot finish the run as the kernel oopsed: kernel BUG at vb_free: freed twice\n",
  );
});

Deno.test("run() keeps an oops off standard output where no log shows", async () => {
  for (const args of [["--format=json"], ["--format=csv"], ["--quiet"]]) {
    const io = new FakeIo();
    assertEquals(await run(args, io, failWith(kernelBug())), 1);
    assertEquals(io.stdout, "");
    assertStringIncludes(io.stderr, "Call Trace:\n[    0.001000]  vb_free\n");
  }
});

Deno.test("run() reports a deadlock as an oops", async () => {
  const io = new FakeIo();
  const error = new Deadlock("deadlock: no CPU can go on", []);
  assertEquals(await run([], io, failWith(error)), 1);
  assertStringIncludes(io.stdout, "BUG: deadlock: no CPU can go on\n");
});

Deno.test("run() owns up to a bug of its own, exit code 1", async () => {
  for (const error of [new TypeError("x is\nundefined"), "a string"]) {
    const io = new FakeIo();
    assertEquals(await run([], io, failWith(error)), 1);
    assert(
      io.stderr.startsWith(
        "vmaplab: Cannot finish the run as vmaplab itself failed, which is a bug to report: ",
      ),
      io.stderr,
    );
  }
});

Deno.test("run() stops without a word when nobody reads its output", async () => {
  for (const writes of [0, 1]) {
    const io = new FakeIo();
    io.writesLeft = writes;
    assertEquals(await run([BENCHMARK], io, FAKES), 141);
    assertEquals(io.stderr, "");
  }
  assertEquals(await run([], new FakeIo(), failWith(new OutputClosed())), 141);
});

Deno.test("run() prints both profiles of xfs-large-dir, and hands over the embedded image", async () => {
  let seen: XfsLargeDirOptions | null = null;
  const io = new FakeIo();
  const code = await run(
    ["--workload=xfs-large-dir", "--threads=8", "--ops=3"],
    io,
    runners({
      xfsLargeDir(options) {
        seen = options;
        return LARGE_DIR;
      },
    }),
  );
  assertEquals(code, 0, io.stderr);
  const parts = [
    "\nxfs-large-dir on opteron-2x4: ",
    "speed-up",
    "\n\nvmlist, 64 threads: profile",
    "\n\nrewrite, 64 threads: profile",
  ];
  const places = parts.map((part) => io.stdout.indexOf(part));
  assert(places.every((at) => at >= 0), io.stdout);
  assertEquals(places, [...places].sort((a, b) => a - b));
  const { threads, ops, layers, path, disk, directories } =
    seen! as XfsLargeDirOptions;
  assertEquals([threads, ops, layers], [[8], 3, ["vmlist", "rewrite"]]);
  assertEquals([path, disk.sizeBytes], ["/tree", 300 * 2 ** 20]);
  assert(directories!.length > 64);
});

Deno.test("run() gives xfs-ls a disk from a file, and prints its names in each form", async () => {
  const seen: XfsLsOptions[] = [];
  const xfsLs = (options: XfsLsOptions) => {
    seen.push(options);
    return LS;
  };
  const print = async (...args: string[]) => {
    const io = new FakeIo({ "a.img": new Uint8Array(1024).fill(1) });
    const all = ["--workload=xfs-ls", "--disk=a.img", "--path=/names", ...args];
    assertEquals(await run(all, io, runners({ xfsLs })), 0, io.stderr);
    return io;
  };
  const text = await print();
  assertEquals(
    text.stdout,
    `
 131  a
4096  b\\x0a"\\\\,\u00e9
 132  caf\\xe9
`,
  );
  assertEquals(
    text.stderr,
    "vmaplab: 3 names in 1.0 s on this host, 3 names/s\n",
  );
  const [{ layers, path, disk }] = seen;
  assertEquals([layers, path, disk.sizeBytes], [["rewrite"], "/names", 1024]);
  assertEquals(JSON.parse((await print("--format=json")).stdout), LS);
  assertEquals((await print("--format=csv")).stdout.split("\n")[0].split(","), [
    ..."schema machine cpus seed workload vmap path ino name name_hex".split(
      " ",
    ),
  ]);
});

Deno.test("run() says in one line why a disk image will not do, exit code 2", async () => {
  const files = {
    "odd.img": new Uint8Array(1000),
    "cut.gz": new Uint8Array([0x1f, 0x8b, 8, 0, 0]),
    "dir": new ReadError("a directory", "Is a directory"),
    "my disk": new ReadError("no permission", "Requires read access"),
  };
  const cases: [string, string][] = [
    ["none.img", 'Cannot read disk image "none.img": there is no such file'],
    ["dir", 'Cannot read disk image "dir": it is a directory'],
    [
      "my disk",
      "Cannot read disk image \"my disk\": this takes permission: run deno run '--allow-read=my disk' boot/cli/main.ts --workload=xfs-ls '--disk=my disk'",
    ],
    [
      "odd.img",
      'Cannot use disk image "odd.img" as its size must be a multiple of 512 bytes, and not 0: current value is 1000',
    ],
  ];
  for (const [disk, message] of cases) {
    const io = new FakeIo(files);
    const args = ["--workload=xfs-ls", `--disk=${disk}`];
    assertEquals(await run(args, io, UNREACHABLE), 2);
    assertEquals([io.stdout, io.stderr], ["", `vmaplab: ${message}\n`]);
  }
  const io = new FakeIo(files);
  const args = ["--workload=xfs-ls", "--disk=cut.gz"];
  assertEquals(await run(args, io, UNREACHABLE), 2);
  assert(
    io.stderr.startsWith(
      'vmaplab: Cannot use disk image "cut.gz" as its gzip data must be whole: ',
    ),
    io.stderr,
  );
});

Deno.test("run() says what a workload could not do, exit code 1", async () => {
  const error = new WorkloadError('Cannot list "/x": ENOENT', ["XFS: bad"]);
  for (const [args, log] of [[[], ""], [["--quiet"], "XFS: bad\n"]] as const) {
    const io = new FakeIo();
    const all = ["--workload=xfs-ls", ...args];
    assertEquals(await run(all, io, failWith(error)), 1);
    assertEquals(io.stderr, `${log}vmaplab: Cannot list "/x": ENOENT\n`);
  }
});
