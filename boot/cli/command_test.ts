import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Deadlock } from "../../arch/sim/engine.ts";
import { KernelBug } from "../../kernel/bug.ts";
import { sampleResult, sampleRun } from "../../report/_sample.ts";
import type { BootResult } from "../results.ts";
import type { RunOptions } from "../run.ts";
import { FakeIo } from "./_fake_io.ts";
import { run, type Runner } from "./command.ts";
import { OutputClosed } from "./io.ts";

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

function failWith(error: unknown): Runner {
  return (options) => {
    options.onLog?.("[    0.000000] Linux version 2.6.28");
    throw error;
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

Deno.test("run() prints the log, the table and the top of each layer", () => {
  const io = new FakeIo();
  assertEquals(run([], io, fakeRunner), 0);
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

Deno.test("run() prints the same on standard output whatever the host is like", () => {
  for (const format of ["text", "json", "csv"]) {
    const slow = new FakeIo({}, true);
    slow.clockReads = 77;
    slow.columns = 20;
    const fast = new FakeIo();
    run([`--format=${format}`], slow, fakeRunner);
    run([`--format=${format}`], fast, fakeRunner);
    assertEquals(slow.stdout, fast.stdout);
  }
});

Deno.test("run() prints JSON and CSV without a log", () => {
  const json = new FakeIo();
  assertEquals(run(["--format=json"], json, fakeRunner), 0);
  assertEquals(JSON.parse(json.stdout), RESULT);
  const csv = new FakeIo();
  assertEquals(run(["--format=csv"], csv, fakeRunner), 0);
  assertEquals(csv.stdout.split("\n").length, 6);
});

Deno.test("run() --quiet leaves the results", () => {
  const io = new FakeIo({}, true);
  assertEquals(run(["--quiet"], io, fakeRunner), 0);
  assert(io.stdout.startsWith("map-touch-unmap of"), io.stdout);
  assertEquals(io.stderr, "");
});

Deno.test("run() draws a bar on a terminal, and wipes it before anything else", () => {
  const io = new FakeIo({}, true);
  run([], io, fakeRunner);
  const clear = "\r\x1b[K";
  assertEquals(io.stderr.split(clear).map((part) => part.slice(0, 3)), [
    "",
    "[..",
    "",
    "[##",
    "vma",
  ]);
});

Deno.test("run() hands the runner what was asked for", () => {
  let seen: RunOptions | null = null;
  run(
    [
      "--threads=2",
      "--ops=5",
      "--api=vmap",
      "--append=loglevel=3",
      "--seed=9",
      "--vmap=rewrite",
    ],
    new FakeIo(),
    (options) => {
      seen = options;
      return RESULT;
    },
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
    workload: "map-touch-unmap",
    layers: ["rewrite"],
    threads: [2],
    pages: 4,
    ops: 5,
    api: "vmap",
  });
});

Deno.test("run() answers a mistake with one line, exit code 2, and no boot", () => {
  const mistakes = [
    ["--cpus=0"],
    ["--machine=nope"],
    ["--machine=nope.json"],
    ["--threads=9"],
    ["--append=vmalloc=-1"],
    ["--bogus"],
    ["--machine=two\nlines"],
    ["--machine=\x1b[2Jx.json"],
  ];
  for (const args of mistakes) {
    const io = new FakeIo();
    assertEquals(run(args, io, unreachable), 2);
    assertEquals(io.stdout, "");
    assert(/^vmaplab: Cannot .*: .*\n$/.test(io.stderr), io.stderr);
    assert(!io.stderr.includes("\x1b"), io.stderr);
    assertEquals(io.stderr.split("\n").length, 2);
  }
});

Deno.test("run() --help prints help and boots nothing", () => {
  const io = new FakeIo();
  assertEquals(run(["--help"], io, unreachable), 0);
  assertEquals(io.stderr, "");
  for (
    const word of ["--machine=", "opteron-2x4", "vmap.quirk", "posted-search"]
  ) {
    assertStringIncludes(io.stdout, word);
  }
  const long = io.stdout.split("\n").filter((line) => line.length > 80);
  assertEquals(long, []);
});

Deno.test("run() ends the log with the oops, exit code 1", () => {
  const io = new FakeIo();
  assertEquals(run(["--seed=42"], io, failWith(kernelBug())), 1);
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

Deno.test("run() keeps an oops off standard output where no log shows", () => {
  for (const args of [["--format=json"], ["--format=csv"], ["--quiet"]]) {
    const io = new FakeIo();
    assertEquals(run(args, io, failWith(kernelBug())), 1);
    assertEquals(io.stdout, "");
    assertStringIncludes(io.stderr, "Call Trace:\n[    0.001000]  vb_free\n");
  }
});

Deno.test("run() reports a deadlock as an oops", () => {
  const io = new FakeIo();
  const error = new Deadlock("deadlock: no CPU can go on", []);
  assertEquals(run([], io, failWith(error)), 1);
  assertStringIncludes(io.stdout, "BUG: deadlock: no CPU can go on\n");
});

Deno.test("run() owns up to a bug of its own, exit code 1", () => {
  for (const error of [new TypeError("x is\nundefined"), "a string"]) {
    const io = new FakeIo();
    assertEquals(run([], io, failWith(error)), 1);
    assert(
      io.stderr.startsWith(
        "vmaplab: Cannot finish the run as vmaplab itself failed, which is a bug to report: ",
      ),
      io.stderr,
    );
  }
});

Deno.test("run() stops without a word when nobody reads its output", () => {
  for (const writes of [0, 1]) {
    const io = new FakeIo();
    io.writesLeft = writes;
    assertEquals(run([], io, fakeRunner), 141);
    assertEquals(io.stderr, "");
  }
  assertEquals(run([], new FakeIo(), failWith(new OutputClosed())), 141);
});
