/** Kernels with an XFS mounted, for this folder's tests: mounts, unmounts, and looks whether all has come back. */
import { assertEquals } from "@std/assert";
import type { Steps } from "../../../arch/asm.ts";
import {
  brd_alloc,
  brd_free,
  type BrdDevice,
} from "../../drivers/block/brd.ts";
import { SparseImage } from "../../drivers/block/sparse_image.ts";
import type { Errno } from "../../lib/errno.ts";
import { drain_local_pages } from "../../mm/percpu_pages.ts";
import { runVm, usage, type VmOptions } from "../../mm/vm_testing.ts";
import { rcu_barrier } from "../../rcu.ts";
import type { Thread } from "../../thread.ts";
import { path_lookup, path_put } from "../namei.ts";
import { read_dir } from "../readdir.ts";
import { vfs_stat } from "../stat.ts";
import { mount_fs, SuperBlock, umount } from "../super.ts";
import { xfs_dir2_check } from "./xfs_dir2_check.ts";
import { xfs_ilock_map_shared, xfs_iunlock } from "./xfs_iget.ts";
import { XFS_I } from "./xfs_iops.ts";
import type { XfsMount } from "./xfs_mount_types.ts";
import { init_xfs_fs } from "./xfs_super.ts";

/** A mounted disk. */
export interface Mounted {
  readonly sb: SuperBlock;
  readonly mp: XfsMount;
  readonly brd: BrdDevice;
}

/** What a run with a disk gave. */
export interface XfsRun<T> {
  readonly result: T;
  /** What the kernel logged, from the mount on. */
  readonly log: string[];
}

/** An image in a file, of which only what is asked for is read. */
export class FileImage extends SparseImage {
  readonly #file: Deno.FsFile;

  constructor(path: string) {
    super(Deno.statSync(path).size);
    this.#file = Deno.openSync(path);
  }

  override read(offset: number, out: Uint8Array): void {
    this.#file.seekSync(offset, Deno.SeekMode.Start);
    for (let done = 0; done < out.length;) {
      const n = this.#file.readSync(out.subarray(done));
      if (n === null) {
        out.fill(0, done);
        break;
      }
      done += n;
    }
  }

  close(): void {
    this.#file.close();
  }
}

/** Bytes of ASCII. */
export function bytes(s: string): Uint8Array {
  return new TextEncoder().encode(s);
}

/** Characters of bytes, one each. */
export function latin1(b: Uint8Array): string {
  return String.fromCharCode(...b);
}

/**
 * Boots a kernel, mounts `image` and runs `main`; unmounts, and checks that
 * objects and pages are what they were before.
 *
 * @returns What `main` returned, or the mount's error.
 */
export function withXfs<T>(
  image: SparseImage,
  main: (t: Thread, mounted: Mounted) => Steps<T>,
  options: VmOptions = {},
): XfsRun<T | Errno> {
  const { result } = runVm({ cpus: 1, ...options }, function* (t) {
    yield* warm_up(t);
    return yield* onDisk(t, image, main);
  });
  return result;
}

/** Makes the caches and threads that stay. */
export function* warm_up(t: Thread): Steps {
  yield* init_xfs_fs(t);
  // A first mount that fails: what is left of it stays.
  const brd = brd_alloc(t, "warm", new SparseImage(2 ** 20));
  yield* mount_fs(t, "xfs", brd);
  yield* brd_free(t, brd);
}

/** {@linkcode withXfs} on a kernel that runs already. */
export function* onDisk<T>(
  t: Thread,
  image: SparseImage,
  main: (t: Thread, mounted: Mounted) => Steps<T>,
  should_fail: ((sector: number) => boolean) | null = null,
): Steps<XfsRun<T | Errno>> {
  const before = yield* settled(t);
  const log: string[] = [];
  t.k.printk.console = ({ text }) => log.push(text);
  const brd = brd_alloc(t, "ram0", image);
  brd.should_fail = should_fail;
  const sb = yield* mount_fs(t, "xfs", brd);
  let result: T | Errno;
  if (sb instanceof SuperBlock) {
    const mp = sb.s_fs_info as XfsMount;
    result = yield* main(t, { sb, mp, brd });
    assertEquals(yield* umount(t, sb), 0);
  } else result = sb;
  yield* brd_free(t, brd);
  t.k.printk.console = null;
  assertEquals(yield* settled(t), before, log.join("\n"));
  return { result, log };
}

/** Objects and pages in use once all that is being freed is free. */
function* settled(t: Thread): Steps<Record<string, number>> {
  yield* rcu_barrier(t);
  yield* drain_local_pages(t);
  const use = usage(t.k);
  // Slabs keep pages, areas wait to be purged: those are not leaks.
  delete use.pages;
  delete use.vmap_area;
  delete use.vmap_block;
  return use;
}

/** Names and inode numbers of a directory, in its order; `.` and `..` left out. */
export function* list(
  t: Thread,
  path: string,
): Steps<[string, number][] | Errno> {
  const found = yield* read_dir(t, bytes(path));
  if (typeof found === "number") return found;
  return found.map(({ name, ino }): [string, number] => [latin1(name), ino])
    .filter(([name]) => name !== "." && name !== "..");
}

/** Checks the directory `path` whole. */
export function* check_dir(t: Thread, path: string): Steps<0 | Errno> {
  const found = yield* path_lookup(t, bytes(path), 0);
  if (typeof found === "number") return found;
  const dp = XFS_I(found.dentry.d_inode!);
  const mode = yield* xfs_ilock_map_shared(t, dp);
  const error = yield* xfs_dir2_check(t, dp);
  yield* xfs_iunlock(t, dp, mode);
  yield* path_put(t, found);
  return error;
}

/** The inode number of a path. */
export function* ino_of(t: Thread, path: Uint8Array): Steps<number | Errno> {
  const stat = yield* vfs_stat(t, path);
  return typeof stat === "number" ? stat : stat.ino;
}
