import { assert, assertEquals, assertMatch } from "@std/assert";
import { verify, type VerifyIo } from "./verify.ts";

/** Runs the command; files are those of `files`. */
function run(
  args: string[],
  files = new Map<string, string>(),
): { code: number; out: string; err: string } {
  let out = "";
  let err = "";
  const io: VerifyIo = {
    out: (text) => void (out += text),
    err: (text) => void (err += text),
    errIsTerminal: false,
    columns: 80,
    nowMs: () => 0,
    readText: (path) => files.get(path)!,
    open: () => Promise.reject(new TypeError("nothing is opened")),
    writeText: (path, text) => void files.set(path, text),
    readIfThere: (path) => files.get(path) ?? null,
  };
  return { code: verify(args, io), out, err };
}

const QUIRK = ["--quirk=full-blocks-skipped", "--seed=1", "--quiet"];

Deno.test("verify finds a quirk, makes it small, and replays it with the same bytes", () => {
  const found = run([...QUIRK, "--iterations=20000"]);
  assertEquals(found.code, 1);
  assertMatch(found.out, /^Found after \d+ schedules \(seed 1\)\n/);
  const line = found.out.trimEnd().split("\n").at(-1)!;
  assertMatch(line, /^deno task verify --replay=\S+$/);
  assert(line.length < 200, line);
  const replay = [line.slice("deno task verify ".length)];
  const first = run(replay);
  assertEquals(first.code, 1);
  assertEquals(run(replay), first);
  // The report is the one that was printed when it was found.
  assert(found.out.endsWith(first.out));
  const traced = run([...replay, "--trace"]);
  assertEquals(traced.code, 1);
  assert(traced.out.endsWith(first.out));
  assertMatch(traced.out, /vm_unmap_aliases/);
});

Deno.test("verify finds the same with the same seed", () => {
  const args = [...QUIRK, "--iterations=20000"];
  assertEquals(run(args), run(args));
});

Deno.test("verify of the default kernel finds nothing and prints its count", () => {
  const { code, out } = run(["--seed=1", "--iterations=2000", "--quiet"]);
  assertEquals(out, "Nothing found in 2000 schedules (seed 1)\n");
  assertEquals(code, 0);
});

Deno.test("verify lists quirks, sanitizers and policies", () => {
  const { code, out } = run(["--list"]);
  assertEquals(code, 0);
  for (const name of ["full-blocks-skipped", "lockdep", "pct"]) {
    assertMatch(out, new RegExp(`^  ${name} `, "m"));
  }
});

Deno.test("verify keeps programs in a file, and begins with them", () => {
  const files = new Map<string, string>();
  const args = ["--iterations=300", "--quiet", "--corpus=programs.json"];
  run(args, files);
  const kept = JSON.parse(files.get("programs.json")!);
  assert(kept.programs.length > 10);
  run(args, files);
  const again = JSON.parse(files.get("programs.json")!);
  assert(again.programs.length >= kept.programs.length);
  files.set("programs.json", "{");
  const bad = run(args, files);
  assertEquals(bad.code, 2);
  assertMatch(bad.err, /^vmaplab: Cannot use --corpus=programs\.json/);
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
    [["--replay=99999/c2n4p64l12//all/.:"], "of version 99999"],
    [["--replay=1/c2n4p64l12//all/.:", "--seed=1"], "--seed"],
    [["--vmap=vmlist", "--quirk=posted-search"], "--quirk"],
    [["--nonsense"], "no such option"],
  ] as const
) {
  Deno.test(`verify ${args.join(" ")} is one line and exit code 2`, () => {
    const { code, out, err } = run([...args]);
    assertEquals([code, out], [2, ""]);
    assertMatch(err, /^vmaplab: Cannot [^\n]+\n$/);
    assert(err.includes(message), err);
  });
}
