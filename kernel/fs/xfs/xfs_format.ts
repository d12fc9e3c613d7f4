/**
 * What XFS looks like on disk: magic numbers, flags, and the byte at which each
 * field lies (public documents: "XFS Filesystem Structure", versions 4 and 5).
 *
 * All fields are big endian but checksums, which are little endian. An offset
 * is named after the structure and the field, `SB_DBLOCKS` for `sb_dblocks`;
 * its width stands beside it. Where version 5 has a longer header the two are
 * in the two elements of a pair, `[v4, v5]`, indexed by `crc` (0 or 1).
 *
 * Version 5 is younger than 2.6.28 (3.10 began to read it). It is read here in
 * the shape of the old code.
 */

/** log2 of a basic block, the unit of disk addresses. */
export const BBSHIFT = 9;
/** Bytes of a basic block. */
export const BBSIZE = 512;

// ---- superblock: sector 0 of each allocation group ----

/** "XFSB" */
export const XFS_SB_MAGIC = 0x58465342;
export const SB_MAGICNUM = 0; // 32
export const SB_BLOCKSIZE = 4; // 32
export const SB_DBLOCKS = 8; // 64
export const SB_REXTENTS = 24; // 64
export const SB_UUID = 32; // 16 bytes
export const SB_LOGSTART = 48; // 64
export const SB_ROOTINO = 56; // 64
export const SB_REXTSIZE = 80; // 32
export const SB_AGBLOCKS = 84; // 32
export const SB_AGCOUNT = 88; // 32
export const SB_LOGBLOCKS = 96; // 32
export const SB_VERSIONNUM = 100; // 16
export const SB_SECTSIZE = 102; // 16
export const SB_INODESIZE = 104; // 16
export const SB_INOPBLOCK = 106; // 16
export const SB_BLOCKLOG = 120; // 8
export const SB_SECTLOG = 121; // 8
export const SB_INODELOG = 122; // 8
export const SB_INOPBLOG = 123; // 8
export const SB_AGBLKLOG = 124; // 8
export const SB_INPROGRESS = 126; // 8
export const SB_IMAX_PCT = 127; // 8
export const SB_ICOUNT = 128; // 64
export const SB_IFREE = 136; // 64
export const SB_FDBLOCKS = 144; // 64
export const SB_QFLAGS = 176; // 16
export const SB_SHARED_VN = 179; // 8
export const SB_INOALIGNMT = 180; // 32
export const SB_DIRBLKLOG = 192; // 8
export const SB_FEATURES2 = 200; // 32
export const SB_FEATURES_COMPAT = 208; // 32
export const SB_FEATURES_RO_COMPAT = 212; // 32
export const SB_FEATURES_INCOMPAT = 216; // 32
export const SB_CRC = 224; // 32, little endian
export const SB_META_UUID = 248; // 16 bytes
/** Bytes of the structure. */
export const SB_BYTES = 264;

/** Low bits of sb_versionnum: the version. */
export const XFS_SB_VERSION_NUMBITS = 0x000f;
export const XFS_SB_VERSION_4 = 4;
export const XFS_SB_VERSION_5 = 5;
export const XFS_SB_VERSION_ATTRBIT = 0x0010;
export const XFS_SB_VERSION_NLINKBIT = 0x0020;
export const XFS_SB_VERSION_QUOTABIT = 0x0040;
export const XFS_SB_VERSION_ALIGNBIT = 0x0080;
export const XFS_SB_VERSION_DALIGNBIT = 0x0100;
export const XFS_SB_VERSION_LOGV2BIT = 0x0400;
export const XFS_SB_VERSION_SECTORBIT = 0x0800;
export const XFS_SB_VERSION_EXTFLGBIT = 0x1000;
export const XFS_SB_VERSION_DIRV2BIT = 0x2000;
/** ASCII-only case-insensitive names. */
export const XFS_SB_VERSION_BORGBIT = 0x4000;
export const XFS_SB_VERSION_MOREBITSBIT = 0x8000;
/** Every bit of sb_versionnum that means something this code can read. */
export const XFS_SB_VERSION_OKBITS = XFS_SB_VERSION_NUMBITS |
  XFS_SB_VERSION_ATTRBIT | XFS_SB_VERSION_NLINKBIT | XFS_SB_VERSION_QUOTABIT |
  XFS_SB_VERSION_ALIGNBIT | XFS_SB_VERSION_DALIGNBIT |
  XFS_SB_VERSION_LOGV2BIT | XFS_SB_VERSION_SECTORBIT |
  XFS_SB_VERSION_EXTFLGBIT | XFS_SB_VERSION_DIRV2BIT |
  XFS_SB_VERSION_BORGBIT | XFS_SB_VERSION_MOREBITSBIT;

export const XFS_SB_VERSION2_LAZYSBCOUNTBIT = 0x0002;
export const XFS_SB_VERSION2_ATTR2BIT = 0x0008;
export const XFS_SB_VERSION2_PROJID32BIT = 0x0080;
export const XFS_SB_VERSION2_FTYPE = 0x0200;
/** Every bit of sb_features2 that this code can read. */
export const XFS_SB_VERSION2_OKBITS = XFS_SB_VERSION2_LAZYSBCOUNTBIT |
  XFS_SB_VERSION2_ATTR2BIT | XFS_SB_VERSION2_PROJID32BIT |
  XFS_SB_VERSION2_FTYPE;

/** Free-inode tree, reverse map, reflink, inode tree block counts: nobody who only reads looks. */
export const XFS_SB_FEAT_RO_COMPAT_ALL = 0xf;

/** File types in directory entries. */
export const XFS_SB_FEAT_INCOMPAT_FTYPE = 1 << 0;
/** Sparse inode chunks. */
export const XFS_SB_FEAT_INCOMPAT_SPINODES = 1 << 1;
/** Metadata carries sb_meta_uuid, not sb_uuid. */
export const XFS_SB_FEAT_INCOMPAT_META_UUID = 1 << 2;
/** Times as nanoseconds since 1901. */
export const XFS_SB_FEAT_INCOMPAT_BIGTIME = 1 << 3;
/** xfs_repair has not finished. */
export const XFS_SB_FEAT_INCOMPAT_NEEDSREPAIR = 1 << 4;
/** 64-bit extent counters. */
export const XFS_SB_FEAT_INCOMPAT_NREXT64 = 1 << 5;
/** Those that this code can read; a file system with another is refused. */
export const XFS_SB_FEAT_INCOMPAT_ALL = XFS_SB_FEAT_INCOMPAT_FTYPE |
  XFS_SB_FEAT_INCOMPAT_SPINODES | XFS_SB_FEAT_INCOMPAT_META_UUID |
  XFS_SB_FEAT_INCOMPAT_BIGTIME | XFS_SB_FEAT_INCOMPAT_NEEDSREPAIR |
  XFS_SB_FEAT_INCOMPAT_NREXT64;

export const XFS_MIN_BLOCKSIZE_LOG = 9;
export const XFS_MAX_BLOCKSIZE_LOG = 16;
export const XFS_MIN_SECTORSIZE_LOG = 9;
export const XFS_MAX_SECTORSIZE_LOG = 15;
export const XFS_DINODE_MIN_LOG = 8;
export const XFS_DINODE_MAX_LOG = 11;
/** Smallest allocation group, bytes. */
export const XFS_MIN_AG_BYTES = 2 ** 24;
/** Smallest allocation group that the kernel takes, blocks. */
export const XFS_MIN_AG_BLOCKS = 64;
/** Largest allocation group, bytes. */
export const XFS_MAX_AG_BYTES = 2 ** 40;
/** Largest directory block, bytes (log2). */
export const XFS_MAX_DIRBLOCK_LOG = 16;

// ---- allocation group headers: sectors 1 and 2 of each group ----

/** "XAGF" */
export const XFS_AGF_MAGIC = 0x58414746;
export const XFS_AGF_VERSION = 1;
export const AGF_MAGICNUM = 0; // 32
export const AGF_VERSIONNUM = 4; // 32
export const AGF_SEQNO = 8; // 32
export const AGF_LENGTH = 12; // 32
export const AGF_LEVELS = 28; // 3 * 32
export const AGF_FLFIRST = 40; // 32
export const AGF_FLLAST = 44; // 32
export const AGF_FLCOUNT = 48; // 32
export const AGF_FREEBLKS = 52; // 32
export const AGF_LONGEST = 56; // 32
export const AGF_UUID = 64; // 16 bytes
export const AGF_CRC = 216; // 32, little endian
export const AGF_BYTES = 224;

/** "XAGI" */
export const XFS_AGI_MAGIC = 0x58414749;
export const XFS_AGI_VERSION = 1;
export const AGI_MAGICNUM = 0; // 32
export const AGI_VERSIONNUM = 4; // 32
export const AGI_SEQNO = 8; // 32
export const AGI_LENGTH = 12; // 32
export const AGI_COUNT = 16; // 32
export const AGI_ROOT = 20; // 32
export const AGI_LEVEL = 24; // 32
export const AGI_FREECOUNT = 28; // 32
export const AGI_UUID = 296; // 16 bytes
export const AGI_CRC = 312; // 32, little endian
export const AGI_BYTES = 344;

// ---- btree blocks: short (in a group) and long (file system) pointers ----

/** Inode btree, "IABT" and "IAB3". */
export const XFS_IBT_MAGIC = [0x49414254, 0x49414233] as const;
/** Extent btree, "BMAP" and "BMA3". */
export const XFS_BMAP_MAGIC = [0x424d4150, 0x424d4133] as const;
export const BB_MAGIC = 0; // 32
export const BB_LEVEL = 4; // 16
export const BB_NUMRECS = 6; // 16
export const BB_S_BLKNO = 16; // 64
export const BB_S_UUID = 32; // 16 bytes
export const BB_S_OWNER = 48; // 32
export const BB_S_CRC = 52; // 32, little endian
/** Bytes of a short header. */
export const XFS_BTREE_SBLOCK_LEN = [16, 56] as const;
export const BB_L_RIGHTSIB = 16; // 64
export const BB_L_BLKNO = 24; // 64
export const BB_L_UUID = 40; // 16 bytes
export const BB_L_OWNER = 56; // 64
export const BB_L_CRC = 64; // 32, little endian
/** Bytes of a long header. */
export const XFS_BTREE_LBLOCK_LEN = [24, 72] as const;
/** Deepest btree of any kind. */
export const XFS_BTREE_MAXLEVELS = 9;

/** Bytes of an extent record. */
export const BMBT_REC_BYTES = 16;

/** Inodes of one chunk, one record of the inode btree. */
export const XFS_INODES_PER_CHUNK = 64;
export const INOBT_REC_BYTES = 16;

// ---- inodes ----

/** "IN" */
export const XFS_DINODE_MAGIC = 0x494e;
export const DI_MAGIC = 0; // 16
export const DI_MODE = 2; // 16
export const DI_VERSION = 4; // 8
export const DI_FORMAT = 5; // 8
export const DI_ONLINK = 6; // 16, version 1
export const DI_UID = 8; // 32
export const DI_GID = 12; // 32
export const DI_NLINK = 16; // 32
/** 64, NREXT64 alone: data fork's extents. */
export const DI_BIG_NEXTENTS = 24;
export const DI_ATIME = 32; // 64
export const DI_MTIME = 40; // 64
export const DI_CTIME = 48; // 64
export const DI_SIZE = 56; // 64
export const DI_NBLOCKS = 64; // 64
/** 32: data fork's extents; attribute fork's with NREXT64. */
export const DI_NEXTENTS = 76;
export const DI_ANEXTENTS = 80; // 16
export const DI_FORKOFF = 82; // 8, in units of 8 bytes
export const DI_FLAGS = 90; // 16
export const DI_GEN = 92; // 32
/** Bytes before the forks, versions 1 and 2. */
export const DI_CORE_V2 = 100;
export const DI_CRC = 100; // 32, little endian
export const DI_FLAGS2 = 120; // 64; the flags in use are in the low half
export const DI_INO = 152; // 64
export const DI_UUID = 160; // 16 bytes
/** Bytes before the forks, version 3. */
export const DI_CORE_V3 = 176;

export const XFS_DINODE_FMT_DEV = 0;
/** The bytes themselves. */
export const XFS_DINODE_FMT_LOCAL = 1;
/** Extent records. */
export const XFS_DINODE_FMT_EXTENTS = 2;
/** Root of a btree of extent records. */
export const XFS_DINODE_FMT_BTREE = 3;

export const XFS_DIFLAG_REALTIME = 1 << 0;
export const XFS_DIFLAG2_BIGTIME = 1 << 3;
export const XFS_DIFLAG2_NREXT64 = 1 << 4;
/** Seconds between 1901 and 1970, by which big times are shifted. */
export const XFS_BIGTIME_EPOCH_OFFSET = 2 ** 31;

// ---- directories ----

/** Longest name and its NUL, bytes. */
export const MAXNAMELEN = 256;
/** A directory's space is in three parts, each this many bytes: data, leaves, free indexes. */
export const XFS_DIR2_SPACE_SIZE = 2 ** 35;

/** One block that is data and leaf, "XD2B" and "XDB3". */
export const XFS_DIR2_BLOCK_MAGIC = [0x58443242, 0x58444233] as const;
/** Data alone, "XD2D" and "XDD3". */
export const XFS_DIR2_DATA_MAGIC = [0x58443244, 0x58444433] as const;
/** Free index, "XD2F" and "XDF3". */
export const XFS_DIR2_FREE_MAGIC = [0x58443246, 0x58444633] as const;
/** Where a data block's entries begin. */
export const DIR2_DATA_ENTRY = [16, 64] as const;
export const DIR3_CRC = 4; // 32, little endian
export const DIR3_BLKNO = 8; // 64
export const DIR3_UUID = 24; // 16 bytes
export const DIR3_OWNER = 40; // 64
/** Three pairs of offset and length, 16 each. */
export const DIR2_BESTFREE = [4, 48] as const;
export const XFS_DIR2_DATA_FD_COUNT = 3;

/** Within a data entry. */
export const DEP_INUMBER = 0; // 64
export const DEP_NAMELEN = 8; // 8
export const DEP_NAME = 9;
/** Within an unused piece of a data block. */
export const DUP_FREETAG = 0; // 16
export const DUP_LENGTH = 2; // 16
export const XFS_DIR2_DATA_FREE_TAG = 0xffff;

/** Tail of a single block, before its last 8 bytes the leaf entries. */
export const DIR2_BLOCK_TAIL_BYTES = 8;
export const BTP_COUNT = 0; // 32
export const BTP_STALE = 4; // 32

/** Leaf entries: hash value and address, 32 each. */
export const DIR2_LEAF_ENTRY_BYTES = 8;
/** The address of an entry that is no more. */
export const XFS_DIR2_NULL_DATAPTR = 0;

/** Single leaf. */
export const XFS_DIR2_LEAF1_MAGIC = [0xd2f1, 0x3df1] as const;
/** Leaf below a node. */
export const XFS_DIR2_LEAFN_MAGIC = [0xd2ff, 0x3dff] as const;
/** Node of the name-hash btree. */
export const XFS_DA_NODE_MAGIC = [0xfebe, 0x3ebe] as const;
export const DA_BACK = 4; // 32
export const DA_MAGIC = 8; // 16
export const DA3_CRC = 12; // 32, little endian
export const DA3_BLKNO = 16; // 64
export const DA3_UUID = 32; // 16 bytes
export const DA3_OWNER = 48; // 64
export const LEAF_COUNT = [12, 56] as const; // 16
export const LEAF_STALE = [14, 58] as const; // 16
export const NODE_COUNT = [12, 56] as const; // 16
export const NODE_LEVEL = [14, 58] as const; // 16
/** Where entries of leaves and nodes begin. */
export const DA_ENTRIES = [16, 64] as const;
/** Bytes of a node's entry: hash value and block, 32 each. */
export const DA_NODE_ENTRY_BYTES = 8;
/** Deepest name-hash btree. */
export const XFS_DA_NODE_MAXDEPTH = 5;

export const FREE_FIRSTDB = [4, 48] as const; // 32
export const FREE_NVALID = [8, 52] as const; // 32
export const FREE_NUSED = [12, 56] as const; // 32
/** Where a free index's 16-bit entries begin. */
export const FREE_BESTS = [16, 64] as const;

/** Within a short-form directory. */
export const SF_COUNT = 0; // 8
export const SF_I8COUNT = 1; // 8
export const SF_PARENT = 2; // 32, or 64 if i8count > 0
/** Within a short-form entry. */
export const SFEP_NAMELEN = 0; // 8
export const SFEP_OFFSET = 1; // 16
export const SFEP_NAME = 3;

/** Entry types with XFS_SB_FEAT_INCOMPAT_FTYPE: 0 = unknown, then file, directory, ... */
export const XFS_DIR3_FT_MAX = 9;
/** `d_type` for each of them (include/linux/fs.h). */
export const XFS_DIR3_FILETYPE_TABLE: readonly number[] = [
  0, // unknown
  8, // regular file: DT_REG
  4, // directory: DT_DIR
  2, // character device: DT_CHR
  6, // block device: DT_BLK
  1, // pipe: DT_FIFO
  12, // socket: DT_SOCK
  10, // symbolic link: DT_LNK
  14, // whiteout: DT_WHT
];
