/**
 * Short-form directories, whose entries lie in the inode (fs/xfs/xfs_dir2_sf.c):
 * count, parent, then entries one after the other, each with the address that
 * it would have in a block. Inode numbers take 4 bytes, all of them 8 if one
 * needs it.
 *
 * Locks: those of xfs_dir_lookup() and xfs_readdir().
 */
import { charge, enter, ksym, leave, touch_read } from "../../../arch/asm.ts";
import { ENOENT, err, type Errno } from "../../lib/errno.ts";
import type { Thread } from "../../thread.ts";
import { type DirContext, DT_DIR } from "../inode_types.ts";
import { be16, be32, be64 } from "./xfs_bytes.ts";
import type { XfsDaArgs } from "./xfs_da_types.ts";
import {
  DIR2_BLOCK_TAIL_BYTES,
  DIR2_DATA_ENTRY,
  DIR2_LEAF_ENTRY_BYTES,
  SF_COUNT,
  SF_I8COUNT,
  SF_PARENT,
  SFEP_NAME,
  SFEP_NAMELEN,
  SFEP_OFFSET,
  XFS_DIR3_FILETYPE_TABLE,
  XFS_DIR3_FT_MAX,
} from "./xfs_format.ts";
import type { XfsInode } from "./xfs_inode_types.ts";
import type { XfsMount } from "./xfs_mount_types.ts";
import {
  xfs_dir2_data_entsize,
  xfs_dir2_db_off_to_dataptr,
  xfs_verify_ino,
} from "./xfs_units.ts";

const XFS_DIR2_SF_LOOKUP = ksym("xfs_dir2_sf_lookup");
const XFS_DIR2_SF_GETDENTS = ksym("xfs_dir2_sf_getdents");
const XFS_DA_COMPNAME = ksym("xfs_da_compname");
const MEMCMP = ksym("memcmp");

const DOT: Uint8Array = new Uint8Array([0x2e]);
const DOTDOT: Uint8Array = new Uint8Array([0x2e, 0x2e]);

/** Bytes of each inode number. */
function inoBytes(b: Uint8Array): 4 | 8 {
  return b[SF_I8COUNT] === 0 ? 4 : 8;
}

function get_ino(b: Uint8Array, at: number, bytes: 4 | 8): number {
  return bytes === 4 ? be32(b, at) : be64(b, at);
}

/** Bytes of an entry. */
function entsize(mp: XfsMount, namelen: number, bytes: 4 | 8): number {
  return SFEP_NAME + namelen + mp.ftypeBytes + bytes;
}

/** Addresses of `.`, `..` and the first entry, bytes in block 0. */
function xfs_dir2_dot_offset(mp: XfsMount): number {
  return DIR2_DATA_ENTRY[mp.crc];
}
function xfs_dir2_dotdot_offset(mp: XfsMount): number {
  return xfs_dir2_dot_offset(mp) + xfs_dir2_data_entsize(mp, 1);
}
function first_offset(mp: XfsMount): number {
  return xfs_dir2_dotdot_offset(mp) + xfs_dir2_data_entsize(mp, 2);
}

/**
 * Whether the di_size bytes of `ip`'s data fork are a directory. Plain. Once
 * this has said yes, nobody need look at lengths again.
 */
export function xfs_dir2_sf_verify(
  t: Thread,
  mp: XfsMount,
  ip: XfsInode,
): boolean {
  const b = ip.i_df.if_data;
  const size = ip.i_d.di_size;
  charge(t, 20);
  if (size < SF_PARENT + 4) return false;
  const bytes = inoBytes(b);
  let at = SF_PARENT + bytes;
  if (size < at || !xfs_verify_ino(mp, get_ino(b, SF_PARENT, bytes))) {
    return false;
  }
  let offset = first_offset(mp);
  let large = get_ino(b, SF_PARENT, bytes) > 0xffffffff ? 1 : 0;
  const count = b[SF_COUNT];
  for (let i = 0; i < count; i++) {
    charge(t, 30);
    if (at + SFEP_NAME > size) return false;
    const namelen = b[at + SFEP_NAMELEN];
    const end = at + entsize(mp, namelen, bytes);
    if (namelen === 0 || end > size) return false;
    if (be16(b, at + SFEP_OFFSET) < offset) return false;
    if (!good_name(b, at + SFEP_NAME, namelen)) return false;
    if (mp.ftype && b[at + SFEP_NAME + namelen] >= XFS_DIR3_FT_MAX) {
      return false;
    }
    const ino = get_ino(b, end - bytes, bytes);
    if (!xfs_verify_ino(mp, ino)) return false;
    if (ino > 0xffffffff) large++;
    offset = be16(b, at + SFEP_OFFSET) + xfs_dir2_data_entsize(mp, namelen);
    at = end;
  }
  // i8count may be too high: it is the parent's word that 2.6.28 took.
  const leaf = (count + 2) * DIR2_LEAF_ENTRY_BYTES + DIR2_BLOCK_TAIL_BYTES;
  return at === size && (bytes === 8 || large === 0) &&
    offset + leaf <= mp.m_dirblksize;
}

/** Whether a name has neither `/` nor NUL in it. */
export function good_name(b: Uint8Array, at: number, length: number): boolean {
  for (let i = at; i < at + length; i++) {
    if (b[i] === 0 || b[i] === 0x2f) return false;
  }
  return true;
}

/** Looks args.name up. Plain. @returns 0 with args.inumber set, or -ENOENT. */
export function xfs_dir2_sf_lookup(t: Thread, args: XfsDaArgs): 0 | Errno {
  enter(t, XFS_DIR2_SF_LOOKUP);
  charge(t, 40);
  const { dp, name } = args;
  const mp = dp.i_mount;
  const b = dp.i_df.if_data;
  const bytes = inoBytes(b);
  touch_read(t, dp.df_line);
  let at = SF_PARENT + bytes;
  for (let i = b[SF_COUNT]; i > 0; i--) {
    charge(t, 10);
    const namelen = b[at + SFEP_NAMELEN];
    const end = at + entsize(mp, namelen, bytes);
    if (compname(t, name, b, at + SFEP_NAME, namelen)) {
      args.inumber = get_ino(b, end - bytes, bytes);
      leave(t);
      return 0;
    }
    at = end;
  }
  leave(t);
  return err(ENOENT);
}

function compname(
  t: Thread,
  name: Uint8Array,
  b: Uint8Array,
  at: number,
  length: number,
): boolean {
  enter(t, XFS_DA_COMPNAME);
  charge(t, 8);
  if (name.length !== length) {
    leave(t);
    return false;
  }
  enter(t, MEMCMP);
  let i = 0;
  while (i < length && name[i] === b[at + i]) i++;
  charge(t, 8 + 4 * Math.min(i + 1, length));
  leave(t);
  leave(t);
  return i === length;
}

/** Gives the entries from ctx.pos on to the actor. Plain. */
export function xfs_dir2_sf_getdents(
  t: Thread,
  dp: XfsInode,
  ctx: DirContext,
): void {
  enter(t, XFS_DIR2_SF_GETDENTS);
  charge(t, 60);
  const mp = dp.i_mount;
  const b = dp.i_df.if_data;
  const bytes = inoBytes(b);
  const ptr = (off: number) => xfs_dir2_db_off_to_dataptr(mp, 0, off);
  /** @returns Whether to go on. */
  const emit = (
    name: Uint8Array,
    ino: number,
    type: number,
    pos: number,
    next: number,
  ): boolean => {
    if (ctx.pos > pos) return true;
    charge(t, 30);
    if (!ctx.actor(name, ino, type, next)) return false;
    ctx.pos = next;
    return true;
  };
  const dot = ptr(xfs_dir2_dot_offset(mp));
  const dotdot = ptr(xfs_dir2_dotdot_offset(mp));
  const first = ptr(first_offset(mp));
  let more = emit(DOT, dp.i_ino, DT_DIR, dot, dotdot) &&
    emit(DOTDOT, get_ino(b, SF_PARENT, bytes), DT_DIR, dotdot, first);
  let at = SF_PARENT + bytes;
  for (let i = b[SF_COUNT]; i > 0 && more; i--) {
    const namelen = b[at + SFEP_NAMELEN];
    const end = at + entsize(mp, namelen, bytes);
    const name = b.subarray(at + SFEP_NAME, at + SFEP_NAME + namelen);
    const offset = be16(b, at + SFEP_OFFSET);
    const next = ptr(offset + xfs_dir2_data_entsize(mp, namelen));
    const type = mp.ftype
      ? XFS_DIR3_FILETYPE_TABLE[b[at + SFEP_NAME + namelen]]
      : 0;
    const ino = get_ino(b, end - bytes, bytes);
    more = emit(name, ino, type, ptr(offset), next);
    at = end;
  }
  if (more) ctx.pos = Math.max(ctx.pos, ptr(mp.m_dirblksize));
  leave(t);
}
