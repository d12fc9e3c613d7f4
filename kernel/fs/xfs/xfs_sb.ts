/**
 * The superblock's fields (fs/xfs/xfs_sb.h, xfs_mount.c), and what features it
 * claims. xfs_sb_check.ts tells whether they can be true.
 *
 * Differs from 2.6.28: that read versions 1 to 4; this, 4 and 5.
 */
import { charge, enter, ksym, leave } from "../../../arch/asm.ts";
import type { Thread } from "../../thread.ts";
import { be16, be32, be64 } from "./xfs_bytes.ts";
import {
  SB_AGBLKLOG,
  SB_AGBLOCKS,
  SB_AGCOUNT,
  SB_BLOCKLOG,
  SB_BLOCKSIZE,
  SB_DBLOCKS,
  SB_DIRBLKLOG,
  SB_FDBLOCKS,
  SB_FEATURES2,
  SB_FEATURES_COMPAT,
  SB_FEATURES_INCOMPAT,
  SB_FEATURES_RO_COMPAT,
  SB_ICOUNT,
  SB_IFREE,
  SB_IMAX_PCT,
  SB_INOALIGNMT,
  SB_INODELOG,
  SB_INODESIZE,
  SB_INOPBLOCK,
  SB_INOPBLOG,
  SB_INPROGRESS,
  SB_LOGBLOCKS,
  SB_LOGSTART,
  SB_MAGICNUM,
  SB_META_UUID,
  SB_QFLAGS,
  SB_REXTENTS,
  SB_REXTSIZE,
  SB_ROOTINO,
  SB_SECTLOG,
  SB_SECTSIZE,
  SB_SHARED_VN,
  SB_UUID,
  SB_VERSIONNUM,
  XFS_SB_FEAT_INCOMPAT_FTYPE,
  XFS_SB_FEAT_INCOMPAT_META_UUID,
  XFS_SB_FEAT_INCOMPAT_NREXT64,
  XFS_SB_FEAT_INCOMPAT_SPINODES,
  XFS_SB_VERSION2_FTYPE,
  XFS_SB_VERSION_5,
  XFS_SB_VERSION_ALIGNBIT,
  XFS_SB_VERSION_BORGBIT,
  XFS_SB_VERSION_MOREBITSBIT,
  XFS_SB_VERSION_NUMBITS,
} from "./xfs_format.ts";

const XFS_SB_FROM_DISK = ksym("xfs_sb_from_disk");

/** The fields that a reader uses. */
export class XfsSb {
  readonly sb_magicnum: number;
  readonly sb_blocksize: number;
  readonly sb_dblocks: number;
  readonly sb_rextents: number;
  readonly sb_uuid: Uint8Array;
  readonly sb_logstart: number;
  readonly sb_rootino: number;
  readonly sb_rextsize: number;
  readonly sb_agblocks: number;
  readonly sb_agcount: number;
  readonly sb_logblocks: number;
  readonly sb_versionnum: number;
  readonly sb_sectsize: number;
  readonly sb_inodesize: number;
  readonly sb_inopblock: number;
  readonly sb_blocklog: number;
  readonly sb_sectlog: number;
  readonly sb_inodelog: number;
  readonly sb_inopblog: number;
  readonly sb_agblklog: number;
  readonly sb_inprogress: number;
  readonly sb_imax_pct: number;
  readonly sb_icount: number;
  readonly sb_ifree: number;
  readonly sb_fdblocks: number;
  readonly sb_qflags: number;
  readonly sb_shared_vn: number;
  readonly sb_inoalignmt: number;
  readonly sb_dirblklog: number;
  readonly sb_features2: number;
  readonly sb_features_compat: number;
  readonly sb_features_ro_compat: number;
  readonly sb_features_incompat: number;
  /** What metadata carries: sb_uuid if the file system was never given a new one. */
  readonly sb_meta_uuid: Uint8Array;

  /** Reads {@linkcode SB_BYTES} bytes. Checks nothing. */
  constructor(b: Uint8Array) {
    this.sb_magicnum = be32(b, SB_MAGICNUM);
    this.sb_blocksize = be32(b, SB_BLOCKSIZE);
    this.sb_dblocks = be64(b, SB_DBLOCKS);
    this.sb_rextents = be64(b, SB_REXTENTS);
    this.sb_uuid = b.slice(SB_UUID, SB_UUID + 16);
    this.sb_logstart = be64(b, SB_LOGSTART);
    this.sb_rootino = be64(b, SB_ROOTINO);
    this.sb_rextsize = be32(b, SB_REXTSIZE);
    this.sb_agblocks = be32(b, SB_AGBLOCKS);
    this.sb_agcount = be32(b, SB_AGCOUNT);
    this.sb_logblocks = be32(b, SB_LOGBLOCKS);
    this.sb_versionnum = be16(b, SB_VERSIONNUM);
    this.sb_sectsize = be16(b, SB_SECTSIZE);
    this.sb_inodesize = be16(b, SB_INODESIZE);
    this.sb_inopblock = be16(b, SB_INOPBLOCK);
    this.sb_blocklog = b[SB_BLOCKLOG];
    this.sb_sectlog = b[SB_SECTLOG];
    this.sb_inodelog = b[SB_INODELOG];
    this.sb_inopblog = b[SB_INOPBLOG];
    this.sb_agblklog = b[SB_AGBLKLOG];
    this.sb_inprogress = b[SB_INPROGRESS];
    this.sb_imax_pct = b[SB_IMAX_PCT];
    this.sb_icount = be64(b, SB_ICOUNT);
    this.sb_ifree = be64(b, SB_IFREE);
    this.sb_fdblocks = be64(b, SB_FDBLOCKS);
    this.sb_qflags = be16(b, SB_QFLAGS);
    this.sb_shared_vn = b[SB_SHARED_VN];
    this.sb_inoalignmt = be32(b, SB_INOALIGNMT);
    this.sb_dirblklog = b[SB_DIRBLKLOG];
    this.sb_features2 = be32(b, SB_FEATURES2);
    const v5 = this.hasCrc;
    this.sb_features_compat = v5 ? be32(b, SB_FEATURES_COMPAT) : 0;
    this.sb_features_ro_compat = v5 ? be32(b, SB_FEATURES_RO_COMPAT) : 0;
    this.sb_features_incompat = v5 ? be32(b, SB_FEATURES_INCOMPAT) : 0;
    this.sb_meta_uuid = this.#incompat(XFS_SB_FEAT_INCOMPAT_META_UUID)
      ? b.slice(SB_META_UUID, SB_META_UUID + 16)
      : this.sb_uuid;
  }

  get version(): number {
    return this.sb_versionnum & XFS_SB_VERSION_NUMBITS;
  }

  /** Version 5: checksums and owners in metadata. */
  get hasCrc(): boolean {
    return this.version === XFS_SB_VERSION_5;
  }

  /** Directory entries have a file type. */
  get hasFtype(): boolean {
    return this.hasCrc
      ? this.#incompat(XFS_SB_FEAT_INCOMPAT_FTYPE)
      : (this.sb_versionnum & XFS_SB_VERSION_MOREBITSBIT) !== 0 &&
        (this.sb_features2 & XFS_SB_VERSION2_FTYPE) !== 0;
  }

  /** Inode clusters begin at multiples of sb_inoalignmt. */
  get hasAlign(): boolean {
    return this.hasCrc ||
      (this.sb_versionnum & XFS_SB_VERSION_ALIGNBIT) !== 0;
  }

  /** Parts of an inode chunk may be missing. */
  get hasSparseInodes(): boolean {
    return this.#incompat(XFS_SB_FEAT_INCOMPAT_SPINODES);
  }

  /** Names that differ in ASCII case alone are one. */
  get hasAsciiCi(): boolean {
    return (this.sb_versionnum & XFS_SB_VERSION_BORGBIT) !== 0;
  }

  /** Inodes may count extents in 64 bits. */
  get hasNrext64(): boolean {
    return this.#incompat(XFS_SB_FEAT_INCOMPAT_NREXT64);
  }

  #incompat(feature: number): boolean {
    return (this.sb_features_incompat & feature) !== 0;
  }
}

/** Reads the superblock's fields from `bytes`. Plain. */
export function xfs_sb_from_disk(t: Thread, bytes: Uint8Array): XfsSb {
  enter(t, XFS_SB_FROM_DISK);
  charge(t, 150); // 50 fields: load, swap, store
  const sb = new XfsSb(bytes);
  leave(t);
  return sb;
}
