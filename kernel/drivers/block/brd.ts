/** RAM disks (drivers/block/brd.c). Interface first: the bodies follow. */
import type { Steps } from "../../../arch/asm.ts";
import type { BlockDevice } from "../../block/block_device.ts";
import { BUG } from "../../bug.ts";
import type { Thread } from "../../thread.ts";
import type { SparseImage } from "./image.ts";

/** A RAM disk. */
export interface BrdDevice extends BlockDevice {
  readonly image: SparseImage;
  /** Error injection: whether a read of `sector` fails with -EIO; `null` = none does. */
  should_fail: ((sector: number) => boolean) | null;
}

/** Makes a RAM disk with `image`'s contents. */
export function brd_alloc(
  t: Thread,
  _name: string,
  _image: SparseImage,
): BrdDevice {
  return BUG(t, "brd_alloc() is to come");
}

/** Removes a RAM disk and what is cached of it. */
export function brd_free(t: Thread, _brd: BrdDevice): Steps {
  return BUG(t, "brd_free() is to come");
}
