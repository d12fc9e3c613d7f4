/** The documents say what the code does, where that can be checked. */
import { assertEquals } from "@std/assert";
import { linuxTables, withTables } from "../docs/boot_steps.ts";
import { architectureTables } from "../docs/operations.ts";

const root = new URL("../", import.meta.url);
const canRead =
  (await Deno.permissions.query({ name: "read" })).state === "granted";

const DOCUMENTS = ["docs/ARCHITECTURE.md", "docs/LINUX.md", "CONTRIBUTING.md"];

function read(path: string): string {
  return Deno.readTextFileSync(new URL(path, root));
}

function exists(path: string): boolean {
  try {
    Deno.statSync(new URL(path, root));
    return true;
  } catch {
    return false;
  }
}

/** Rows of the tables of `page` that are headed `| Linux | Here | How |`. */
function functionRows(page: string): [linux: string, here: string][] {
  const rows: [string, string][] = [];
  let inside = false;
  for (const line of page.split("\n")) {
    const cells = line.split("|").map((cell) => cell.trim());
    if (cells.length !== 5) inside = false;
    else if (cells[2] === "Here" && cells[3] === "How") inside = true;
    else if (inside && !cells[1].startsWith("---")) {
      rows.push([cells[1], cells[2]]);
    }
  }
  return rows;
}

Deno.test({
  name: "docs/LINUX.md has the boot steps and quirks of the code",
  ignore: !canRead,
  fn() {
    const page = read("docs/LINUX.md");
    // To bring it up to date: deno run -R -W docs/boot_steps.ts --write
    assertEquals(page, withTables(page, linuxTables()));
  },
});

Deno.test({
  name: "docs/ARCHITECTURE.md has the operations of a real map and unmap",
  ignore: !canRead,
  fn() {
    const page = read("docs/ARCHITECTURE.md");
    // To bring it up to date: deno run -R -W docs/operations.ts --write
    assertEquals(page, withTables(page, architectureTables()));
  },
});

Deno.test({
  name: "docs/LINUX.md names functions in the files that have them",
  ignore: !canRead,
  fn() {
    const wrong: string[] = [];
    const rows = functionRows(read("docs/LINUX.md"));
    for (const [linux, here] of rows) {
      if (here === "-") continue;
      const file = here.replaceAll("`", "");
      const path = file.startsWith("boot/") ? file : `kernel/${file}`;
      if (!exists(path)) {
        wrong.push(`${path} does not exist`);
        continue;
      }
      const text = read(path);
      for (const [, name] of linux.matchAll(/`([A-Za-z_]\w*)`/g)) {
        if (!new RegExp(`\\b${name}\\b`).test(text)) {
          wrong.push(`${path} has no ${name}`);
        }
      }
    }
    assertEquals(wrong, []);
    assertEquals(rows.length > 50, true);
  },
});

Deno.test({
  name: "the documents name files that exist",
  ignore: !canRead,
  fn() {
    const wrong: string[] = [];
    for (const document of DOCUMENTS) {
      // Paths from the root in backticks; patterns and placeholders apart.
      const paths = read(document).matchAll(
        /`((?:arch|boot|docs|kernel|report|tests|verify|examples)\/[\w./]*)`/g,
      );
      for (const [, path] of paths) {
        if (!exists(path)) wrong.push(`${document} names ${path}`);
      }
    }
    assertEquals(wrong, []);
  },
});
