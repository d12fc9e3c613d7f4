/**
 * The end of a superblock (fs/super.c: deactivate_super(),
 * generic_shutdown_super()).
 *
 * Lock order:
 *
 *     sb.s_umount        for writing
 *       sb.s_lock
 *       sb_lock
 */
import { charge, enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import { list_del_init } from "../lib/list.ts";
import { _atomic_dec_and_lock } from "../locking/dec_and_lock.ts";
import { mutex_lock, mutex_unlock } from "../locking/mutex.ts";
import { down_write, up_write } from "../locking/rwsem.ts";
import {
  lockdep_assert_held,
  spin_lock,
  spin_unlock,
} from "../locking/spinlock.ts";
import { kfree } from "../mm/slab.ts";
import { KERN_ERR, printk } from "../printk.ts";
import type { Thread } from "../thread.ts";
import { shrink_dcache_for_umount } from "./dcache_shrink.ts";
import { invalidate_inodes } from "./inode_shrink.ts";
import { MS_ACTIVE, type SuperBlock } from "./super_types.ts";

const DEACTIVATE_SUPER = ksym("deactivate_super");
const GENERIC_SHUTDOWN_SUPER = ksym("generic_shutdown_super");

/** Gives up a mount's reference; with the last one the file system ends. Context: process. */
export function* deactivate_super(t: Thread, sb: SuperBlock): Steps {
  enter(t, DEACTIVATE_SUPER);
  charge(t, 6);
  const { sb_lock } = t.k.vfs!;
  if (yield* _atomic_dec_and_lock(t, sb.s_active, sb_lock)) {
    yield* spin_unlock(t, sb_lock);
    yield* down_write(t, sb.s_umount);
    yield* generic_shutdown_super(t, sb);
    yield* put_super(t, sb);
  }
  leave(t);
}

/** Takes the tree and all inodes away, then what the file system has. Locks: s_umount held for writing; free on return. */
function* generic_shutdown_super(t: Thread, sb: SuperBlock): Steps {
  enter(t, GENERIC_SHUTDOWN_SUPER);
  lockdep_assert_held(t, sb.s_umount);
  if (sb.s_root !== null) {
    yield* shrink_dcache_for_umount(t, sb);
    yield* mutex_lock(t, sb.s_lock);
    sb.s_flags &= ~MS_ACTIVE;
    yield* invalidate_inodes(t, sb);
    if (sb.s_op.put_super !== undefined) yield* sb.s_op.put_super(t, sb);
    // What the file system held itself is gone with put_super().
    if (yield* invalidate_inodes(t, sb)) {
      printk(
        t,
        KERN_ERR,
        `VFS: Busy inodes after unmount of ${sb.s_dev}. Self-destruct in 5 seconds.  Have a nice day...`,
      );
    }
    yield* mutex_unlock(t, sb.s_lock);
  }
  const { sb_lock } = t.k.vfs!;
  yield* spin_lock(t, sb_lock);
  list_del_init(sb.s_list);
  yield* spin_unlock(t, sb_lock);
  yield* up_write(t, sb.s_umount);
  leave(t);
}

/** Gives up a reference to the structure. */
function* put_super(t: Thread, sb: SuperBlock): Steps {
  const { sb_lock } = t.k.vfs!;
  yield* spin_lock(t, sb_lock);
  const last = --sb.s_count === 0;
  yield* spin_unlock(t, sb_lock);
  if (last) yield* kfree(t, sb.memory);
}
