/** Superblocks, mounting and unmounting (fs/super.c, fs/namespace.c). Interface first: the bodies follow. */
import type { Steps } from "../../arch/asm.ts";
import type { BlockDevice } from "../block/block_device.ts";
import { BUG } from "../bug.ts";
import type { Errno } from "../lib/errno.ts";
import type { Thread } from "../thread.ts";
import type { FileSystemType, SuperBlock } from "./super_types.ts";

export {
  type FileSystemType,
  type FillSuper,
  MS_ACTIVE,
  MS_RDONLY,
  SuperBlock,
  type SuperOperations,
} from "./super_types.ts";

/** Makes a kind of file system known. @returns 0; -EBUSY if there is one of that name. */
export function register_filesystem(
  t: Thread,
  _type: FileSystemType,
): Steps<0 | Errno> {
  return BUG(t, "register_filesystem() is to come");
}

/**
 * Mounts what is on `bdev`. The first mount becomes the root that paths start
 * from. Context: process.
 *
 * @param options The file system's.
 * @returns The superblock; -ENODEV for an unknown type; what fill_super() returned.
 */
export function mount_fs(
  t: Thread,
  _type: string,
  _bdev: BlockDevice | null,
  _options?: unknown,
): Steps<SuperBlock | Errno> {
  return BUG(t, "mount_fs() is to come");
}

/** Unmounts. @returns 0; -EBUSY while somebody uses it. Context: process. */
export function umount(t: Thread, _sb: SuperBlock): Steps<0 | Errno> {
  return BUG(t, "umount() is to come");
}
