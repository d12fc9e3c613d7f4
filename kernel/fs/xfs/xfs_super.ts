/**
 * Mounting XFS (fs/xfs/linux-2.6/xfs_super.c, xfs_mount.c): the superblock, the
 * headers of all allocation groups, the root.
 *
 * Differs from Linux: every mount is `ro,norecovery`: the log is not looked at,
 * so that a file system that was not unmounted shows what reached its place.
 * The superblock's buffer is not kept.
 */
import { charge, enter, ksym, leave, type Steps } from "../../../arch/asm.ts";
import {
  EINVAL,
  ENOMEM,
  ENOSYS,
  err,
  type Errno,
  EUCLEAN,
} from "../../lib/errno.ts";
import { kmem_cache_create } from "../../mm/slab.ts";
import type { Thread } from "../../thread.ts";
import { d_alloc_root } from "../dcache.ts";
import { iput } from "../inode.ts";
import { S_ISDIR } from "../inode_types.ts";
import {
  type FileSystemType,
  register_filesystem,
  type SuperBlock,
  type SuperOperations,
} from "../super.ts";
import { vfs_init } from "../vfs.ts";
import { copy_out } from "./xfs_access.ts";
import { xfs_initialize_perag_data } from "./xfs_ag.ts";
import {
  XBF_LOCK,
  XBF_MAPPED,
  xfs_alloc_buftarg,
  xfs_buf_read,
  xfs_buf_relse,
  xfs_free_buftarg,
  xfs_setsize_buftarg,
  type XfsBuftarg,
} from "./xfs_buf.ts";
import { xfs_verify_cksum } from "./crc32c.ts";
import {
  XFS_DA_STATE_BYTES,
  XFS_DABUF_BYTES,
  XfsDabuf,
  XfsDaState,
} from "./xfs_da_types.ts";
import { BBSHIFT, SB_BYTES, SB_CRC, XFS_SB_MAGIC } from "./xfs_format.ts";
import { xfs_fs_clear_inode, xfs_iget } from "./xfs_iget.ts";
import { XFS_INODE_BYTES, XfsInode } from "./xfs_inode_types.ts";
import {
  type Named,
  xfs_notice,
  xfs_verifier_error,
  xfs_warn,
} from "./xfs_message.ts";
import { XfsMount, type XfsZones } from "./xfs_mount_types.ts";
import { xfs_sb_from_disk, type XfsSb } from "./xfs_sb.ts";
import {
  type SbLimits,
  xfs_check_sizes,
  xfs_validate_sb,
} from "./xfs_sb_check.ts";
import { page_contents } from "./xfs_verify.ts";

const INIT_XFS_FS = ksym("init_xfs_fs");
const XFS_FS_FILL_SUPER = ksym("xfs_fs_fill_super");
const XFS_READSB = ksym("xfs_readsb");
const XFS_MOUNTFS = ksym("xfs_mountfs");
const XFS_FS_PUT_SUPER = ksym("xfs_fs_put_super");

/** XFS as the VFS knows it, with its slab caches, which all mounts share. */
class XfsType implements FileSystemType {
  readonly name = "xfs";
  readonly requires_dev = true;

  constructor(readonly zones: XfsZones) {}

  readonly fill_super = (
    t: Thread,
    sb: SuperBlock,
    _options: unknown,
  ): Steps<0 | Errno> => xfs_fs_fill_super(t, sb, this.zones);
}

/** Makes XFS known to the VFS, unless it is. Context: process. */
export function* init_xfs_fs(t: Thread): Steps<0 | Errno> {
  enter(t, INIT_XFS_FS);
  const v = yield* vfs_init(t);
  charge(t, 100);
  const known = v.file_systems.some(({ name }) => name === "xfs");
  const error = known
    ? 0
    : yield* register_filesystem(t, new XfsType(xfs_init_zones(t)));
  leave(t);
  return error;
}

/** The slab caches. */
function xfs_init_zones(t: Thread): XfsZones {
  const { k } = t;
  return {
    inode: kmem_cache_create(
      t,
      "xfs_inode",
      XFS_INODE_BYTES,
      () => new XfsInode(k),
    ),
    dabuf: kmem_cache_create(
      t,
      "xfs_dabuf",
      XFS_DABUF_BYTES,
      () => new XfsDabuf(),
    ),
    da_state: kmem_cache_create(
      t,
      "xfs_da_state",
      XFS_DA_STATE_BYTES,
      () => new XfsDaState(),
    ),
  };
}

const xfs_super_operations: SuperOperations = {
  clear_inode: xfs_fs_clear_inode,
  put_super: xfs_fs_put_super,
};

function* xfs_fs_fill_super(
  t: Thread,
  sb: SuperBlock,
  zones: XfsZones,
): Steps<0 | Errno> {
  enter(t, XFS_FS_FILL_SUPER);
  charge(t, 200);
  const target = yield* xfs_alloc_buftarg(t, sb.s_bdev!, sb.s_dev);
  if (typeof target === "number") {
    leave(t);
    return target;
  }
  const disk = yield* xfs_readsb(t, { m_fsname: sb.s_dev }, target);
  let error: 0 | Errno;
  if (typeof disk === "number") error = disk;
  else {
    const mp = new XfsMount(t.k, sb, sb.s_dev, target, disk);
    mp.m_zones = zones;
    error = yield* fill(t, sb, mp);
  }
  if (error !== 0) {
    sb.s_fs_info = null;
    yield* xfs_free_buftarg(t, target);
  }
  leave(t);
  return error;
}

function* fill(t: Thread, sb: SuperBlock, mp: XfsMount): Steps<0 | Errno> {
  sb.s_fs_info = mp;
  sb.s_op = xfs_super_operations;
  sb.s_magic = XFS_SB_MAGIC;
  sb.s_blocksize = mp.m_sb.sb_blocksize;
  const root = yield* xfs_mountfs(t, mp);
  if (typeof root === "number") return root;
  sb.s_root = yield* d_alloc_root(t, root.i_vnode!);
  if (sb.s_root === null) {
    yield* iput(t, root.i_vnode);
    return err(ENOMEM);
  }
  mp.m_rootip = root;
  xfs_notice(t, mp, "Ending clean mount");
  return 0;
}

/** Reads the superblock and says whether it can be mounted. @returns -EINVAL, -ENOSYS, -EFBIG, -EUCLEAN, -EIO, -ENOMEM. */
function* xfs_readsb(
  t: Thread,
  name: Named,
  target: XfsBuftarg,
): Steps<XfsSb | Errno> {
  enter(t, XFS_READSB);
  charge(t, 60);
  const sb = yield* read_sb(t, name, target);
  if (typeof sb === "number") {
    xfs_warn(t, name, `SB validate failed with error ${sb}.`);
  }
  leave(t);
  return sb;
}

function* read_sb(
  t: Thread,
  name: Named,
  target: XfsBuftarg,
): Steps<XfsSb | Errno> {
  const bdev = target.bt_bdev;
  const limits: SbLimits = {
    pageBytes: t.machine.memory.pageBytes,
    deviceSectors: bdev.sectors,
  };
  if (bdev.sectors === 0) {
    xfs_warn(t, name, "Invalid superblock magic number");
    return err(EINVAL);
  }
  let sectors = Math.max(1, bdev.hardsect_size >> BBSHIFT);
  for (;;) {
    const bp = yield* xfs_buf_read(
      t,
      target,
      0,
      sectors,
      XBF_LOCK | XBF_MAPPED,
    );
    if (typeof bp === "number") return bp;
    const bytes = new Uint8Array(SB_BYTES);
    yield* copy_out(t, bp.b_addr, SB_BYTES, bytes);
    const sb = xfs_sb_from_disk(t, bytes);
    let error = xfs_validate_sb(t, name, sb, limits);
    const wanted = sb.sb_sectsize >> BBSHIFT;
    if (error === 0 && sectors > wanted) {
      xfs_warn(
        t,
        name,
        `device supports ${bdev.hardsect_size} byte sectors (not ${sb.sb_sectsize})`,
      );
      error = err(ENOSYS);
    }
    if (error === 0 && sectors === wanted && sb.hasCrc) {
      const sector = page_contents(t, [bp]);
      if (!xfs_verify_cksum(t, sector, 0, sector.length, SB_CRC)) {
        const verifier = "xfs_sb_read_verify";
        xfs_verifier_error(t, name, true, verifier, 0, sector);
        error = err(EUCLEAN);
      }
    }
    yield* xfs_buf_relse(t, bp);
    if (error !== 0) return error;
    if (sectors === wanted) {
      error = xfs_check_sizes(t, name, sb, limits);
      return error === 0 ? sb : error;
    }
    sectors = wanted; // read it again, whole
  }
}

/** Readies `mp` for use. @returns The root, with a reference; -EUCLEAN, -EIO, -ENOMEM, -EINVAL. */
function* xfs_mountfs(t: Thread, mp: XfsMount): Steps<XfsInode | Errno> {
  enter(t, XFS_MOUNTFS);
  charge(t, 300);
  const root = yield* mount(t, mp);
  leave(t);
  return root;
}

function* mount(t: Thread, mp: XfsMount): Steps<XfsInode | Errno> {
  const { m_sb: sb } = mp;
  let error = xfs_setsize_buftarg(
    t,
    mp.m_ddev_targp,
    sb.sb_blocksize,
    sb.sb_sectsize,
  );
  if (error !== 0) return error;
  xfs_notice(
    t,
    mp,
    `Mounting V${sb.version} filesystem in no-recovery mode. Filesystem will be inconsistent.`,
  );
  error = yield* xfs_initialize_perag_data(t, mp);
  if (error !== 0) {
    xfs_warn(t, mp, `Failed per-ag init: ${error}`);
    return error;
  }
  const root = yield* xfs_iget(t, mp, sb.sb_rootino);
  if (typeof root === "number") {
    xfs_warn(
      t,
      mp,
      `Failed to read root inode 0x${
        sb.sb_rootino.toString(16)
      }, error ${-root}`,
    );
    return root;
  }
  if (!S_ISDIR(root.i_d.di_mode)) {
    xfs_warn(t, mp, `Corrupted root inode ${root.i_ino}: not a directory`);
    yield* iput(t, root.i_vnode);
    return err(EUCLEAN);
  }
  return root;
}

/** Unmounting: all inodes are gone. Locks: s_umount and s_lock held. */
function* xfs_fs_put_super(t: Thread, sb: SuperBlock): Steps {
  enter(t, XFS_FS_PUT_SUPER);
  charge(t, 60);
  const mp = sb.s_fs_info as XfsMount;
  xfs_notice(t, mp, "Unmounting Filesystem");
  mp.m_rootip = null;
  yield* xfs_free_buftarg(t, mp.m_ddev_targp);
  mp.m_perag.clear();
  mp.m_verified.clear();
  mp.m_verified_inodes.clear();
  sb.s_fs_info = null;
  leave(t);
}
