/** A disk with XFS on it, mounted for a workload and unmounted after it. */
import type { Steps } from "../arch/asm.ts";
import { BUG_ON } from "../kernel/bug.ts";
import {
  brd_alloc,
  brd_free,
  type BrdDevice,
} from "../kernel/drivers/block/brd.ts";
import type { SparseImage } from "../kernel/drivers/block/image.ts";
import {
  type Vbd,
  vbd_attach,
  vbd_detach,
} from "../kernel/drivers/xen/xen_devices.ts";
import { mount_fs, type SuperBlock, umount } from "../kernel/fs/super.ts";
import { init_xfs_fs } from "../kernel/fs/xfs/xfs_super.ts";
import { errname, type Errno } from "../kernel/lib/errno.ts";
import type { Thread } from "../kernel/thread.ts";
import type { BootedMachine } from "./boot.ts";
import type { MachinesOptions } from "./each_machine.ts";
import { WorkloadError } from "./workload_error.ts";

/**
 * Who reads the disk: `brd` = the kernel itself, from memory; `blkfront` = on
 * Xen, domain 0, whose RAM disk it is.
 */
export type DiskDriver = "brd" | "blkfront";
/** All of them, the default first. */
export const DISK_DRIVERS: readonly DiskDriver[] = ["brd", "blkfront"];

/** A disk with XFS on it. */
export interface DiskOptions extends MachinesOptions {
  /** What the disk holds; {@linkcode readImage} reads a file. */
  readonly disk: SparseImage;
  /** Left out: `"brd"`. `"blkfront"` wants a machine with Xen. */
  readonly diskDriver?: DiskDriver;
  /** A directory on it, from its root. */
  readonly path: string;
}

/** The errors that users meet, as perror() says them. */
const MESSAGES: Readonly<Record<string, string>> = {
  EFBIG: "File too large",
  EINVAL: "Invalid argument",
  EIO: "Input/output error",
  ELOOP: "Too many levels of symbolic links",
  ENAMETOOLONG: "File name too long",
  ENOENT: "No such file or directory",
  ENOMEM: "Cannot allocate memory",
  ENOTDIR: "Not a directory",
  EUCLEAN: "Structure needs cleaning",
};

/**
 * Mounts `disk`, runs `fn`, unmounts.
 *
 * @returns What `fn` returned.
 * @throws {WorkloadError} If it does not mount, or `fn` returned an error.
 */
export function withDisk<T>(
  booted: BootedMachine,
  { disk, diskDriver }: DiskOptions,
  what: string,
  fn: (t: Thread) => Steps<T | Errno>,
): T {
  const before = booted.dmesg().length;
  const failure = (what: string, error: Errno) => {
    const name = errname(error);
    const message = Object.hasOwn(MESSAGES, name) ? MESSAGES[name] : "";
    return new WorkloadError(
      `Cannot ${what}: ${name}${message && ` (${message})`}`,
      booted.dmesg().slice(before),
    );
  };
  const mounted = booted.run((t) => mount_disk(t, disk, diskDriver));
  if (typeof mounted === "number") {
    throw failure("mount the disk as xfs", mounted);
  }
  const result = booted.run(fn);
  booted.run((t) => umount_disk(t, mounted));
  if (typeof result === "number") throw failure(what, result as Errno);
  return result;
}

/** A mounted disk. */
export interface Mounted {
  readonly brd: BrdDevice;
  /** What the guest has of it on Xen; `null` = it is the RAM disk itself. */
  readonly vbd: Vbd | null;
  readonly sb: SuperBlock;
}

/** Makes a RAM disk, gives it to the guest if `driver` says so, and mounts it. Context: process. */
export function* mount_disk(
  t: Thread,
  disk: SparseImage,
  driver: DiskDriver = "brd",
): Steps<Mounted | Errno> {
  yield* init_xfs_fs(t);
  const brd = brd_alloc(t, "ram0", disk);
  const vbd = driver === "blkfront" ? yield* vbd_attach(t, brd) : null;
  if (typeof vbd === "number") {
    yield* brd_free(t, brd);
    return vbd;
  }
  const sb = yield* mount_fs(t, "xfs", vbd?.bdev ?? brd);
  if (typeof sb !== "number") return { brd, vbd, sb };
  if (vbd !== null) yield* vbd_detach(t, vbd);
  yield* brd_free(t, brd);
  return sb;
}

/** Takes all of it away again. Context: process. */
export function* umount_disk(t: Thread, { brd, vbd, sb }: Mounted): Steps {
  BUG_ON(t, (yield* umount(t, sb)) !== 0, "somebody still uses the disk");
  if (vbd !== null) yield* vbd_detach(t, vbd);
  yield* brd_free(t, brd);
}
