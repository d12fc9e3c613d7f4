/**
 * Headers of allocation groups (fs/xfs/xfs_ag.h, xfs_alloc.c, xfs_ialloc.c): the
 * AGF, which tells of free space, and the AGI, which tells of inodes. Read and
 * verified at mount; a reader needs no more than the root of the inode btree.
 */
import { charge, enter, ksym, leave, type Steps } from "../../../arch/asm.ts";
import type { Errno } from "../../lib/errno.ts";
import type { Thread } from "../../thread.ts";
import { copy_out } from "./xfs_access.ts";
import { xfs_buf_relse } from "./xfs_buf.ts";
import { be32, same_bytes } from "./xfs_bytes.ts";
import { xfs_verify_cksum } from "./crc32c.ts";
import {
  AGF_BYTES,
  AGF_CRC,
  AGF_FLCOUNT,
  AGF_FLFIRST,
  AGF_FLLAST,
  AGF_FREEBLKS,
  AGF_LENGTH,
  AGF_LEVELS,
  AGF_LONGEST,
  AGF_MAGICNUM,
  AGF_SEQNO,
  AGF_UUID,
  AGF_VERSIONNUM,
  AGI_BYTES,
  AGI_COUNT,
  AGI_CRC,
  AGI_FREECOUNT,
  AGI_LENGTH,
  AGI_LEVEL,
  AGI_MAGICNUM,
  AGI_ROOT,
  AGI_SEQNO,
  AGI_UUID,
  AGI_VERSIONNUM,
  XFS_AGF_MAGIC,
  XFS_AGF_VERSION,
  XFS_AGI_MAGIC,
  XFS_AGI_VERSION,
  XFS_BTREE_MAXLEVELS,
} from "./xfs_format.ts";
import { type XfsMount, XfsPerag } from "./xfs_mount_types.ts";
import { xfs_ag_block_count, XFS_AGB_TO_DADDR } from "./xfs_units.ts";
import {
  type Verdict,
  xfs_trans_read_buf,
  type XfsBufOps,
} from "./xfs_verify.ts";

const XFS_GET_PERAG = ksym("xfs_get_perag");
const XFS_READ_AGF = ksym("xfs_read_agf");
const XFS_IALLOC_READ_AGI = ksym("xfs_ialloc_read_agi");

/** Group `agno`, which exists. Plain. */
export function xfs_get_perag(
  t: Thread,
  mp: XfsMount,
  agno: number,
): XfsPerag {
  enter(t, XFS_GET_PERAG);
  charge(t, 8);
  let pag = mp.m_perag.get(agno);
  if (pag === undefined) {
    pag = new XfsPerag(mp.k, agno);
    mp.m_perag.set(agno, pag);
  }
  leave(t);
  return pag;
}

/** Group whose header lies at sector `blkno`. */
function agnoOf(mp: XfsMount, blkno: number): number {
  return Math.floor(blkno / XFS_AGB_TO_DADDR(mp, 1, 0));
}

/** Checksum and file system of a header; it has no address of its own. */
function verify_header(
  t: Thread,
  mp: XfsMount,
  bytes: Uint8Array,
  crc: number,
  uuid: number,
): Verdict {
  if (mp.crc === 0) return "good";
  if (!xfs_verify_cksum(t, bytes, 0, bytes.length, crc)) return "bad crc";
  return same_bytes(bytes, uuid, mp.m_sb.sb_meta_uuid) ? "good" : "corrupt";
}

function verify_agf(
  t: Thread,
  mp: XfsMount,
  b: Uint8Array,
  blkno: number,
): Verdict {
  const verdict = verify_header(t, mp, b, AGF_CRC, AGF_UUID);
  if (verdict !== "good") return verdict;
  charge(t, 50);
  const agno = agnoOf(mp, blkno);
  const length = be32(b, AGF_LENGTH);
  const agfl = Math.floor(
    (mp.m_sb.sb_sectsize - (mp.crc === 1 ? 36 : 0)) / 4,
  );
  const freeblks = be32(b, AGF_FREEBLKS);
  const goodLevel = (i: number) => {
    const level = be32(b, AGF_LEVELS + 4 * i);
    return level > 0 && level <= XFS_BTREE_MAXLEVELS;
  };
  return be32(b, AGF_MAGICNUM) === XFS_AGF_MAGIC &&
      be32(b, AGF_VERSIONNUM) === XFS_AGF_VERSION &&
      be32(b, AGF_SEQNO) === agno &&
      length === xfs_ag_block_count(mp, agno) &&
      freeblks <= length && be32(b, AGF_LONGEST) <= freeblks &&
      be32(b, AGF_FLFIRST) < agfl && be32(b, AGF_FLLAST) < agfl &&
      be32(b, AGF_FLCOUNT) <= agfl && goodLevel(0) && goodLevel(1)
    ? "good"
    : "corrupt";
}

function verify_agi(
  t: Thread,
  mp: XfsMount,
  b: Uint8Array,
  blkno: number,
): Verdict {
  const verdict = verify_header(t, mp, b, AGI_CRC, AGI_UUID);
  if (verdict !== "good") return verdict;
  charge(t, 50);
  const agno = agnoOf(mp, blkno);
  const level = be32(b, AGI_LEVEL);
  return be32(b, AGI_MAGICNUM) === XFS_AGI_MAGIC &&
      be32(b, AGI_VERSIONNUM) === XFS_AGI_VERSION &&
      be32(b, AGI_SEQNO) === agno &&
      be32(b, AGI_LENGTH) === xfs_ag_block_count(mp, agno) &&
      level > 0 && level <= XFS_BTREE_MAXLEVELS &&
      be32(b, AGI_FREECOUNT) <= be32(b, AGI_COUNT)
    ? "good"
    : "corrupt";
}

const xfs_agf_buf_ops: XfsBufOps = {
  name: "xfs_agf_read_verify",
  code: 3,
  verify: verify_agf,
};

const xfs_agi_buf_ops: XfsBufOps = {
  name: "xfs_agi_read_verify",
  code: 4,
  verify: verify_agi,
};

/** Copies the header in sector `sector` of group `agno` out. */
function* read_header(
  t: Thread,
  mp: XfsMount,
  agno: number,
  sector: number,
  length: number,
  ops: XfsBufOps,
): Steps<Uint8Array | Errno> {
  const blkno = XFS_AGB_TO_DADDR(mp, agno, 0) + sector * mp.m_sectbb;
  const bp = yield* xfs_trans_read_buf(t, mp, blkno, mp.m_sectbb, ops);
  if (typeof bp === "number") return bp;
  const bytes = new Uint8Array(length);
  yield* copy_out(t, bp.b_addr, length, bytes);
  yield* xfs_buf_relse(t, bp);
  return bytes;
}

/** Reads what the AGF says of `pag`. @returns 0; -EUCLEAN, -EIO, -ENOMEM. */
function* xfs_read_agf(
  t: Thread,
  mp: XfsMount,
  pag: XfsPerag,
): Steps<0 | Errno> {
  enter(t, XFS_READ_AGF);
  charge(t, 40);
  const b = yield* read_header(t, mp, pag.agno, 1, AGF_BYTES, xfs_agf_buf_ops);
  if (typeof b !== "number") {
    pag.pagf_freeblks = be32(b, AGF_FREEBLKS);
    pag.pagf_longest = be32(b, AGF_LONGEST);
    pag.pagf_init = true;
  }
  leave(t);
  return typeof b === "number" ? b : 0;
}

/** Reads what the AGI says of `pag`. @returns 0; -EUCLEAN, -EIO, -ENOMEM. */
export function* xfs_ialloc_read_agi(
  t: Thread,
  mp: XfsMount,
  pag: XfsPerag,
): Steps<0 | Errno> {
  enter(t, XFS_IALLOC_READ_AGI);
  charge(t, 40);
  const b = yield* read_header(t, mp, pag.agno, 2, AGI_BYTES, xfs_agi_buf_ops);
  if (typeof b !== "number") {
    pag.pagi_count = be32(b, AGI_COUNT);
    pag.pagi_freecount = be32(b, AGI_FREECOUNT);
    pag.agi_root = be32(b, AGI_ROOT);
    pag.agi_level = be32(b, AGI_LEVEL);
    pag.pagi_init = true;
  }
  leave(t);
  return typeof b === "number" ? b : 0;
}

/** Groups whose headers are read at mount; of a file system with more, the others' when they are needed. */
const MOUNT_AGS = 1024;

/** Reads the headers of all groups (xfs_initialize_perag_data()). @returns 0; -EUCLEAN, -EIO, -ENOMEM. */
export function* xfs_initialize_perag_data(
  t: Thread,
  mp: XfsMount,
): Steps<0 | Errno> {
  const count = Math.min(mp.m_sb.sb_agcount, MOUNT_AGS);
  for (let agno = 0; agno < count; agno++) {
    const pag = xfs_get_perag(t, mp, agno);
    const error = (yield* xfs_read_agf(t, mp, pag)) ||
      (yield* xfs_ialloc_read_agi(t, mp, pag));
    if (error !== 0) return error;
  }
  return 0;
}
