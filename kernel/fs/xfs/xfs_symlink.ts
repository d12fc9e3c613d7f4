/**
 * Targets of symbolic links (fs/xfs/xfs_vnodeops.c: xfs_readlink()): in the
 * inode, or in blocks, each of which has a header on version 5.
 *
 * Locks: an XFS_ILOCK of the link held.
 */
import { charge, enter, ksym, leave, type Steps } from "../../../arch/asm.ts";
import { err, type Errno, EUCLEAN } from "../../lib/errno.ts";
import type { Thread } from "../../thread.ts";
import { copy_out, get_be32, get_be64 } from "./xfs_access.ts";
import { xfs_bmap_last_offset, xfs_bmapi } from "./xfs_bmap.ts";
import { xfs_buf_relse } from "./xfs_buf.ts";
import { be32 } from "./xfs_bytes.ts";
import { XFS_DINODE_FMT_LOCAL } from "./xfs_format.ts";
import {
  HOLESTARTBLOCK,
  type XfsBmbtIrec,
  type XfsInode,
} from "./xfs_inode_types.ts";
import { xfs_alert, xfs_error_report } from "./xfs_message.ts";
import { XFS_FSB_TO_BB, XFS_FSB_TO_DADDR } from "./xfs_units.ts";
import {
  type Verdict,
  verify_identity,
  xfs_trans_read_buf,
  type XfsBufOps,
} from "./xfs_verify.ts";

const XFS_READLINK = ksym("xfs_readlink");

/** Longest target, bytes. */
const MAXPATHLEN = 1024;
/** "XSLM": a block of a version 5 link. */
const XFS_SYMLINK_MAGIC = 0x58534c4d;
const SL_OFFSET = 4; // 32
const SL_BYTES = 8; // 32
const SL_OWNER = 32; // 64
/** Bytes of its header. */
const SL_HEADER = 56;
const IDENTITY = { crc: 12, blkno: 40, uuid: 16 };

/** A block of a link. */
const xfs_symlink_buf_ops: XfsBufOps = {
  name: "xfs_symlink_read_verify",
  code: 13,
  verify(t, mp, bytes, blkno): Verdict {
    if (mp.crc === 0) return "good"; // nothing but the target's bytes
    const verdict = verify_identity(t, mp, bytes, blkno, IDENTITY);
    if (verdict !== "good") return verdict;
    charge(t, 12);
    return be32(bytes, 0) === XFS_SYMLINK_MAGIC &&
        be32(bytes, SL_BYTES) <= bytes.length - SL_HEADER
      ? "good"
      : "corrupt";
  },
};

/** The target of `ip`. @returns -EUCLEAN, -EIO, -ENOMEM. */
export function* xfs_readlink(
  t: Thread,
  ip: XfsInode,
): Steps<Uint8Array | Errno> {
  enter(t, XFS_READLINK);
  charge(t, 30);
  const target = yield* read_target(t, ip);
  leave(t);
  return target;
}

function corrupt(t: Thread, ip: XfsInode, what: string): Errno {
  const mp = ip.i_mount;
  mp.m_corruptions++;
  xfs_error_report(t, mp, "xfs_readlink");
  xfs_alert(t, mp, `corrupt symbolic link inode ${ip.i_ino}, ${what}.`);
  return err(EUCLEAN);
}

function* read_target(t: Thread, ip: XfsInode): Steps<Uint8Array | Errno> {
  const { di_format, di_size } = ip.i_d;
  if (di_size === 0 || di_size > MAXPATHLEN) {
    return corrupt(t, ip, `size ${di_size}`);
  }
  if (di_format === XFS_DINODE_FMT_LOCAL) {
    charge(t, di_size / 8);
    return ip.i_df.if_data.slice(0, di_size);
  }
  const last = yield* xfs_bmap_last_offset(t, ip);
  if (last < 0) return last as Errno;
  const target = new Uint8Array(di_size);
  const maps: XfsBmbtIrec[] = [];
  let done = 0;
  for (let bno = 0; done < di_size;) {
    xfs_bmapi(t, ip, bno, MAXPATHLEN, maps, 1);
    const [map] = maps;
    if (map.br_startblock === HOLESTARTBLOCK || map.br_unwritten) {
      return corrupt(t, ip, `no block ${bno}`);
    }
    const n = yield* read_block(t, ip, map.br_startblock, target, done);
    if (n < 0) return n as Errno;
    done += n;
    bno++;
  }
  return target;
}

/** Copies the part of the target that block `fsbno` has. @returns Its bytes, at least 1; -EUCLEAN, -EIO, -ENOMEM. */
function* read_block(
  t: Thread,
  ip: XfsInode,
  fsbno: number,
  target: Uint8Array,
  done: number,
): Steps<number | Errno> {
  const mp = ip.i_mount;
  const bp = yield* xfs_trans_read_buf(
    t,
    mp,
    XFS_FSB_TO_DADDR(mp, fsbno),
    XFS_FSB_TO_BB(mp, 1),
    xfs_symlink_buf_ops,
  );
  if (typeof bp === "number") return bp;
  const addr = bp.b_addr;
  const header = mp.crc === 1 ? SL_HEADER : 0;
  let room = mp.m_sb.sb_blocksize - header;
  let good = true;
  if (mp.crc === 1) {
    good = (yield* get_be32(t, addr)) === XFS_SYMLINK_MAGIC &&
      (yield* get_be32(t, addr + SL_OFFSET)) === done &&
      (yield* get_be64(t, addr + SL_OWNER)) === ip.i_ino;
    const bytes = yield* get_be32(t, addr + SL_BYTES);
    good &&= bytes > 0 && bytes <= room;
    room = bytes;
  }
  const n = Math.min(room, target.length - done);
  if (good) yield* copy_out(t, addr + header, n, target.subarray(done));
  yield* xfs_buf_relse(t, bp);
  return good ? n : corrupt(t, ip, `a block for byte ${done}`);
}
