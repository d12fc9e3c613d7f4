/**
 * Verifiers of directory blocks (as in fs/xfs/xfs_dir2_data.c, _block.c,
 * _leaf.c, _node.c, xfs_da_btree.c of 3.10 and later): whether a block that has
 * come from the disk is what its magic number says, to the last entry.
 *
 * Whoever searches a block that passed still minds where addresses from other
 * blocks point to.
 */
import { charge } from "../../../arch/asm.ts";
import type { Thread } from "../../thread.ts";
import { be16, be32, be64 } from "./xfs_bytes.ts";
import {
  BTP_COUNT,
  BTP_STALE,
  DA3_BLKNO,
  DA3_CRC,
  DA3_OWNER,
  DA3_UUID,
  DA_ENTRIES,
  DA_MAGIC,
  DEP_NAME,
  DEP_NAMELEN,
  DIR2_BESTFREE,
  DIR2_BLOCK_TAIL_BYTES,
  DIR2_DATA_ENTRY,
  DIR2_LEAF_ENTRY_BYTES,
  DIR3_BLKNO,
  DIR3_CRC,
  DIR3_OWNER,
  DIR3_UUID,
  DUP_FREETAG,
  DUP_LENGTH,
  FREE_BESTS,
  FREE_FIRSTDB,
  FREE_NUSED,
  FREE_NVALID,
  LEAF_COUNT,
  LEAF_STALE,
  NODE_COUNT,
  NODE_LEVEL,
  XFS_DA_NODE_MAGIC,
  XFS_DA_NODE_MAXDEPTH,
  XFS_DIR2_BLOCK_MAGIC,
  XFS_DIR2_DATA_FD_COUNT,
  XFS_DIR2_DATA_FREE_TAG,
  XFS_DIR2_DATA_MAGIC,
  XFS_DIR2_FREE_MAGIC,
  XFS_DIR2_LEAF1_MAGIC,
  XFS_DIR2_LEAFN_MAGIC,
  XFS_DIR2_NULL_DATAPTR,
  XFS_DIR3_FT_MAX,
} from "./xfs_format.ts";
import type { XfsMount } from "./xfs_mount_types.ts";
import { good_name } from "./xfs_dir2_sf.ts";
import { xfs_dir2_data_entsize, xfs_verify_ino } from "./xfs_units.ts";
import {
  type Identity,
  type Verdict,
  verify_identity,
  type XfsBufOps,
} from "./xfs_verify.ts";

const DIR3_IDENTITY: Identity = {
  crc: DIR3_CRC,
  blkno: DIR3_BLKNO,
  uuid: DIR3_UUID,
};
const DA3_IDENTITY: Identity = {
  crc: DA3_CRC,
  blkno: DA3_BLKNO,
  uuid: DA3_UUID,
};

/** Smallest data entry, bytes. */
const MIN_ENTSIZE = 16;

/** Which 8-byte units of a block an entry starts at; `null` = bytes `[first, end)` are not entries. */
function walk_entries(
  t: Thread,
  mp: XfsMount,
  b: Uint8Array,
  first: number,
  end: number,
): Uint8Array | null {
  const starts = new Uint8Array(b.length / 8);
  let free = false; // whether the piece before was unused
  for (let at = first; at < end;) {
    if (be16(b, at + DUP_FREETAG) === XFS_DIR2_DATA_FREE_TAG) {
      charge(t, 20);
      const length = be16(b, at + DUP_LENGTH);
      if (length === 0 || length % 8 !== 0 || at + length > end) return null;
      if (be16(b, at + length - 2) !== at || free) return null;
      free = true;
      at += length;
      continue;
    }
    charge(t, 30);
    if (at + MIN_ENTSIZE > end) return null;
    const namelen = b[at + DEP_NAMELEN];
    const size = xfs_dir2_data_entsize(mp, namelen);
    if (namelen === 0 || at + size > end) return null;
    if (be16(b, at + size - 2) !== at) return null;
    if (!xfs_verify_ino(mp, be64(b, at))) return null;
    if (!good_name(b, at + DEP_NAME, namelen)) return null;
    if (mp.ftype && b[at + DEP_NAME + namelen] >= XFS_DIR3_FT_MAX) return null;
    starts[at / 8] = 1;
    free = false;
    at += size;
  }
  return starts;
}

/** Whether the three best free pieces lie in the block and are in order. */
function good_bestfree(mp: XfsMount, b: Uint8Array): boolean {
  let last = b.length;
  for (let i = 0; i < XFS_DIR2_DATA_FD_COUNT; i++) {
    const at = DIR2_BESTFREE[mp.crc] + 4 * i;
    const offset = be16(b, at);
    const length = be16(b, at + 2);
    if (length > last || offset + length > b.length) return false;
    if (length === 0 && offset !== 0) return false;
    last = length;
  }
  return true;
}

/** Whether `count` leaf entries at `at` ascend by hash, `stale` of them without address. */
function good_leaf_entries(
  t: Thread,
  b: Uint8Array,
  at: number,
  count: number,
  stale: number,
): boolean {
  charge(t, 20 + 8 * count);
  let last = 0;
  let dead = 0;
  for (let i = 0; i < count; i++) {
    const hash = be32(b, at + 8 * i);
    if (hash < last) return false;
    last = hash;
    if (be32(b, at + 8 * i + 4) === XFS_DIR2_NULL_DATAPTR) dead++;
  }
  return dead === stale;
}

function verify_data(
  t: Thread,
  mp: XfsMount,
  b: Uint8Array,
  blkno: number,
): Verdict {
  const verdict = verify_identity(t, mp, b, blkno, DIR3_IDENTITY);
  if (verdict !== "good") return verdict;
  charge(t, 40);
  return be32(b, 0) === XFS_DIR2_DATA_MAGIC[mp.crc] &&
      good_bestfree(mp, b) &&
      walk_entries(t, mp, b, DIR2_DATA_ENTRY[mp.crc], b.length) !== null
    ? "good"
    : "corrupt";
}

function verify_block(
  t: Thread,
  mp: XfsMount,
  b: Uint8Array,
  blkno: number,
): Verdict {
  const verdict = verify_identity(t, mp, b, blkno, DIR3_IDENTITY);
  if (verdict !== "good") return verdict;
  charge(t, 50);
  const first = DIR2_DATA_ENTRY[mp.crc];
  const tail = b.length - DIR2_BLOCK_TAIL_BYTES;
  const count = be32(b, tail + BTP_COUNT);
  const stale = be32(b, tail + BTP_STALE);
  const leaf = tail - count * DIR2_LEAF_ENTRY_BYTES;
  if (
    be32(b, 0) !== XFS_DIR2_BLOCK_MAGIC[mp.crc] || !good_bestfree(mp, b) ||
    leaf < first || stale > count ||
    !good_leaf_entries(t, b, leaf, count, stale)
  ) return "corrupt";
  const starts = walk_entries(t, mp, b, first, leaf);
  if (starts === null) return "corrupt";
  let used = 0;
  for (let i = 0; i < count; i++) {
    const address = be32(b, leaf + 8 * i + 4);
    if (address === XFS_DIR2_NULL_DATAPTR) continue;
    if (address >= starts.length || starts[address] === 0) return "corrupt";
    used++;
  }
  let entries = 0;
  for (const start of starts) entries += start;
  return entries === used ? "good" : "corrupt";
}

/** Leaves of either kind, by magic number. */
function verify_leaf(magic: number): XfsBufOps["verify"] {
  return (t, mp, b, blkno) => {
    const verdict = verify_identity(t, mp, b, blkno, DA3_IDENTITY);
    if (verdict !== "good") return verdict;
    charge(t, 30);
    const single = magic === XFS_DIR2_LEAF1_MAGIC[mp.crc];
    const count = be16(b, LEAF_COUNT[mp.crc]);
    const stale = be16(b, LEAF_STALE[mp.crc]);
    const first = DA_ENTRIES[mp.crc];
    const bests = single ? 4 + 2 * be32(b, b.length - 4) : 0;
    return be16(b, DA_MAGIC) === magic && stale <= count &&
        first + count * DIR2_LEAF_ENTRY_BYTES + bests <= b.length &&
        good_leaf_entries(t, b, first, count, stale)
      ? "good"
      : "corrupt";
  };
}

const verify_leafn = [
  verify_leaf(XFS_DIR2_LEAFN_MAGIC[0]),
  verify_leaf(XFS_DIR2_LEAFN_MAGIC[1]),
] as const;
const verify_leaf1 = [
  verify_leaf(XFS_DIR2_LEAF1_MAGIC[0]),
  verify_leaf(XFS_DIR2_LEAF1_MAGIC[1]),
] as const;

function verify_node(
  t: Thread,
  mp: XfsMount,
  b: Uint8Array,
  blkno: number,
): Verdict {
  const magic = be16(b, DA_MAGIC);
  if (magic === XFS_DIR2_LEAFN_MAGIC[mp.crc]) {
    return verify_leafn[mp.crc](t, mp, b, blkno);
  }
  if (magic !== XFS_DA_NODE_MAGIC[mp.crc]) return "corrupt";
  const verdict = verify_identity(t, mp, b, blkno, DA3_IDENTITY);
  if (verdict !== "good") return verdict;
  const count = be16(b, NODE_COUNT[mp.crc]);
  const level = be16(b, NODE_LEVEL[mp.crc]);
  const first = DA_ENTRIES[mp.crc];
  charge(t, 30 + 6 * count);
  if (
    level === 0 || level > XFS_DA_NODE_MAXDEPTH || count === 0 ||
    first + count * 8 > b.length
  ) return "corrupt";
  let last = 0;
  for (let i = 0; i < count; i++) {
    const hash = be32(b, first + 8 * i);
    if (hash < last) return "corrupt";
    last = hash;
  }
  return "good";
}

function verify_free(
  t: Thread,
  mp: XfsMount,
  b: Uint8Array,
  blkno: number,
): Verdict {
  const verdict = verify_identity(t, mp, b, blkno, DIR3_IDENTITY);
  if (verdict !== "good") return verdict;
  charge(t, 30);
  const most = (b.length - FREE_BESTS[mp.crc]) / 2;
  const firstdb = be32(b, FREE_FIRSTDB[mp.crc]);
  const nvalid = be32(b, FREE_NVALID[mp.crc]);
  const nused = be32(b, FREE_NUSED[mp.crc]);
  return be32(b, 0) === XFS_DIR2_FREE_MAGIC[mp.crc] &&
      nvalid <= most && nused <= nvalid && firstdb % most === 0
    ? "good"
    : "corrupt";
}

/** A kind of directory block: how it is verified, and what it says of itself. */
export interface XfsDaOps extends XfsBufOps {
  /** Where its magic number lies, and whether that has 32 bits, not 16. */
  readonly magicAt: number;
  readonly wide: boolean;
  /** Magic numbers of the kind, and of another that will do. */
  readonly magic: readonly [number, number];
  readonly other: readonly [number, number];
  /** Where version 5 has the owner's inode number. */
  readonly ownerAt: number;
}

/** A block that is data and leaf. */
export const xfs_dir3_block_buf_ops: XfsDaOps = {
  name: "xfs_dir3_block_read_verify",
  code: 8,
  verify: verify_block,
  magicAt: 0,
  wide: true,
  magic: XFS_DIR2_BLOCK_MAGIC,
  other: XFS_DIR2_BLOCK_MAGIC,
  ownerAt: DIR3_OWNER,
};

/** A data block. */
export const xfs_dir3_data_buf_ops: XfsDaOps = {
  name: "xfs_dir3_data_read_verify",
  code: 9,
  verify: verify_data,
  magicAt: 0,
  wide: true,
  magic: XFS_DIR2_DATA_MAGIC,
  other: XFS_DIR2_DATA_MAGIC,
  ownerAt: DIR3_OWNER,
};

/** The only leaf of a directory. */
export const xfs_dir3_leaf1_buf_ops: XfsDaOps = {
  name: "xfs_dir3_leaf1_read_verify",
  code: 10,
  verify: (t, mp, b, blkno) => verify_leaf1[mp.crc](t, mp, b, blkno),
  magicAt: DA_MAGIC,
  wide: false,
  magic: XFS_DIR2_LEAF1_MAGIC,
  other: XFS_DIR2_LEAF1_MAGIC,
  ownerAt: DA3_OWNER,
};

/** A node of the hash tree, or a leaf below one. */
export const xfs_da3_node_buf_ops: XfsDaOps = {
  name: "xfs_da3_node_read_verify",
  code: 11,
  verify: verify_node,
  magicAt: DA_MAGIC,
  wide: false,
  magic: XFS_DA_NODE_MAGIC,
  other: XFS_DIR2_LEAFN_MAGIC,
  ownerAt: DA3_OWNER,
};

/** A free index. */
export const xfs_dir3_free_buf_ops: XfsDaOps = {
  name: "xfs_dir3_free_read_verify",
  code: 12,
  verify: verify_free,
  magicAt: 0,
  wide: true,
  magic: XFS_DIR2_FREE_MAGIC,
  other: XFS_DIR2_FREE_MAGIC,
  ownerAt: DIR3_OWNER,
};
