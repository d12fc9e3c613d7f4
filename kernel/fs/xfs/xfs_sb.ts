/**
 * The superblock (fs/xfs/xfs_sb.h, xfs_mount.c): its fields, what features it
 * claims, and whether its geometry can be true.
 *
 * Every later calculation rests on what is checked here: sizes are powers of
 * two of known range, no address in range leaves 53 bits, and nothing is larger
 * than the device.
 *
 * Differs from 2.6.28: that read versions 1 to 4. Messages, and the checks that
 * 2.6.28 did not make yet, are those of 3.10 and later.
 */
import { charge, enter, ksym, leave } from "../../../arch/asm.ts";
import {
  EFBIG,
  EINVAL,
  ENOSYS,
  err,
  type Errno,
  EUCLEAN,
} from "../../lib/errno.ts";
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
  XFS_DINODE_MAX_LOG,
  XFS_DINODE_MIN_LOG,
  XFS_MAX_AG_BYTES,
  XFS_MAX_BLOCKSIZE_LOG,
  XFS_MAX_DIRBLOCK_LOG,
  XFS_MAX_SECTORSIZE_LOG,
  XFS_MIN_AG_BLOCKS,
  XFS_MIN_AG_BYTES,
  XFS_MIN_BLOCKSIZE_LOG,
  XFS_MIN_SECTORSIZE_LOG,
  XFS_SB_FEAT_INCOMPAT_ALL,
  XFS_SB_FEAT_INCOMPAT_FTYPE,
  XFS_SB_FEAT_INCOMPAT_META_UUID,
  XFS_SB_FEAT_INCOMPAT_NEEDSREPAIR,
  XFS_SB_FEAT_INCOMPAT_NREXT64,
  XFS_SB_FEAT_INCOMPAT_SPINODES,
  XFS_SB_FEAT_RO_COMPAT_ALL,
  XFS_SB_MAGIC,
  XFS_SB_VERSION2_FTYPE,
  XFS_SB_VERSION2_OKBITS,
  XFS_SB_VERSION_4,
  XFS_SB_VERSION_5,
  XFS_SB_VERSION_ALIGNBIT,
  XFS_SB_VERSION_BORGBIT,
  XFS_SB_VERSION_DIRV2BIT,
  XFS_SB_VERSION_MOREBITSBIT,
  XFS_SB_VERSION_NUMBITS,
  XFS_SB_VERSION_OKBITS,
} from "./xfs_format.ts";
import { type Named, xfs_alert, xfs_notice, xfs_warn } from "./xfs_message.ts";

const XFS_SB_FROM_DISK = ksym("xfs_sb_from_disk");
const XFS_VALIDATE_SB = ksym("xfs_mount_validate_sb");

/** Quota flags of version 4 that version 5 must not have. */
const XFS_OQUOTA_BITS = 0x0010 | 0x0020;
/** Realtime extents, bytes. */
const XFS_MIN_RTEXTSIZE = 4096;
const XFS_MAX_RTEXTSIZE = 2 ** 30;

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

/** What the superblock is held against. */
export interface SbLimits {
  /** Bytes of a page. */
  readonly pageBytes: number;
  /** Size of the device, 512-byte sectors. */
  readonly deviceSectors: number;
}

/**
 * Whether `sb` can be read by this code and can be true. Plain.
 *
 * @returns 0; -EINVAL = not XFS, or features that are unknown; -ENOSYS = sizes
 * that this kernel has not learned; -EUCLEAN = nonsense; -EFBIG = too large.
 */
export function xfs_validate_sb(
  t: Thread,
  mp: Named,
  sb: XfsSb,
  limits: SbLimits,
): 0 | Errno {
  enter(t, XFS_VALIDATE_SB);
  charge(t, 160);
  const error = check_version(t, mp, sb) ||
    check_features(t, mp, sb) ||
    check_geometry(t, mp, sb) ||
    check_limits(t, mp, sb, limits);
  leave(t);
  return error;
}

function check_version(t: Thread, mp: Named, sb: XfsSb): 0 | Errno {
  if (sb.sb_magicnum !== XFS_SB_MAGIC) {
    xfs_warn(t, mp, "Invalid superblock magic number");
    return err(EINVAL);
  }
  if (!good_version(sb)) {
    xfs_warn(t, mp, "bad version");
    return err(EINVAL);
  }
  return 0;
}

/** Version 1 to 3 file systems, and version 1 directories, are as old as IRIX 6.4: refused, as by later kernels. */
function good_version(sb: XfsSb): boolean {
  if (sb.version === XFS_SB_VERSION_5) return true;
  if (sb.version !== XFS_SB_VERSION_4) return false;
  const bits = sb.sb_versionnum;
  if ((bits & XFS_SB_VERSION_DIRV2BIT) === 0) return false;
  if ((bits & ~XFS_SB_VERSION_OKBITS) !== 0) return false;
  return (bits & XFS_SB_VERSION_MOREBITSBIT) === 0 ||
    (sb.sb_features2 & ~XFS_SB_VERSION2_OKBITS) === 0;
}

function check_features(t: Thread, mp: Named, sb: XfsSb): 0 | Errno {
  const hex = (bits: number) => `0x${(bits >>> 0).toString(16)}`;
  if (sb.hasAsciiCi) {
    xfs_warn(t, mp, "Case-insensitive names are not supported by this kernel.");
    return err(EINVAL);
  }
  if (!sb.hasCrc) return 0;
  if (sb.sb_features_compat !== 0) {
    xfs_warn(
      t,
      mp,
      `Superblock has unknown compatible features (${
        hex(sb.sb_features_compat)
      }) enabled.`,
    );
    xfs_warn(t, mp, "Using a more recent kernel is recommended.");
  }
  const ro = sb.sb_features_ro_compat & ~XFS_SB_FEAT_RO_COMPAT_ALL;
  if (ro !== 0) { // harmless: nothing is ever written
    xfs_alert(
      t,
      mp,
      `Superblock has unknown read-only compatible features (${
        hex(ro)
      }) enabled.`,
    );
  }
  const incompat = sb.sb_features_incompat & ~XFS_SB_FEAT_INCOMPAT_ALL;
  if (incompat !== 0) {
    xfs_warn(
      t,
      mp,
      `Superblock has unknown incompatible features (${
        hex(incompat)
      }) enabled.`,
    );
    xfs_warn(
      t,
      mp,
      "Filesystem cannot be safely mounted by this kernel.",
    );
    return err(EINVAL);
  }
  if ((sb.sb_features_incompat & XFS_SB_FEAT_INCOMPAT_NEEDSREPAIR) !== 0) {
    xfs_warn(t, mp, "Filesystem needs repair.  Please run xfs_repair.");
    return err(EUCLEAN);
  }
  if ((sb.sb_qflags & XFS_OQUOTA_BITS) !== 0) {
    xfs_notice(t, mp, "Version 5 of Super block has XFS_OQUOTA bits.");
    return err(EUCLEAN);
  }
  return 0;
}

function check_geometry(t: Thread, mp: Named, sb: XfsSb): 0 | Errno {
  if (sane_sizes(sb) && sane_counts(sb)) return 0;
  xfs_notice(t, mp, "SB sanity check failed");
  return err(EUCLEAN);
}

function isLog(size: number, log: number, min: number, max: number): boolean {
  return log >= min && log <= max && size === 2 ** log;
}

function sane_sizes(sb: XfsSb): boolean {
  return isLog(
    sb.sb_sectsize,
    sb.sb_sectlog,
    XFS_MIN_SECTORSIZE_LOG,
    XFS_MAX_SECTORSIZE_LOG,
  ) && isLog(
    sb.sb_blocksize,
    sb.sb_blocklog,
    XFS_MIN_BLOCKSIZE_LOG,
    XFS_MAX_BLOCKSIZE_LOG,
  ) && isLog(
    sb.sb_inodesize,
    sb.sb_inodelog,
    sb.hasCrc ? XFS_DINODE_MIN_LOG + 1 : XFS_DINODE_MIN_LOG,
    XFS_DINODE_MAX_LOG,
  ) &&
    sb.sb_sectlog <= sb.sb_blocklog &&
    // v5 keeps headers apart by whole sectors of at least an inode
    sb.sb_inodelog <= sb.sb_blocklog &&
    isLog(sb.sb_inopblock, sb.sb_inopblog, 0, 8) &&
    sb.sb_inopblog === sb.sb_blocklog - sb.sb_inodelog &&
    sb.sb_blocklog + sb.sb_dirblklog <= XFS_MAX_DIRBLOCK_LOG;
}

function sane_counts(sb: XfsSb): boolean {
  const { sb_agcount, sb_agblocks, sb_blocksize, sb_dblocks } = sb;
  const rext = sb.sb_rextsize * sb_blocksize;
  return sb_agcount > 0 &&
    sb_agblocks >= XFS_MIN_AG_BLOCKS &&
    sb_agblocks * sb_blocksize >= XFS_MIN_AG_BYTES &&
    sb_agblocks * sb_blocksize <= XFS_MAX_AG_BYTES &&
    sb.sb_agblklog === 32 - Math.clz32(sb_agblocks - 1) &&
    sb.sb_agblklog + sb.sb_inopblog <= 32 &&
    sb_dblocks > 0 &&
    sb_dblocks <= sb_agcount * sb_agblocks &&
    sb_dblocks >= (sb_agcount - 1) * sb_agblocks + XFS_MIN_AG_BLOCKS &&
    rext >= XFS_MIN_RTEXTSIZE && rext <= XFS_MAX_RTEXTSIZE &&
    sb.sb_imax_pct <= 100 &&
    sb.sb_shared_vn === 0;
}

function check_limits(
  t: Thread,
  mp: Named,
  sb: XfsSb,
  limits: SbLimits,
): 0 | Errno {
  if (sb.sb_blocksize > limits.pageBytes) {
    xfs_warn(
      t,
      mp,
      `File system with blocksize ${sb.sb_blocksize} bytes. Only pagesize (${limits.pageBytes}) or less will currently work.`,
    );
    return err(ENOSYS);
  }
  if (sb.sb_dblocks * sb.sb_blocksize > Number.MAX_SAFE_INTEGER) {
    xfs_warn(t, mp, "file system too large to be mounted on this system.");
    return err(EFBIG);
  }
  if (sb.sb_inprogress !== 0) {
    xfs_warn(t, mp, "Offline file system operation in progress!");
    return err(EUCLEAN);
  }
  if (sb.sb_logstart === 0) {
    xfs_warn(
      t,
      mp,
      "filesystem is marked as having an external log; specify logdev on the mount command line.",
    );
    return err(EINVAL);
  }
  if (sb.sb_rextents !== 0) {
    xfs_warn(
      t,
      mp,
      "This filesystem has a realtime volume, use rtdev=device option",
    );
    return err(EINVAL);
  }
  return 0;
}

/** Whether the device is as large as `sb` says. Plain. @returns 0 or -EFBIG. */
export function xfs_check_sizes(
  t: Thread,
  mp: Named,
  sb: XfsSb,
  limits: SbLimits,
): 0 | Errno {
  charge(t, 20);
  const sectors = sb.sb_dblocks * (sb.sb_blocksize / 512);
  if (sectors <= limits.deviceSectors) return 0;
  xfs_warn(
    t,
    mp,
    `last sector read failed: the file system has ${sectors} sectors, the device ${limits.deviceSectors}`,
  );
  return err(EFBIG);
}
