/**
 * Inodes as the disk has them (fs/xfs/xfs_dinode.h, xfs_inode.c): which can be
 * true, and their fields.
 *
 * Versions 1 and 2 have 100 bytes before the forks, version 3 has 176, with a
 * checksum, the inode's own number, and two ways to write what did not fit:
 * times in nanoseconds since 1901 (bigtime), and extent counters of 48 and 32
 * bits (NREXT64).
 */
import { charge } from "../../../arch/asm.ts";
import type { Thread } from "../../thread.ts";
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from "../inode_types.ts";
import type { Timespec } from "../inode_types.ts";
import { be16, be32, be32s, be64, same_bytes } from "./xfs_bytes.ts";
import { xfs_verify_cksum } from "./crc32c.ts";
import {
  DI_ANEXTENTS,
  DI_ATIME,
  DI_BIG_NEXTENTS,
  DI_CORE_V2,
  DI_CORE_V3,
  DI_CRC,
  DI_CTIME,
  DI_FLAGS,
  DI_FLAGS2,
  DI_FORKOFF,
  DI_FORMAT,
  DI_GEN,
  DI_GID,
  DI_INO,
  DI_MAGIC,
  DI_MODE,
  DI_MTIME,
  DI_NBLOCKS,
  DI_NEXTENTS,
  DI_NLINK,
  DI_ONLINK,
  DI_SIZE,
  DI_UID,
  DI_UUID,
  DI_VERSION,
  XFS_BIGTIME_EPOCH_OFFSET,
  XFS_DIFLAG2_BIGTIME,
  XFS_DIFLAG2_NREXT64,
  XFS_DINODE_MAGIC,
} from "./xfs_format.ts";
import type { XfsIcdinode, XfsInode } from "./xfs_inode_types.ts";
import type { XfsMount } from "./xfs_mount_types.ts";

const NSEC_PER_SEC = 1e9;

/** Bytes before the forks of an inode of `version`. */
export function xfs_dinode_size(version: number): number {
  return version >= 3 ? DI_CORE_V3 : DI_CORE_V2;
}

/** Whether `version` is one that inodes of `mp` can have. */
function xfs_dinode_good_version(
  mp: XfsMount,
  version: number,
): boolean {
  return mp.crc === 1 ? version === 3 : version === 1 || version === 2;
}

/** Whether the inode's flags say so; versions 1 and 2 have no such flags. */
function hasFlag2(b: Uint8Array, flag: number): boolean {
  return b[DI_VERSION] >= 3 && (be32(b, DI_FLAGS2 + 4) & flag) !== 0;
}

/** Extents of the data fork. */
function xfs_dfork_nextents(b: Uint8Array): number {
  return hasFlag2(b, XFS_DIFLAG2_NREXT64)
    ? be64(b, DI_BIG_NEXTENTS)
    : be32(b, DI_NEXTENTS);
}

/** Extents of the attribute fork. */
function xfs_afork_nextents(b: Uint8Array): number {
  return hasFlag2(b, XFS_DIFLAG2_NREXT64)
    ? be32(b, DI_NEXTENTS)
    : be16(b, DI_ANEXTENTS);
}

/** Reads the time at `at`. */
function read_time(b: Uint8Array, at: number, big: boolean, ts: Timespec) {
  if (!big) {
    ts.tv_sec = be32s(b, at);
    ts.tv_nsec = Math.min(Math.max(0, be32s(b, at + 4)), NSEC_PER_SEC - 1);
    return;
  }
  // 64 bits of nanoseconds are more than a double holds: divided by 16 bits at a time.
  let sec = 0;
  let rest = 0;
  for (let i = 0; i < 8; i += 2) {
    rest = rest * 2 ** 16 + be16(b, at + i);
    sec = sec * 2 ** 16 + Math.floor(rest / NSEC_PER_SEC);
    rest %= NSEC_PER_SEC;
  }
  ts.tv_sec = sec - XFS_BIGTIME_EPOCH_OFFSET;
  ts.tv_nsec = rest;
}

/** Fills `to` in from the inode's bytes. Plain. */
export function xfs_dinode_from_disk(
  t: Thread,
  to: XfsIcdinode,
  b: Uint8Array,
): void {
  charge(t, 90); // 30 fields: load, swap, store
  const version = b[DI_VERSION];
  const big = hasFlag2(b, XFS_DIFLAG2_BIGTIME);
  to.di_mode = be16(b, DI_MODE);
  to.di_version = version;
  to.di_format = b[DI_FORMAT];
  to.di_uid = be32(b, DI_UID);
  to.di_gid = be32(b, DI_GID);
  to.di_nlink = version === 1 ? be16(b, DI_ONLINK) : be32(b, DI_NLINK);
  read_time(b, DI_ATIME, big, to.di_atime);
  read_time(b, DI_MTIME, big, to.di_mtime);
  read_time(b, DI_CTIME, big, to.di_ctime);
  to.di_size = be64(b, DI_SIZE);
  to.di_nblocks = be64(b, DI_NBLOCKS);
  to.di_nextents = xfs_dfork_nextents(b);
  to.di_anextents = xfs_afork_nextents(b);
  to.di_forkoff = b[DI_FORKOFF];
  to.di_flags = be16(b, DI_FLAGS);
  to.di_gen = be32(b, DI_GEN);
}

/** Whether the checksum of an inode, all `bytes` of it, is right; before version 5 there is none. Plain. */
export function xfs_dinode_verify_cksum(
  t: Thread,
  mp: XfsMount,
  bytes: Uint8Array,
): boolean {
  return mp.crc === 0 ||
    xfs_verify_cksum(t, bytes, 0, bytes.length, DI_CRC);
}

/**
 * Whether the fields of an inode can be true together; what depends on its
 * format is looked at by xfs_iformat(). Plain.
 */
export function xfs_dinode_verify(
  t: Thread,
  mp: XfsMount,
  ino: number,
  b: Uint8Array,
): boolean {
  charge(t, 50);
  if (be16(b, DI_MAGIC) !== XFS_DINODE_MAGIC) return false;
  if (!xfs_dinode_good_version(mp, b[DI_VERSION])) return false;
  if (mp.crc === 1) {
    if (!same_bytes(b, DI_UUID, mp.m_sb.sb_meta_uuid)) return false;
    if (be64(b, DI_INO) !== ino) return false;
  }
  if (hasFlag2(b, XFS_DIFLAG2_NREXT64) && !mp.m_sb.hasNrext64) return false;
  const size = be64(b, DI_SIZE);
  if (be32s(b, DI_SIZE) < 0 || size > Number.MAX_SAFE_INTEGER) return false;
  const mode = be16(b, DI_MODE);
  if (mode === 0) return true; // free: nothing else counts
  const type = mode & S_IFMT;
  if ((type === S_IFDIR || type === S_IFLNK) && size === 0) return false;
  if (type !== S_IFREG && !known_type(type) && !with_data(type)) return false;
  return be64(b, DI_NBLOCKS) <= mp.m_sb.sb_dblocks;
}

function with_data(type: number): boolean {
  return type === S_IFDIR || type === S_IFLNK;
}

/** Devices, pipes and sockets: 1, 2, 6 and 12 in the top bits of a mode. */
function known_type(type: number): boolean {
  const kind = type >> 12;
  return kind === 1 || kind === 2 || kind === 6 || kind === 12;
}

/** Bytes of the data fork of an inode of `mp`. */
export function xfs_dfork_dsize(ip: XfsInode): number {
  const { di_forkoff, di_version } = ip.i_d;
  return di_forkoff > 0
    ? di_forkoff * 8
    : ip.i_mount.m_sb.sb_inodesize - xfs_dinode_size(di_version);
}
