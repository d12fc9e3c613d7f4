/**
 * Whether a superblock can be true (xfs_mount_validate_sb() of
 * fs/xfs/xfs_mount.c).
 *
 * Every later calculation rests on what is checked here: sizes are powers of
 * two of known range, no address in range leaves 53 bits, and nothing is larger
 * than the device.
 *
 * Differs from 2.6.28: messages, and the checks that it did not make yet, are
 * those of 3.10 to 6.1.
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
import {
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
  XFS_SB_FEAT_INCOMPAT_NEEDSREPAIR,
  XFS_SB_FEAT_RO_COMPAT_ALL,
  XFS_SB_MAGIC,
  XFS_SB_VERSION2_OKBITS,
  XFS_SB_VERSION_4,
  XFS_SB_VERSION_5,
  XFS_SB_VERSION_DIRV2BIT,
  XFS_SB_VERSION_MOREBITSBIT,
  XFS_SB_VERSION_OKBITS,
} from "./xfs_format.ts";
import { type Named, xfs_alert, xfs_notice, xfs_warn } from "./xfs_message.ts";
import type { XfsSb } from "./xfs_sb.ts";

const XFS_VALIDATE_SB = ksym("xfs_mount_validate_sb");

/** Quota flags of version 4 that version 5 must not have. */
const XFS_OQUOTA_BITS = 0x0010 | 0x0020;
/** Realtime extents, bytes. */
const XFS_MIN_RTEXTSIZE = 4096;
const XFS_MAX_RTEXTSIZE = 2 ** 30;

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
