/** Several CPUs in one file system, with too little memory for its names. */
import { assert, assertEquals } from "@std/assert";
import type { Steps } from "../../../arch/asm.ts";
import { Rng } from "../../../arch/sim/random.ts";
import { list_entries } from "../../lib/list.ts";
import { ENOENT, err, EUCLEAN } from "../../lib/errno.ts";
import type { Thread } from "../../thread.ts";
import { onThreads, order } from "../_rig.ts";
import { Builder, text } from "./_builder.ts";
import { ino_of, list, type Mounted, withXfs } from "./_xfs_rig.ts";

const DIRS = 6;
const FILES = 40;

/** `/d0` ... `/d5`, blocks of 16 KiB, of every form. */
function image() {
  const b = new Builder({ crc: 0, dirblklog: 2 });
  const files = Array.from({ length: FILES }, () => b.file());
  const entries = files.map((ino, i) => ({ name: text(`name-${i}`), ino }));
  const forms = ["block", "leaf", "node"] as const;
  const dirs = Array.from({ length: DIRS }, (_, i) => {
    const slot = b.newSlot();
    const layout = { form: forms[i % 3], scatter: i === 5 };
    b.dir(slot, b.ino(0), entries, layout);
    return { name: text(`d${i}`), ino: b.ino(slot), ftype: 2 };
  });
  b.dir(0, b.ino(0), dirs);
  return { image: b.finish(), files };
}

function* look(t: Thread, seed: number, files: readonly number[]): Steps {
  const rng = new Rng(seed);
  for (let n = 0; n < 60; n++) {
    const dir = `/d${rng.below(DIRS)}`;
    const i = rng.below(FILES + 5);
    const want = i < FILES ? files[i] : err(ENOENT);
    assertEquals(yield* ino_of(t, text(`${dir}/name-${i}`)), want);
    if (n % 20 === 7) {
      const found = yield* list(t, dir);
      assert(typeof found !== "number");
      assertEquals(found.map(([, ino]) => ino), files);
    }
  }
}

/** What is in memory is known everywhere, once. */
function check({ mp, sb }: Mounted): void {
  let inTrees = 0;
  for (const { pag_ici_root, pag_ici_lock } of mp.m_perag.values()) {
    assertEquals([pag_ici_lock.readers, pag_ici_lock.owner], [0, null]);
    if (pag_ici_root.rnode !== null) inTrees++;
  }
  const inodes = list_entries(mp.m_inodes);
  assertEquals(inTrees > 0, inodes.length > 0);
  assertEquals(new Set(inodes).size, inodes.length);
  const known = list_entries(sb.s_inodes);
  assertEquals(
    new Set(inodes.map((ip) => ip.i_vnode)),
    new Set(known),
  );
  for (const ip of inodes) assertEquals(ip.i_lock.count.value, 0);
}

for (const vmap of ["rewrite", "vmlist"] as const) {
  Deno.test(`names are looked up on eight CPUs while others are thrown out, vmap=${vmap}`, () => {
    const { image: disk, files } = image();
    for (let seed = 0; seed < 3; seed++) {
      const { result } = withXfs(disk, function* (t, mounted) {
        t.k.vfs!.dentry_limit = 12;
        yield* onThreads(t, 12, (self, i) => look(self, 100 * seed + i, files));
        check(mounted);
        t.k.vfs!.dentry_limit = Infinity;
        const reads = t.k.slab.caches.find(({ name }) => name === "xfs_inode");
        return [mounted.mp.m_corruptions, reads!.allocs];
      }, { cpus: 8, engine: order(seed), params: { vmap } });
      assert(typeof result !== "number");
      assertEquals(result[0], 0);
      assert(result[1] > 2 * (FILES + DIRS), `${result[1]}`); // some again
    }
  });
}

Deno.test("an inode that makes no sense does so to everybody", () => {
  for (let seed = 0; seed < 10; seed++) {
    const b = new Builder();
    const bad = b.file();
    const dirs = Array.from({ length: 4 }, (_, i) => {
      const slot = b.newSlot();
      b.dir(slot, b.ino(0), [{ name: text("bad"), ino: bad }]);
      return { name: text(`d${i}`), ino: b.ino(slot), ftype: 2 };
    });
    b.dir(0, b.ino(0), dirs);
    const disk = b.finish((b) => b.be32(b.inodeAt(3) + 76, 1000));
    const { result } = withXfs(disk, (t) =>
      onThreads(
        t,
        4,
        (self, i) => ino_of(self, text(`/d${i}/bad`)),
      ), { cpus: 4, engine: order(seed) });
    assertEquals(result, new Array(4).fill(err(EUCLEAN)));
  }
});
