/** XFS without memory: -ENOMEM and nothing else, nothing lost, and all is well afterwards. */
import { assert, assertEquals } from "@std/assert";
import type { Steps } from "../../../arch/asm.ts";
import { ENOMEM, err } from "../../lib/errno.ts";
import { __GFP_NOWARN, GFP_KERNEL } from "../../mm/gfp.ts";
import { __free_page, alloc_page } from "../../mm/page_alloc.ts";
import type { Page } from "../../mm/page.ts";
import { runVm } from "../../mm/vm_testing.ts";
import type { Thread } from "../../thread.ts";
import { Builder, text } from "./_builder.ts";
import { ino_of, onDisk, warm_up } from "./_xfs_rig.ts";

const FILES = 40;

/** `/d0` ... `/d3`, scattered and not, with extents in the inode and in a btree. */
function build() {
  const b = new Builder({ crc: 1, dirblklog: 2 });
  const files = Array.from({ length: FILES }, () => b.file());
  const entries = files.map((ino, i) => ({ name: text(`name-${i}`), ino }));
  const dirs = [
    { form: "block" },
    { form: "leaf", scatter: true },
    { form: "node", perLeaf: 6, perNode: 3, btree: 3 },
    { form: "node", scatter: true },
  ] as const;
  b.dir(
    0,
    b.ino(0),
    dirs.map((layout, i) => {
      const slot = b.newSlot();
      b.dir(slot, b.ino(0), entries, layout);
      return { name: text(`d${i}`), ino: b.ino(slot), ftype: 2 };
    }),
  );
  return { image: b.finish(), files };
}

function* take_all(t: Thread): Steps<Page[]> {
  const hog: Page[] = [];
  for (;;) {
    const page = yield* alloc_page(t, GFP_KERNEL | __GFP_NOWARN);
    if (page === null) return hog;
    hog.push(page);
  }
}

/** Looks names up in turn, from number `from` on. @returns How many were found. */
function* look(
  t: Thread,
  files: readonly number[],
  from: number,
  count: number,
): Steps<number> {
  let found = 0;
  for (let n = from; n < from + count; n++) {
    const i = n % FILES;
    const path = `/d${n % 4}/name-${i}`;
    const ino = yield* ino_of(t, text(path));
    if (ino >= 0) {
      assertEquals(ino, files[i]);
      found++;
    } else assertEquals(ino, err(ENOMEM), path);
  }
  return found;
}

for (const vmap of ["rewrite", "vmlist"] as const) {
  Deno.test(`without memory there is -ENOMEM, and nothing is lost, vmap=${vmap}`, () => {
    const { image, files } = build();
    const params = { mem_bytes: 24 * 2 ** 20, vmap };
    const counts = runVm({ params }, function* (t) {
      yield* warm_up(t);
      const { result } = yield* onDisk(t, image, function* (t, { mp }) {
        t.k.vfs!.dentry_limit = 10; // so that all is needed again and again
        const hog = yield* take_all(t);
        let found = 0;
        let asked = 0;
        for (let round = 0; round < 40; round++) {
          for (let i = 0; i < 3; i++) yield* __free_page(t, hog.pop()!);
          found += yield* look(t, files, 7 * round, 10);
          asked += 10;
        }
        for (const page of hog) yield* __free_page(t, page);
        assertEquals(yield* look(t, files, 0, 2 * FILES), 2 * FILES);
        assertEquals(mp.m_corruptions, 0);
        return { found, asked };
      });
      return result;
    }).result;
    assert(typeof counts !== "number");
    const { found, asked } = counts;
    assert(found > 0 && found < asked, `${found} of ${asked}`);
  });
}

Deno.test("a mount without memory fails and leaves nothing", () => {
  const { image, files } = build();
  const params = { mem_bytes: 24 * 2 ** 20 };
  const results = runVm({ params }, function* (t) {
    yield* warm_up(t);
    const hog = yield* take_all(t);
    const seen: number[] = [];
    for (let round = 0; round < 60; round++) {
      yield* __free_page(t, hog.pop()!);
      const { result } = yield* onDisk(t, image, function* () {
        yield* [];
        return 0;
      });
      seen.push(result);
    }
    for (const page of hog) yield* __free_page(t, page);
    const { result } = yield* onDisk(
      t,
      image,
      (t) => look(t, files, 0, FILES),
    );
    assertEquals(result, FILES);
    return seen;
  }).result;
  assertEquals(new Set(results), new Set([err(ENOMEM), 0]));
});
