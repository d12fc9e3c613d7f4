/**
 * Random bytes of metadata, disks cut short, sectors that cannot be read:
 * whatever they are, calls return, errors are error numbers, and memory comes
 * back. Each failure names its seed, which does it
 * again.
 */
import { assert } from "@std/assert";
import type { Steps } from "../../../arch/asm.ts";
import { Rng } from "../../../arch/sim/random.ts";
import { IS_ERR_VALUE } from "../../lib/errno.ts";
import { runVm } from "../../mm/vm_testing.ts";
import type { Thread } from "../../thread.ts";
import { read_dir } from "../readdir.ts";
import { vfs_stat } from "../stat.ts";
import { Builder, type DirLayout, text } from "./_builder.ts";
import { check_dir, onDisk, warm_up } from "./_xfs_rig.ts";

/** How many file systems to spoil; `XFS_FUZZ=n` for more. */
const ROUNDS = Number(
  (await Deno.permissions.query({ name: "env" })).state === "granted"
    ? Deno.env.get("XFS_FUZZ") ?? 150
    : 150,
);
/** Most bytes that are spoilt at once. */
const MOST = 6;
/** What is in the root. */
const NAMES = ["s", "b", "l", "n", "t", "far", "near", "f"];

const LAYOUTS: readonly [string, number, DirLayout][] = [
  ["s", 4, {}],
  ["b", 40, { form: "block" }],
  ["l", 200, { form: "leaf", stale: true }],
  ["n", 80, { form: "node", perLeaf: 6, perNode: 3, btree: 7 }],
  ["t", 60, { form: "node", perLeaf: 12, scatter: true }],
];

/** A file system with a directory of every form. @returns Where its metadata lie, blocks. */
function build(rng: Rng): [Builder, number] {
  const crc = rng.below(2) as 0 | 1;
  const b = new Builder({
    crc,
    dirblklog: rng.below(2),
    align: crc === 1 || rng.below(2) === 0,
  });
  const file = b.file();
  const inos = LAYOUTS.map(([name, count, layout]) => {
    const slot = b.newSlot();
    const entries = Array.from(
      { length: count },
      (_, i) => ({ name: text(`${name}-${i}`), ino: file }),
    );
    b.dir(slot, b.ino(0), entries, layout);
    return { name: text(name), ino: b.ino(slot), ftype: 2 };
  });
  b.dir(0, b.ino(0), [
    ...inos,
    { name: text("far"), ino: b.remoteSymlink(text("./".repeat(400) + "f")) },
    { name: text("near"), ino: b.symlink(text("b")) },
    { name: text("f"), ino: file },
  ]);
  return [b, b.alloc(0)];
}

/** Where a byte is to be spoilt: in what is in use, headers and inodes more often than others. */
function place(rng: Rng, b: Builder, end: number): number {
  switch (rng.below(8)) {
    case 0:
      return rng.below(1024 + 344);
    case 1:
    case 2: // an inode's fields, or its fork
      return b.inodeAt(rng.below(16)) + rng.below(b.inodesize);
    case 3: // the start of a block
      return (b.chunk + rng.below(end - b.chunk)) * b.blocksize +
        rng.below(80);
    case 4: // the end of one
      return (b.chunk + 1 + rng.below(end - b.chunk)) * b.blocksize - 1 -
        rng.below(40);
    default:
      return rng.below(end * b.blocksize);
  }
}

function spoil(rng: Rng, b: Builder, end: number): void {
  for (let n = 1 + rng.below(MOST); n > 0; n--) {
    const at = place(rng, b, end);
    switch (rng.below(4)) {
      case 0:
        b.bytes[at] = rng.below(256);
        break;
      case 1:
        b.bytes[at] ^= 1 << rng.below(8);
        break;
      case 2:
        b.bytes[at] = rng.below(2) === 0 ? 0 : 0xff;
        break;
      default: // another place's bytes: right somewhere else
        b.bytes.copyWithin(at, place(rng, b, end), at + 8);
    }
  }
}

function* use(t: Thread): Steps<number[]> {
  const results: number[] = [];
  for (const name of ["", ...NAMES]) {
    const found = yield* read_dir(t, text(`/${name}`));
    results.push(typeof found === "number" ? found : found.length);
    if (typeof found !== "number") {
      results.push(yield* check_dir(t, `/${name}`));
    }
    for (const i of [0, 1, 3, 17, 39, 77, 100_000]) {
      const stat = yield* vfs_stat(t, text(`/${name}/${name}-${i}`));
      results.push(typeof stat === "number" ? stat : stat.ino);
    }
  }
  return results;
}

function* round(t: Thread, seed: number): Steps {
  const rng = new Rng(seed);
  const [b, end] = build(rng);
  const sealed = rng.below(2) === 0; // so that checksums are right again
  const spoilt = () => spoil(rng, b, end);
  const image = b.finish(
    sealed ? spoilt : undefined,
    sealed ? undefined : spoilt,
  );
  const size = rng.below(10) === 0 ? rng.below(2 ** 24 / 512) * 512 : 2 ** 24;
  const bad = rng.below(200);
  const { result } = yield* onDisk(
    t,
    image.resized(size),
    (t) => use(t),
    rng.below(4) === 0 ? (sector) => sector % 200 === bad : null,
  );
  const results = typeof result === "number" ? [result] : result;
  for (const r of results) {
    assert(Number.isInteger(r) && (r >= 0 || IS_ERR_VALUE(r)), `${r}`);
  }
}

Deno.test(`${ROUNDS} file systems with random bytes are used without harm`, () => {
  let seed = 1;
  try {
    runVm({ cpus: 1 }, function* (t) {
      yield* warm_up(t);
      for (; seed <= ROUNDS; seed++) yield* round(t, seed);
    });
  } catch (error) {
    throw new Error(`Seed ${seed} fails: ${(error as Error).message}`, {
      cause: error,
    });
  }
});
