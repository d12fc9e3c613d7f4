/**
 * What is in the embedded XFS image: every directory, name and mode, from a
 * seeded generator. `tests/xfs/make_image.ts` writes mkfs.xfs's protofile from
 * it, and the workload checks what XFS finds against it, so neither of the two
 * learns names from our own reader.
 *
 * - `/bigdir`: a few thousand names of the usual length.
 * - `/tree/00` to `/tree/5f`: 96 directories, for tasks that look names up in
 *   parallel: a directory's i_mutex lets one of them in. How many there were in
 *   2008 is not known; with three for two CPUs about as many tasks sleep as did
 *   then. Names are long, so that each directory takes two data blocks of 64 KiB
 *   and one of leaf entries, and a lookup maps one of either kind. (Of short
 *   names it would take thousands in each; fewer fit a single block.)
 * - `/names`: names that are hard to print.
 */
import { Rng } from "../../arch/sim/random.ts";
import { S_IFDIR, S_IFREG } from "../../kernel/fs/inode_types.ts";

/** One name in a directory. */
export interface NamedEntry {
  /** 1 to 255 bytes. */
  readonly name: Uint8Array;
  /** Type and permissions as in `st_mode`. */
  readonly mode: number;
}

/** One directory; the root comes first, parents before their children. */
export interface NamedDirectory {
  /** From the root, without a `/` at its end but for the root. */
  readonly path: string;
  /** In the order in which they were made; `.` and `..` left out. */
  readonly entries: readonly NamedEntry[];
}

const SEED = 2008;
const BIGDIR_NAMES = 3000;
/** Directories under `/tree`. */
export const TREE_DIRECTORIES = 96;
const TREE_NAMES = 560;
/** Characters before the number in each of a directory's names, at least. */
const TREE_PREFIX = 96;
const DIRECTORY_MODE = S_IFDIR | 0o755;
const FILE_MODES = [0o644, 0o644, 0o600, 0o755];
const WORDS =
  "alpha backup beta budget delta draft gamma index invoice letter music notes photo report scan trip"
    .split(" ");
const SUFFIXES = ["c", "jpg", "log", "txt"];

/** Every directory of the image. */
export function xfsNames(): NamedDirectory[] {
  const rng = new Rng(SEED);
  const treeDirectories: NamedDirectory[] = [];
  const bigdir = files(rng, BIGDIR_NAMES);
  for (let i = 0; i < TREE_DIRECTORIES; i++) {
    treeDirectories.push({
      path: `/tree/${treeName(i)}`,
      entries: longFiles(rng, TREE_NAMES),
    });
  }
  return [
    { path: "/", entries: ["bigdir", "names", "tree"].map(directory) },
    { path: "/bigdir", entries: bigdir },
    { path: "/names", entries: oddNames() },
    {
      path: "/tree",
      entries: treeDirectories.map((_, i) => directory(treeName(i))),
    },
    ...treeDirectories,
  ];
}

function treeName(i: number): string {
  return i.toString(16).padStart(2, "0");
}

function directory(name: string): NamedEntry {
  return { name: bytes(name), mode: DIRECTORY_MODE };
}

function files(rng: Rng, count: number): NamedEntry[] {
  const entries: NamedEntry[] = [];
  for (let i = 0; i < count; i++) {
    const number = String(i).padStart(4, "0");
    const name = `${pick(rng, WORDS)}-${number}.${pick(rng, SUFFIXES)}`;
    entries.push({
      name: bytes(name),
      mode: S_IFREG | pick(rng, FILE_MODES),
    });
  }
  return entries;
}

/** Names that differ in a number, all of one mode. */
function longFiles(rng: Rng, count: number): NamedEntry[] {
  let prefix = "";
  while (prefix.length < TREE_PREFIX) prefix += `${pick(rng, WORDS)}-`;
  const suffix = pick(rng, SUFFIXES);
  const mode = S_IFREG | pick(rng, FILE_MODES);
  return Array.from({ length: count }, (_, i) => {
    const number = String(i).padStart(4, "0");
    return { name: bytes(`${prefix}${number}.${suffix}`), mode };
  });
}

/** A byte, the longest, not ASCII, not UTF-8, controls, what CSV and shells quote. */
function oddNames(): NamedEntry[] {
  const names = [
    bytes("a"),
    bytes("x".repeat(255)),
    bytes("na\u00efve-\u6587\u4ef6-\u{1f427}"),
    new Uint8Array([0x63, 0x61, 0x66, 0xe9]),
    new Uint8Array([0xff, 0xfe, 0x80]),
    new Uint8Array([0x01, 0x1b, 0x7f]),
    bytes(`a,"b";c.csv`),
    bytes("\\x41"),
    bytes("..."),
    bytes("-rf"),
  ];
  return names.map((name) => ({ name, mode: S_IFREG | 0o644 }));
}

function pick<T>(rng: Rng, items: readonly T[]): T {
  return items[rng.below(items.length)];
}

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
