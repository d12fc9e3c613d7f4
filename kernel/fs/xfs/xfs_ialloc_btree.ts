/**
 * Looking an inode's chunk up in its group's btree (fs/xfs/xfs_ialloc.c,
 * xfs_ialloc_btree.c). Only file systems whose inodes are not aligned need it.
 *
 * Differs from Linux: one search downward; no cursor.
 */
import { charge, enter, ksym, leave, type Steps } from "../../../arch/asm.ts";
import { EINVAL, err, type Errno, EUCLEAN } from "../../lib/errno.ts";
import type { Thread } from "../../thread.ts";
import { get_be16, get_be32 } from "./xfs_access.ts";
import { xfs_buf_relse } from "./xfs_buf.ts";
import { be16, be32 } from "./xfs_bytes.ts";
import {
  BB_LEVEL,
  BB_MAGIC,
  BB_NUMRECS,
  BB_S_BLKNO,
  BB_S_CRC,
  BB_S_OWNER,
  BB_S_UUID,
  INOBT_REC_BYTES,
  XFS_BTREE_MAXLEVELS,
  XFS_BTREE_SBLOCK_LEN,
  XFS_IBT_MAGIC,
  XFS_INODES_PER_CHUNK,
} from "./xfs_format.ts";
import { xfs_error_report } from "./xfs_message.ts";
import type { XfsMount, XfsPerag } from "./xfs_mount_types.ts";
import {
  XFS_AGB_TO_DADDR,
  XFS_FSB_TO_BB,
  xfs_verify_agbno,
} from "./xfs_units.ts";
import {
  type Verdict,
  verify_identity,
  xfs_trans_read_buf,
  type XfsBufOps,
} from "./xfs_verify.ts";

const XFS_INOBT_LOOKUP = ksym("xfs_inobt_lookup");

const IDENTITY = { crc: BB_S_CRC, blkno: BB_S_BLKNO, uuid: BB_S_UUID };

function verify(
  t: Thread,
  mp: XfsMount,
  bytes: Uint8Array,
  blkno: number,
): Verdict {
  const verdict = verify_identity(t, mp, bytes, blkno, IDENTITY);
  if (verdict !== "good") return verdict;
  charge(t, 30);
  const level = be16(bytes, BB_LEVEL);
  const most = level === 0 ? mp.m_inobt_leaf_mxr : mp.m_inobt_node_mxr;
  return be32(bytes, BB_MAGIC) === XFS_IBT_MAGIC[mp.crc] &&
      level < XFS_BTREE_MAXLEVELS && be16(bytes, BB_NUMRECS) <= most
    ? "good"
    : "corrupt";
}

/** A block of an inode btree. */
const xfs_inobt_buf_ops: XfsBufOps = {
  name: "xfs_inobt_read_verify",
  code: 2,
  verify,
};

/**
 * First inode of the chunk that inode `agino` of the group is in.
 *
 * @returns -EINVAL if no chunk has it; -EUCLEAN, -EIO, -ENOMEM.
 */
export function* xfs_imap_lookup(
  t: Thread,
  mp: XfsMount,
  pag: XfsPerag,
  agino: number,
): Steps<number | Errno> {
  enter(t, XFS_INOBT_LOOKUP);
  const start = yield* lookup(t, mp, pag, agino);
  if (start === err(EUCLEAN)) {
    mp.m_corruptions++;
    xfs_error_report(t, mp, "xfs_inobt_lookup");
  }
  leave(t);
  return start;
}

function* lookup(
  t: Thread,
  mp: XfsMount,
  pag: XfsPerag,
  agino: number,
): Steps<number | Errno> {
  const header = XFS_BTREE_SBLOCK_LEN[mp.crc];
  let bno = pag.agi_root;
  // Every level is one less than the one above, so that this ends.
  for (let level = pag.agi_level - 1; level >= 0; level--) {
    charge(t, 40);
    if (!xfs_verify_agbno(mp, pag.agno, bno)) return err(EUCLEAN);
    const blkno = XFS_AGB_TO_DADDR(mp, pag.agno, bno);
    const len = XFS_FSB_TO_BB(mp, 1);
    const bp = yield* xfs_trans_read_buf(t, mp, blkno, len, xfs_inobt_buf_ops);
    if (typeof bp === "number") return bp;
    const addr = bp.b_addr;
    const numrecs = yield* get_be16(t, addr + BB_NUMRECS);
    const most = level === 0 ? mp.m_inobt_leaf_mxr : mp.m_inobt_node_mxr;
    const bad = (yield* get_be16(t, addr + BB_LEVEL)) !== level ||
      numrecs > most ||
      (mp.crc === 1 && (yield* get_be32(t, addr + BB_S_OWNER)) !== pag.agno);
    const size = level === 0 ? INOBT_REC_BYTES : 4;
    const keys = addr + header;
    const i = bad ? -1 : yield* last_not_above(t, keys, size, numrecs, agino);
    let found = -1;
    if (i >= 0 && level === 0) {
      found = yield* get_be32(t, keys + i * size);
    } else if (i >= 0) {
      bno = yield* get_be32(t, keys + mp.m_inobt_node_mxr * 4 + i * 4);
    }
    yield* xfs_buf_relse(t, bp);
    if (bad) return err(EUCLEAN);
    if (i < 0) return err(EINVAL);
    if (level === 0) {
      const inside = agino - found < XFS_INODES_PER_CHUNK;
      return inside ? found : err(EINVAL);
    }
  }
  return err(EUCLEAN); // a tree of no levels
}

/** The last of `count` keys, `size` bytes apart, that is at most `agino`; -1 = none. */
function* last_not_above(
  t: Thread,
  keys: number,
  size: number,
  count: number,
  agino: number,
): Steps<number> {
  let low = 0;
  let high = count;
  while (low < high) {
    charge(t, 12);
    const middle = (low + high) >>> 1;
    const key = yield* get_be32(t, keys + middle * size);
    if (key <= agino) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
