/**
 * Numbers of one kind turned into another (the macros of fs/xfs/xfs_mount.h,
 * xfs_ag.h, xfs_inum.h): inodes, blocks of the file system, of a group, sectors,
 * addresses within a directory. And whether they name something that exists.
 *
 * Numbers go up to 2^53; those from the disk may be larger and are refused by
 * the `verify` functions.
 */
import type { XfsMount } from "./xfs_mount_types.ts";

/** Group of inode `ino`. */
export function XFS_INO_TO_AGNO(mp: XfsMount, ino: number): number {
  return Math.floor(ino / mp.m_aginos);
}

/** Number of inode `ino` within its group. */
export function XFS_INO_TO_AGINO(mp: XfsMount, ino: number): number {
  return ino % mp.m_aginos;
}

/** Block within the group of inode `ino`. */
export function XFS_INO_TO_AGBNO(mp: XfsMount, ino: number): number {
  return Math.floor(ino % mp.m_aginos / mp.m_sb.sb_inopblock);
}

/** Number of inode `ino` within its block. */
export function XFS_INO_TO_OFFSET(mp: XfsMount, ino: number): number {
  return ino % mp.m_sb.sb_inopblock;
}

/** Sector of block `agbno` of group `agno`. */
export function XFS_AGB_TO_DADDR(
  mp: XfsMount,
  agno: number,
  agbno: number,
): number {
  return (agno * mp.m_sb.sb_agblocks + agbno) * 2 ** mp.m_blkbb_log;
}

/** Sector of block `fsbno`. */
export function XFS_FSB_TO_DADDR(mp: XfsMount, fsbno: number): number {
  const agno = Math.floor(fsbno / mp.m_agblks);
  return XFS_AGB_TO_DADDR(mp, agno, fsbno % mp.m_agblks);
}

/** Sectors of `blocks` blocks. */
export function XFS_FSB_TO_BB(mp: XfsMount, blocks: number): number {
  return blocks * 2 ** mp.m_blkbb_log;
}

/** Blocks of group `agno`, which exists: the last may be shorter. */
export function xfs_ag_block_count(mp: XfsMount, agno: number): number {
  const { sb_agblocks, sb_agcount, sb_dblocks } = mp.m_sb;
  return agno < sb_agcount - 1 ? sb_agblocks : sb_dblocks - agno * sb_agblocks;
}

/** Whether `count` blocks from `fsbno` on exist, and lie in one group. */
export function xfs_verify_fsbext(
  mp: XfsMount,
  fsbno: number,
  count: number,
): boolean {
  const agno = Math.floor(fsbno / mp.m_agblks);
  if (count === 0 || agno >= mp.m_sb.sb_agcount) return false;
  const agbno = fsbno % mp.m_agblks;
  return agbno > 0 && agbno + count <= xfs_ag_block_count(mp, agno);
}

/** Whether block `agbno` of group `agno` can hold a btree. */
export function xfs_verify_agbno(
  mp: XfsMount,
  agno: number,
  agbno: number,
): boolean {
  return agbno > 0 && agbno < xfs_ag_block_count(mp, agno);
}

/** Whether `ino` is the number of an inode that can exist. */
export function xfs_verify_ino(mp: XfsMount, ino: number): boolean {
  if (!(ino > 0 && ino <= Number.MAX_SAFE_INTEGER)) return false;
  const agno = XFS_INO_TO_AGNO(mp, ino);
  if (agno >= mp.m_sb.sb_agcount) return false;
  const agbno = XFS_INO_TO_AGBNO(mp, ino);
  return agbno > 0 && agbno < xfs_ag_block_count(mp, agno);
}

/** Directory block that address `dataptr` lies in. */
export function xfs_dir2_dataptr_to_db(mp: XfsMount, dataptr: number): number {
  return Math.floor(dataptr * 8 / mp.m_dirblksize);
}

/** Byte within its block of address `dataptr`. */
export function xfs_dir2_dataptr_to_off(mp: XfsMount, dataptr: number): number {
  return dataptr * 8 % mp.m_dirblksize;
}

/** Address of byte `off` of directory block `db`. */
export function xfs_dir2_db_off_to_dataptr(
  mp: XfsMount,
  db: number,
  off: number,
): number {
  return (db * mp.m_dirblksize + off) / 8;
}

/** Block within the directory where directory block `db` starts. */
export function xfs_dir2_db_to_da(mp: XfsMount, db: number): number {
  return db * mp.m_dirblkfsbs;
}

/** Bytes of a data entry whose name has `namelen` bytes. */
export function xfs_dir2_data_entsize(mp: XfsMount, namelen: number): number {
  return (8 + 1 + namelen + mp.ftypeBytes + 2 + 7) & ~7;
}
