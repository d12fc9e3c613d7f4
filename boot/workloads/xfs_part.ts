/** The part of the mixed run that looks names up on XFS. */
import type { Steps } from "../../arch/asm.ts";
import { Rng } from "../../arch/sim/random.ts";
import type { SparseImage } from "../../kernel/drivers/block/image.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import { ENOMEM, errname, type Errno } from "../../kernel/lib/errno.ts";
import type { Thread } from "../../kernel/thread.ts";
import type { ListedDirectory } from "../images/listed.ts";
import {
  type DiskDriver,
  mount_disk,
  type Mounted,
  umount_disk,
} from "../xfs_disk.ts";
import { WorkloadError } from "../workload_error.ts";
import type { Part } from "./part.ts";
import { too_small } from "./room.ts";
import {
  check_stat,
  drop_caches,
  type Target,
  targetsOf,
} from "./xfs_large_dir.ts";

/** Directories that are looked into: enough to keep dentries cold. */
const DIRECTORIES = 8;
/** Share of the names that memory has room for. */
const CACHED_SHARE = 0.25;

/** Tasks that look names up in a random order. */
export class XfsPart implements Part {
  readonly name = "xfs";
  readonly unit = "names looked up";
  readonly #targets: readonly Target[];
  readonly #rngs: Rng[] = [];
  #mounted: Mounted | null = null;

  constructor(
    k: Kernel,
    readonly tasks: number,
    readonly disk: SparseImage,
    directories: readonly ListedDirectory[],
    readonly driver: DiskDriver = "brd",
  ) {
    this.#targets = directories
      .filter(({ entries }) => entries.length > DIRECTORIES * 2)
      .slice(0, DIRECTORIES).flatMap(targetsOf);
    for (let i = 0; i < tasks; i++) {
      this.#rngs.push(new Rng(k.params.seed + 11 * i));
    }
  }

  *prepare(t: Thread): Steps<string | null> {
    const small = too_small(t.k);
    if (small !== null) return small;
    const mounted: Mounted | Errno = yield* mount_disk(
      t,
      this.disk,
      this.driver,
    );
    if (mounted === -ENOMEM) return "no memory to mount the disk";
    if (typeof mounted === "number") {
      throw new WorkloadError(
        `Cannot mount the disk as xfs: ${errname(mounted)}`,
        t.k.printk.dmesg().split("\n").filter((line) => line !== ""),
      );
    }
    this.#mounted = mounted;
    t.k.vfs!.dentry_limit = Math.floor(this.#targets.length * CACHED_SHARE);
    return null;
  }

  *step(t: Thread, id: number): Steps {
    const { length } = this.#targets;
    yield* check_stat(t, this.#targets[this.#rngs[id].below(length)]);
  }

  *finish(t: Thread): Steps {
    yield* drop_caches(t);
    yield* umount_disk(t, this.#mounted!);
  }
}
