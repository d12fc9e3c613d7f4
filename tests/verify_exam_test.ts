/**
 * The short exam: each historic bug is found by the general search, and the
 * replay strings that docs/VERIFY.md prints still show what they say.
 */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { runCase } from "../verify/search/case.ts";
import { EXAM, examine } from "../verify/search/exam.ts";
import { parseCase } from "../verify/search/replay_string.ts";

/** Schedules that suffice for each quirk with its seed, a few seconds' worth. */
const SCHEDULES = 40_000;
/** Seeds of quirks that seed 1 does not find in so few. */
const SEEDS: Readonly<Record<string, number>> = {
  "block-list-rcu-union": 9,
};

/** Rows of the table in docs/VERIFY.md: quirk, who finds it, replay string. */
function table(): { quirk: string; by: string[]; replay: string }[] {
  const text = Deno.readTextFileSync(
    new URL("../docs/VERIFY.md", import.meta.url),
  );
  const rows = text.matchAll(
    /^\| \w+ +\| `([\w-]+)` +\|.*\| ([a-z, ]+?) +\| [<.\d ]+\| \d+ +\| `(\S+)` +\|$/gm,
  );
  return [...rows].map(([, quirk, by, replay]) => ({
    quirk,
    by: by.split(", "),
    replay,
  }));
}

const canRead =
  (await Deno.permissions.query({ name: "read" })).state === "granted";
const known = canRead ? table() : [];

for (const quirk of EXAM) {
  const seed = SEEDS[quirk.name] ?? 1;
  Deno.test(`the search finds ${quirk.name} (seed ${seed})`, () => {
    const { by } = examine(quirk, seed, { iterations: SCHEDULES }, false);
    assertNotEquals(by, null);
    const row = known.find((row) => row.quirk === quirk.name);
    if (row !== undefined) assert(row.by.includes(by!), `found by ${by}`);
  });
}

Deno.test({
  name: "docs/VERIFY.md has a replay string of each quirk, which shows it",
  ignore: !canRead,
  fn: () => {
    assertEquals(known.map(({ quirk }) => quirk), EXAM.map(({ name }) => name));
    for (const { quirk, by, replay } of known) {
      const c = parseCase(replay);
      assertEquals(c.machine.quirks, [quirk]);
      const finding = runCase(c);
      assert(by.includes(finding?.by ?? "nobody"), replay);
      // It is the quirk: without it nothing is found.
      const clean = { ...c, machine: { ...c.machine, quirks: [] } };
      assertEquals(runCase(clean), null, replay);
    }
  },
});
