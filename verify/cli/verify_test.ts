import { assert, assertEquals, assertMatch } from "@std/assert";
import { SCHEDULE_VERSION as V } from "../explore/version.ts";
import { verify, type VerifyIo } from "./verify.ts";

/** Runs the command; files are those of `files`; none can be written in `/no`. */
async function run(
  args: string[],
  files = new Map<string, string>(),
  interruptAfter = Infinity,
): Promise<{ code: number; out: string; err: string }> {
  let looks = 0;
  let out = "";
  let err = "";
  const io: VerifyIo = {
    out: (text) => void (out += text),
    err: (text) => void (err += text),
    errIsTerminal: false,
    columns: 80,
    // A quarter of a second from look to look: a clock that tests can rely on.
    nowMs: () => 250 * looks++,
    readText: (path) => files.get(path)!,
    open: () => Promise.reject(new TypeError("nothing is opened")),
    writeText: (path, text) => {
      if (path.startsWith("/no")) throw new Error("there is no such directory");
      files.set(path, text);
    },
    interrupted: () => Promise.resolve(looks > interruptAfter),
    readIfThere: (path) => files.get(path) ?? null,
  };
  return { code: await verify(args, io), out, err };
}

const QUIRK = ["--quirk=full-blocks-skipped", "--seed=1", "--quiet"];

Deno.test("verify finds a quirk, makes it small, and replays it with the same bytes", async () => {
  const found = await run([...QUIRK, "--iterations=20000"]);
  assertEquals(found.code, 1);
  assertMatch(found.out, /^Found after \d+ schedules \(seed 1\)\n/);
  const line = found.out.trimEnd().split("\n").at(-1)!;
  assertMatch(line, /^deno task verify --replay=\S+$/);
  assert(line.length < 200, line);
  const replay = [line.slice("deno task verify ".length)];
  const first = await run(replay);
  assertEquals(first.code, 1);
  assertEquals(await run(replay), first);
  // The report is the one that was printed when it was found.
  assert(found.out.endsWith(first.out));
  const traced = await run([...replay, "--trace"]);
  assertEquals(traced.code, 1);
  assert(traced.out.endsWith(first.out));
  assertMatch(traced.out, /vm_unmap_aliases/);
});

Deno.test("verify finds the same with the same seed", async () => {
  const args = [...QUIRK, "--iterations=20000"];
  assertEquals(await run(args), await run(args));
});

Deno.test("verify of the default kernel finds nothing and prints its count", async () => {
  const { code, out } = await run(["--seed=1", "--iterations=2000", "--quiet"]);
  assertEquals(out, "Nothing found in 2000 schedules (seed 1)\n");
  assertEquals(code, 0);
});

Deno.test("verify lists quirks, sanitizers and policies", async () => {
  const { code, out } = await run(["--list"]);
  assertEquals(code, 0);
  for (const name of ["full-blocks-skipped", "lockdep", "pct"]) {
    assertMatch(out, new RegExp(`^  ${name} `, "m"));
  }
});

Deno.test("verify keeps programs in a file, and begins with them", async () => {
  const files = new Map<string, string>();
  const args = ["--iterations=300", "--quiet", "--corpus=programs.json"];
  await run(args, files);
  const kept = JSON.parse(files.get("programs.json")!);
  assert(kept.programs.length > 10);
  await run(args, files);
  const again = JSON.parse(files.get("programs.json")!);
  assert(again.programs.length >= kept.programs.length);
  files.set("programs.json", "{");
  const bad = await run(args, files);
  assertEquals(bad.code, 2);
  assertMatch(bad.err, /^vmaplab: Cannot use --corpus=programs\.json/);
});

Deno.test("verify ends on a signal, says how far it came, and keeps its programs", async () => {
  const files = new Map<string, string>();
  const args = ["--corpus=programs.json", "--time-limit=600", "--quiet"];
  const { code, out } = await run(args, files, 20);
  assertEquals(code, 130);
  assertMatch(
    out,
    /^Nothing found in \d+ schedules \(seed 1\), interrupted\n$/,
  );
  assert(JSON.parse(files.get("programs.json")!).programs.length > 0);
});

Deno.test("verify stops at its time limit", async () => {
  const { code, out, err } = await run(["--time-limit=30"]);
  assertEquals(code, 0);
  assertMatch(out, /^Nothing found in \d+ schedules/);
  // Without a terminal progress is a line now and then.
  assert(err.split("\n").length >= 3, err);
});

for (const policy of ["random", "pct", "rr", "dfs"]) {
  Deno.test(`verify finds a quirk by --policy=${policy}, or nothing but it`, async () => {
    const args = [`--policy=${policy}`, "--iterations=600", "--quiet"];
    const clean = await run(args);
    assertEquals(clean.code, 0, clean.out);
    const found = await run([...args, "--quirk=lazy-counter-after-flag"]);
    assertEquals(found.code, 1);
    assertMatch(found.out, /lazily freed pages are not counted/);
  });
}

Deno.test("verify replays a finding that needs a failing allocation", async () => {
  const args = ["--fault=failslab,fail_page_alloc", "--cpus=3", "--quiet"];
  const clean = await run([...args, "--iterations=1500"]);
  assertEquals(clean.code, 0, clean.out);
  const found = await run([
    ...args,
    "--iterations=20000",
    "--quirk=leak-on-failure",
  ]);
  assertEquals(found.code, 1);
  const line = found.out.trimEnd().split("\n").at(-1)!;
  const again = await run([line.slice("deno task verify ".length)]);
  assert(found.out.endsWith(again.out));
});

for (
  const [args, message] of [
    [["--quirk=full-block-skipped"], 'nearest is "full-blocks-skipped"'],
    [["--policy=rnd"], "--policy"],
    [["--cpus=9"], "1..4"],
    [["--sanitize=tbl"], 'nearest is "tlb"'],
    [["--seed=-1"], "--seed"],
    [["--time-limit=0"], "--time-limit"],
    [["--fault=failslap"], 'nearest is "failslab"'],
    [["--trace"], "--replay"],
    [["--replay=x"], "must begin with a version"],
    [["--replay=99999/c2n4p64l12//all/.:/-"], "of version 99999"],
    [["--seed=1", `--replay=${V}/c2n4p64l12//all/.:/-`], "--seed"],
    [[`--replay=${V}/c2n4p64l12//all/.:/0000`], "cut off"],
    [[`--replay=${V}/c2n4p64l12//all`], "cut off"],
    [[`--replay=${V}/c2n4p64l12//all/M01.M11.M21:/-`], "3 tasks"],
    [[`--replay=${V}/c2n4p64l12/vmap-rewrit/all/.:/-`], 'mean "rewrite"'],
    [[`--replay=${V}/c2n4p64l12/vmap-vmlist+posted-search/all/.:/-`], "vmlist"],
    [[`--replay=${V}/c2n4p0l12//all/.:/-`], "pages must be"],
    [[`--replay=${V}/c4n1p64l12//all/.:/-`], "NR_CPUS must be"],
    [[`--replay=${V}/c2n4p64l12//tlb+tlb/.:/-`], "twice"],
    [[`--replay=${V}/c2n4p64l12//all/.:s7/-`], "CPU that the machine has not"],
    [[`--replay=${V}/c2n4p64l12//all/.:/U-.:/-`], "before vmalloc_init()"],
    [["--policy=dfs", "--fault=failslab"], "--fault"],
    [["--corpus=/no/programs.json"], "there is no such directory"],
    [["--vmap=vmlist", "--quirk=posted-search"], "--quirk"],
    [["--nonsense"], "no such option"],
  ] as const
) {
  Deno.test(`verify ${args.join(" ")} is one line and exit code 2`, async () => {
    const { code, out, err } = await run([...args]);
    assertEquals([code, out], [2, ""]);
    assertMatch(err, /^vmaplab: Cannot [^\n]+\n$/);
    assert(err.includes(message), err);
  });
}
