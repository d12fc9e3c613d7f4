/** A machine's constants as a list: to print them with their sources, and to change one. */
import type { MachineSpec } from "../../arch/hw/spec.ts";

/** Where a field stands: its names from the top, joined by dots. */
export type Path = string;

/** Characters of a line of {@linkcode constantsText}. */
const LINE_CHARS = 78;
const INDENT = "    ";

/** Facts about what is there, not costs: changing them by a fifth makes another machine. */
const SIZES: readonly Path[] = [
  "topology",
  "memory",
  "paging",
  "layout",
  "tlb.l1",
  "tlb.l2",
  "tlb.large",
  "kernel.nrCpus",
];

type Tree = Record<string, unknown>;

function isTree(value: unknown): value is Tree {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Every field below `tree` with its value, in order; `sources`, `name` and `description` aside. */
function* leaves(tree: Tree, prefix = ""): Generator<[Path, unknown]> {
  for (const [key, value] of Object.entries(tree)) {
    const path = prefix + key;
    if (["sources", "name", "description"].includes(path)) continue;
    if (isTree(value)) yield* leaves(value, `${path}.`);
    else yield [path, value];
  }
}

function isWithin(path: Path, section: Path): boolean {
  return path === section || path.startsWith(`${section}.`);
}

/** Paths of the constants that are costs, in the preset's order. */
export function costs(spec: MachineSpec): Path[] {
  return [...leaves(spec as unknown as Tree)]
    .filter(([path, value]) =>
      typeof value === "number" && !SIZES.some((s) => isWithin(path, s))
    )
    .map(([path]) => path);
}

/** The number at `path`. */
export function costOf(spec: MachineSpec, path: Path): number {
  let at: unknown = spec;
  for (const key of path.split(".")) at = (at as Tree)[key];
  return at as number;
}

/** A copy of `spec` with other values at some paths. */
export function withConstants(
  spec: MachineSpec,
  values: Readonly<Record<Path, unknown>>,
): MachineSpec {
  const copy = structuredClone(spec);
  for (const [path, value] of Object.entries(values)) {
    const keys = path.split(".");
    const last = keys.pop()!;
    let at = copy as unknown as Tree;
    for (const key of keys) at = at[key] as Tree;
    at[last] = value;
  }
  return copy;
}

/** `text` in lines of at most `chars` characters, each after `indent`. */
function wrap(text: string, chars: number, indent: string): string[] {
  const lines: string[] = [];
  let line = indent;
  for (const word of text.split(" ")) {
    if (line === indent) line += word;
    else if (line.length + 1 + word.length <= chars) line += ` ${word}`;
    else {
      lines.push(line);
      line = indent + word;
    }
  }
  return [...lines, line];
}

/**
 * Every constant of `spec` with its value and its source, as a block of text:
 * a table's cells would be as wide as the longest source.
 */
export function constantsText(spec: MachineSpec): string {
  const all = [...leaves(spec as unknown as Tree)];
  const lines = spec.sources.flatMap(({ field, source }) => [
    ...all.filter(([path]) => isWithin(path, field))
      .map(([path, value]) => `${path} = ${value}`),
    ...wrap(source, LINE_CHARS, INDENT),
  ]);
  return ["```text", ...lines, "```"].join("\n");
}
