/** House rules that a machine can check: which way imports point, what is banned where. */
import { assertEquals } from "@std/assert";

/** Folders from the bottom up; each imports from those before it and from itself. */
const LAYERS = [
  "arch/sim",
  "arch/hw",
  "arch/xen",
  "arch",
  "kernel",
  "boot",
  "report",
  "verify",
  "bench",
];

/** Not to be touched below `boot/cli`. */
const BANNED: readonly [RegExp, string][] = [
  [/\bDate\b/, "Date"],
  [/\bperformance\./, "performance"],
  [/\bMath\.random\b/, "Math.random"],
  [/\bconsole\./, "console"],
  [/\bDeno\./, "Deno"],
];

const root = new URL("../", import.meta.url);
const canRead =
  (await Deno.permissions.query({ name: "read" })).state === "granted";

function* sources(folder: string): Generator<string> {
  for (const entry of Deno.readDirSync(new URL(folder, root))) {
    if (entry.name.startsWith(".") || entry.name === "node_modules") continue;
    const path = `${folder}${entry.name}`;
    if (entry.isDirectory) yield* sources(`${path}/`);
    else if (path.endsWith(".ts")) yield path;
  }
}

/** The code of `path` without comments. */
function code(path: string): string {
  return Deno.readTextFileSync(new URL(path, root))
    .replace(/\/\*[\s\S]*?\*\//g, "")
    .replace(/(^|\s)\/\/.*$/gm, "");
}

function layerOf(path: string): number {
  if (path.startsWith("boot/cli/") || path.startsWith("verify/cli/")) {
    return Infinity;
  }
  for (let i = 0; i < LAYERS.length; i++) {
    if (path.startsWith(`${LAYERS[i]}/`)) return i;
  }
  return Infinity;
}

function isTest(path: string): boolean {
  return /_test\.ts$|\/testing\.ts$|_bench\.ts$/.test(path) ||
    path.startsWith("tests/");
}

const IMPORT = /(?:import|export)\s(?!type\b)[^;]*?from\s+"([^"]+)"/g;

Deno.test({
  name: "imports point down the layers",
  ignore: !canRead,
  fn() {
    const wrong: string[] = [];
    for (const path of sources("")) {
      if (isTest(path)) continue;
      const layer = layerOf(path);
      for (const [, specifier] of code(path).matchAll(IMPORT)) {
        if (!specifier.startsWith(".")) continue;
        const target = new URL(specifier, new URL(path, root)).href
          .slice(root.href.length);
        // arch/asm.ts is the door: hardware knows its contexts by type alone.
        if (layerOf(target) > layer) wrong.push(`${path} imports ${target}`);
      }
    }
    assertEquals(wrong, []);
  },
});

Deno.test({
  name:
    "what mod.ts reaches has no bare specifiers and no host time, randomness, console or files",
  ignore: !canRead,
  fn() {
    const wrong: string[] = [];
    const seen = new Set<string>();
    const visit = (path: string) => {
      if (seen.has(path)) return;
      seen.add(path);
      const text = code(path);
      for (const [pattern, name] of BANNED) {
        if (pattern.test(text)) wrong.push(`${path} uses ${name}`);
      }
      for (const [, specifier] of text.matchAll(/from\s+"([^"]+)"/g)) {
        if (!specifier.startsWith(".")) {
          wrong.push(`${path} imports ${specifier}`);
          continue;
        }
        visit(
          new URL(specifier, new URL(path, root)).href.slice(root.href.length),
        );
      }
    };
    visit("mod.ts");
    assertEquals(wrong, []);
  },
});

Deno.test({
  name: "bare yield stands nowhere in kernel code",
  ignore: !canRead,
  fn() {
    const wrong = [...sources("kernel/")].filter((path) =>
      !isTest(path) && /\byield\b(?!\s*\*)/.test(code(path))
    );
    assertEquals(wrong, []);
  },
});
