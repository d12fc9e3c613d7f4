/**
 * The tables of docs/LINUX.md that follow from the code: what each step of the
 * boot does, or why it does nothing, and the bugs that can be put back.
 *
 * `deno run docs/boot_steps.ts` prints them. `deno run -R -W docs/boot_steps.ts
 * --write` puts them into docs/LINUX.md; tests/docs_test.ts fails as long as
 * that file has others.
 */
import { KERNEL_INIT_STEPS } from "../boot/rest_init.ts";
import { START_KERNEL_STEPS } from "../boot/start_kernel.ts";
import type { BootStep } from "../boot/step.ts";
import { QUIRKS, quirkYears } from "../kernel/mm/quirks.ts";

/** A table in the layout that `deno fmt` gives it: cells as wide as their column. */
export function markdownTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const all = [head, ...rows].map((row) =>
    row.map((cell) => cell.replaceAll("|", "\\|"))
  );
  const widths = head.map((_, i) =>
    Math.max(2, ...all.map((row) => row[i].length))
  );
  const line = (row: readonly string[]) =>
    `| ${row.map((cell, i) => cell.padEnd(widths[i])).join(" | ")} |`;
  const rule = line(widths.map((width) => "-".repeat(width)));
  return [line(all[0]), rule, ...all.slice(1).map(line)].join("\n");
}

function code(names: readonly string[]): string {
  return names.map((name) => `\`${name}\``).join(", ");
}

function stepsTable(steps: readonly BootStep[]): string {
  return markdownTable(
    ["Step", "Needs", "Here"],
    steps.map(({ name, needs, nothing, run }) => [
      code([name]),
      code(needs),
      run === undefined ? `nothing: ${nothing}` : "done",
    ]),
  );
}

function quirksTable(): string {
  return markdownTable(
    [
      "Id",
      "`vmap.quirk=`",
      "Taken out by",
      "In",
      "Years",
      "CPUs",
      "What goes wrong",
    ],
    QUIRKS.map((quirk) => [
      quirk.id,
      code([quirk.name]),
      quirk.fixedBy,
      quirk.fixedIn,
      quirkYears(quirk)?.toFixed(1) ?? "-",
      quirk.needsRace ? "race" : "1",
      quirk.summary,
    ]),
  );
}

/** The tables of docs/LINUX.md, by the name in their markers. */
export function linuxTables(): ReadonlyMap<string, string> {
  return new Map([
    ["start_kernel", stepsTable(START_KERNEL_STEPS)],
    ["kernel_init", stepsTable(KERNEL_INIT_STEPS)],
    ["quirks", quirksTable()],
  ]);
}

/**
 * `page` with `tables` between their markers, `<!-- table NAME -->` and
 * `<!-- end of table NAME -->`.
 *
 * @throws {SyntaxError} If `page` has no place for one of them.
 */
export function withTables(
  page: string,
  tables: ReadonlyMap<string, string>,
): string {
  let text = page;
  for (const [name, table] of tables) {
    const first = `<!-- table ${name} -->\n`;
    const last = `\n<!-- end of table ${name} -->`;
    const start = text.indexOf(first);
    const end = text.indexOf(last, start);
    if (start < 0 || end < 0) {
      throw new SyntaxError(`Cannot find the place of table "${name}"`);
    }
    text = `${text.slice(0, start + first.length)}\n${table}\n${
      text.slice(end)
    }`;
  }
  return text;
}

/** Prints `tables`, or with `--write` puts them into the file at `url`. */
export function main(url: URL, tables: ReadonlyMap<string, string>): void {
  if (!Deno.args.includes("--write")) {
    console.log([...tables.values()].join("\n\n"));
    return;
  }
  Deno.writeTextFileSync(url, withTables(Deno.readTextFileSync(url), tables));
}

if (import.meta.main) {
  main(new URL("LINUX.md", import.meta.url), linuxTables());
}
