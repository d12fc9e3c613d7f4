/**
 * What the VFS can do with an inode of XFS (fs/xfs/linux-2.6/xfs_iops.c,
 * xfs_file.c; xfs_vnodeops.c): look a name up in it, read it, ask what it is.
 *
 * Lock order:
 *
 *     dir.i_mutex            by the VFS
 *       ip.i_lock            of the directory, given up before the child is read
 */
import {
  charge,
  enter,
  ksym,
  leave,
  read_line,
  type Steps,
  write_line,
} from "../../../arch/asm.ts";
import { EIO, ENAMETOOLONG, ENOENT, err, type Errno } from "../../lib/errno.ts";
import type { Thread } from "../../thread.ts";
import { d_add, d_splice_alias } from "../dcache.ts";
import type { Dentry } from "../dentry.ts";
import { unlock_new_inode } from "../inode.ts";
import {
  type DirContext,
  EMPTY_FOPS,
  type FileOperations,
  type Inode,
  type InodeOperations,
  type Kstat,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  type Timespec,
} from "../inode_types.ts";
import { xfs_dir_lookup } from "./xfs_dir2.ts";
import { xfs_readdir } from "./xfs_dir2_readdir.ts";
import { be32 } from "./xfs_bytes.ts";
import { MAXNAMELEN, XFS_DINODE_FMT_DEV } from "./xfs_format.ts";
import { xfs_iget, xfs_ilock_map_shared, xfs_iunlock } from "./xfs_iget.ts";
import type { XfsInode } from "./xfs_inode_types.ts";
import { xfs_readlink } from "./xfs_symlink.ts";
import { XFS_FSB_TO_BB } from "./xfs_units.ts";

const XFS_VN_LOOKUP = ksym("xfs_vn_lookup");
const XFS_LOOKUP = ksym("xfs_lookup");
const XFS_VN_GETATTR = ksym("xfs_vn_getattr");
const XFS_SETUP_INODE = ksym("xfs_setup_inode");
const XFS_FILE_READDIR = ksym("xfs_file_readdir");
const XFS_VN_FOLLOW_LINK = ksym("xfs_vn_follow_link");

/** The XFS inode of `inode`. */
export function XFS_I(inode: Inode): XfsInode {
  return inode.i_private as XfsInode;
}

/**
 * The inode that `name` in `dp` leads to, with a reference.
 *
 * Locks: dp.i_vnode.i_mutex held; takes an XFS_ILOCK of dp.
 *
 * @returns -ENOENT; -EUCLEAN, -EIO, -ENOMEM, -EINVAL.
 */
function* xfs_lookup(
  t: Thread,
  dp: XfsInode,
  name: Uint8Array,
): Steps<XfsInode | Errno> {
  enter(t, XFS_LOOKUP);
  charge(t, 20);
  const mode = yield* xfs_ilock_map_shared(t, dp);
  const ino = yield* xfs_dir_lookup(t, dp, name);
  yield* xfs_iunlock(t, dp, mode);
  const ip = ino < 0 ? ino as Errno : yield* xfs_iget(t, dp.i_mount, ino);
  leave(t);
  return ip;
}

function* xfs_vn_lookup(
  t: Thread,
  dir: Inode,
  dentry: Dentry,
): Steps<Dentry | null | Errno> {
  enter(t, XFS_VN_LOOKUP);
  charge(t, 20);
  const result = dentry.d_name.len >= MAXNAMELEN
    ? err(ENAMETOOLONG)
    : yield* lookup(t, dir, dentry);
  leave(t);
  return result;
}

function* lookup(
  t: Thread,
  dir: Inode,
  dentry: Dentry,
): Steps<Dentry | null | Errno> {
  const ip = yield* xfs_lookup(t, XFS_I(dir), dentry.d_name.name);
  if (ip === err(ENOENT)) {
    yield* d_add(t, dentry, null);
    return null;
  }
  if (typeof ip === "number") return ip;
  return yield* d_splice_alias(t, ip.i_vnode, dentry);
}

function copy_time(from: Timespec): Timespec {
  return { tv_sec: from.tv_sec, tv_nsec: from.tv_nsec };
}

function* xfs_vn_getattr(t: Thread, dentry: Dentry): Steps<Kstat | Errno> {
  enter(t, XFS_VN_GETATTR);
  charge(t, 70);
  const inode = dentry.d_inode;
  if (inode === null) {
    leave(t);
    return err(EIO);
  }
  const ip = XFS_I(inode);
  yield* read_line(t, inode.mode_line);
  yield* read_line(t, ip.line);
  const { i_d: d, i_mount: mp } = ip;
  const stat: Kstat = {
    ino: ip.i_ino,
    dev: inode.i_sb.s_dev,
    mode: d.di_mode,
    nlink: d.di_nlink,
    uid: d.di_uid,
    gid: d.di_gid,
    rdev: inode.i_rdev,
    size: d.di_size,
    atime: copy_time(d.di_atime),
    mtime: copy_time(d.di_mtime),
    ctime: copy_time(d.di_ctime),
    blksize: t.machine.memory.pageBytes,
    blocks: XFS_FSB_TO_BB(mp, d.di_nblocks),
  };
  leave(t);
  return stat;
}

function* xfs_file_readdir(
  t: Thread,
  inode: Inode,
  ctx: DirContext,
): Steps<0 | Errno> {
  enter(t, XFS_FILE_READDIR);
  charge(t, 20);
  const dp = XFS_I(inode);
  const mode = yield* xfs_ilock_map_shared(t, dp);
  const error = yield* xfs_readdir(t, dp, ctx);
  yield* xfs_iunlock(t, dp, mode);
  leave(t);
  return error;
}

function* xfs_vn_readlink(
  t: Thread,
  inode: Inode,
): Steps<Uint8Array | Errno> {
  enter(t, XFS_VN_FOLLOW_LINK);
  charge(t, 20);
  const ip = XFS_I(inode);
  const mode = yield* xfs_ilock_map_shared(t, ip);
  const target = yield* xfs_readlink(t, ip);
  yield* xfs_iunlock(t, ip, mode);
  leave(t);
  return target;
}

const xfs_inode_operations: InodeOperations = { getattr: xfs_vn_getattr };
const xfs_dir_inode_operations: InodeOperations = {
  lookup: xfs_vn_lookup,
  getattr: xfs_vn_getattr,
};
const xfs_symlink_inode_operations: InodeOperations = {
  readlink: xfs_vn_readlink,
  getattr: xfs_vn_getattr,
};
const xfs_dir_file_operations: FileOperations = { readdir: xfs_file_readdir };

/** An IRIX device number, 14 bits and 18, as Linux has it inside, 12 and 20. */
function sysv_to_dev(dev: number): number {
  return (dev >>> 18) * 2 ** 20 + (dev & 0x3ffff);
}

/** Fills `inode` in from `ip`, and lets in who waits for it. */
export function* xfs_setup_inode(
  t: Thread,
  ip: XfsInode,
  inode: Inode,
): Steps {
  enter(t, XFS_SETUP_INODE);
  charge(t, 70);
  yield* write_line(t, inode.mode_line);
  const { i_d: d, i_mount: mp } = ip;
  inode.i_private = ip;
  inode.i_mode = d.di_mode;
  inode.i_nlink = d.di_nlink;
  inode.i_uid = d.di_uid;
  inode.i_gid = d.di_gid;
  inode.i_size = d.di_size;
  inode.i_blocks = XFS_FSB_TO_BB(mp, d.di_nblocks);
  inode.i_generation = d.di_gen;
  inode.i_rdev = d.di_format === XFS_DINODE_FMT_DEV
    ? sysv_to_dev(be32(ip.i_df.if_data, 0))
    : 0;
  Object.assign(inode.i_atime, d.di_atime);
  Object.assign(inode.i_mtime, d.di_mtime);
  Object.assign(inode.i_ctime, d.di_ctime);
  switch (d.di_mode & S_IFMT) {
    case S_IFDIR:
      inode.i_op = xfs_dir_inode_operations;
      inode.i_fop = xfs_dir_file_operations;
      break;
    case S_IFLNK:
      inode.i_op = xfs_symlink_inode_operations;
      inode.i_fop = EMPTY_FOPS;
      break;
    default:
      inode.i_op = xfs_inode_operations;
      inode.i_fop = EMPTY_FOPS;
  }
  yield* unlock_new_inode(t, inode);
  leave(t);
}
