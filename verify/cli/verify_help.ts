/** What `deno task verify` says of itself. */
import { QUIRKS } from "../../kernel/mm/quirks.ts";
import { SANITIZERS } from "../../kernel/sanitizers/index.ts";
import { FAULTS } from "../search/replay_string.ts";
import { POLICIES } from "./verify_options.ts";

/** Answer to --help. */
export function verifyHelp(): string {
  return `Usage: deno task verify [OPTION]...

Looks for bugs of the vmap layer: runs random programs of its calls on a small
machine under random schedules, all sanitizers on, until something is found.
What is found is made small and printed with a string that replays it.

  --quirk=NAME[,NAME]    Historic bugs to put back (default: none)
  --vmap=LAYER           Vmap layer (default: rewrite)
  --seed=N               Where to begin (default: 1)
  --time-limit=SECONDS   Stop then (default: 60, unless --iterations is given)
  --iterations=N         Stop after so many schedules
  --cpus=N               CPUs, 1 to 4 (default: 2)
  --policy=NAME          ${
    POLICIES.map(({ name }) => name).join(", ")
  } (default: mix)
  --depth=N              Ordering constraints (pct), preemptions (dfs) (default: 3)
  --sanitize=NAME[,NAME] Sanitizers, or all or none (default: all)
  --fault=NAME[,NAME]    Let memory allocations fail: ${
    FAULTS.map(({ name }) => name).join(", ")
  }
  --corpus=FILE          Begin with the programs of FILE, and write them back
  --replay=STRING        Run what a string says again
  --trace                With --replay: every step, a column for each CPU
  --list                 Print quirks, sanitizers and policies
  --quiet                No progress
  --help                 Print this

Exit code: 0 nothing found, 1 found, 2 the command line is wrong.
`;
}

/** Answer to --list. */
export function verifyList(): string {
  return [
    ...section("Quirks (--quirk=)", QUIRKS),
    "",
    ...section("Sanitizers (--sanitize=)", SANITIZERS),
    "",
    ...section("Policies (--policy=)", POLICIES),
    "",
  ].join("\n");
}

function section(
  title: string,
  entries: readonly { readonly name: string; readonly summary: string }[],
): string[] {
  const width = Math.max(...entries.map(({ name }) => name.length));
  return [
    `${title}:`,
    ...entries.map(({ name, summary }) =>
      `  ${name.padEnd(width)}  ${summary}`
    ),
  ];
}
