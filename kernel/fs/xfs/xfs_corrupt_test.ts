/** Damaged file systems, one by one: an error and a message each, and nothing is lost. */
import { assert, assertEquals } from "@std/assert";
import type { Steps } from "../../../arch/asm.ts";
import {
  EFBIG,
  EINVAL,
  EIO,
  ENOENT,
  ENOSYS,
  type Errno,
  EUCLEAN,
} from "../../lib/errno.ts";
import { runVm } from "../../mm/vm_testing.ts";
import type { Thread } from "../../thread.ts";
import { vfs_stat } from "../stat.ts";
import {
  Builder,
  type BuildOptions,
  type DirLayout,
  text,
} from "./_builder.ts";
import { check_dir, list, type Mounted, onDisk, warm_up } from "./_xfs_rig.ts";

/** What is spoilt, and what comes of it. */
interface Case {
  readonly name: string;
  /** Both versions if absent. */
  readonly crc?: 0 | 1;
  readonly options?: BuildOptions;
  readonly layout?: DirLayout;
  /** Names in `/d`. */
  readonly names?: number;
  /** Before checksums are made, and after. */
  readonly before?: (f: Fixture) => void;
  readonly after?: (f: Fixture) => void;
  /** Bytes of the disk, if not all of it. */
  readonly cut?: number;
  /** `/f` is in another cluster than `/` and `/d`. */
  readonly far?: boolean;
  readonly fail?: (f: Fixture, sector: number) => boolean;
  /** What is looked up; `"mount"` = it does not get that far; `"list"`, `"check"` = `/d` is read, and checked whole. */
  readonly at: string;
  readonly error: number;
  /** Must be logged. */
  readonly says: string;
}

/** A file system with `/d`, with files `name-0` ..., and `/f`. */
class Fixture {
  readonly b: Builder;
  readonly slot: number;
  file: number;

  constructor(c: Case, crc: 0 | 1) {
    this.b = new Builder({ crc, ...c.options });
    this.slot = this.b.newSlot();
    this.file = this.b.newSlot();
    while (c.far && this.file < 40) this.file = this.b.newSlot();
    const { b } = this;
    const block = b.alloc(1);
    const at = b.inode(this.file, {
      mode: 0o100644,
      format: 2,
      size: 4096,
      nblocks: 1,
      nextents: 1,
    });
    b.extent(at + b.core, { off: 0, block, count: 1 });
    const entries = Array.from({ length: c.names ?? 30 }, (_, i) => ({
      name: text(`name-${i}`),
      ino: b.ino(this.file),
    }));
    b.dir(this.slot, b.ino(0), entries, c.layout ?? {});
    b.dir(0, b.ino(0), [
      { name: text("d"), ino: b.ino(this.slot), ftype: 2 },
      { name: text("f"), ino: b.ino(this.file), ftype: 1 },
    ]);
  }

  /** Byte where `/d`'s inode, and its data fork, lie. */
  get d(): number {
    return this.b.inodeAt(this.slot);
  }
  get fork(): number {
    return this.d + this.b.core;
  }
  get f(): number {
    return this.b.inodeAt(this.file);
  }

  /** First byte of the block of extent `i` of `/d`. */
  block(i: number): number {
    const at = this.fork + 16 * i;
    const { view, blocksize } = this.b;
    const low = view.getUint32(at + 12) >>> 21;
    return (view.getUint32(at + 8) * 2 ** 11 + low) * blocksize;
  }

  /** Where the data entries of a block begin. */
  get entries(): number {
    return this.b.crc === 1 ? 64 : 16;
  }
  /** Where entries of leaves and nodes begin. */
  get leaf(): number {
    return this.b.crc === 1 ? 64 : 16;
  }
}

const LEAF: DirLayout = { form: "leaf" };
/** Root, two nodes, six leaves: extents 1.. after the data block. */
const NODE: DirLayout = { form: "node", perLeaf: 6, perNode: 3, btree: 20 };
/** One node, two leaves: extents in the inode. */
const FLAT: DirLayout = { form: "node", perLeaf: 20 };
const SANITY = "XFS (ram0): SB sanity check failed";
const CORRUPT = "Metadata corruption detected at";
const CRC = "Metadata CRC error detected at";

const CASES: Case[] = [
  // ---- superblock ----
  {
    name: "no superblock",
    before: ({ b }) => b.be32(0, 0),
    at: "mount",
    error: EINVAL,
    says: "XFS (ram0): Invalid superblock magic number",
  },
  {
    name: "a version that nobody knows",
    before: ({ b }) => b.be16(100, 0xb4a6),
    at: "mount",
    error: EINVAL,
    says: "XFS (ram0): bad version",
  },
  {
    name: "version 1 directories",
    crc: 0,
    before: ({ b }) => b.be16(100, 0x14a4),
    at: "mount",
    error: EINVAL,
    says: "bad version",
  },
  {
    name: "unknown incompatible features",
    crc: 1,
    before: ({ b }) => b.be32(216, 0x80000001),
    at: "mount",
    error: EINVAL,
    says: "Superblock has unknown incompatible features (0x80000000) enabled.",
  },
  {
    name: "unknown read-only compatible features",
    crc: 1,
    before: ({ b }) => b.be32(212, 0x100),
    at: "/none",
    error: ENOENT,
    says:
      "Superblock has unknown read-only compatible features (0x100) enabled.",
  },
  {
    name: "an unfinished repair",
    crc: 1,
    before: ({ b }) => b.be32(216, 0x11),
    at: "mount",
    error: EUCLEAN,
    says: "Filesystem needs repair.  Please run xfs_repair.",
  },
  {
    name: "a wrong checksum of the superblock",
    crc: 1,
    after: ({ b }) => b.bytes[300] ^= 1,
    at: "mount",
    error: EUCLEAN,
    says:
      "XFS (ram0): Metadata CRC error detected at xfs_sb_read_verify, block 0x0",
  },
  ...([
    ["blocks of 3000 bytes", 4, 3000],
    ["blocks of 2^31 bytes", 4, 0x80000000],
    ["groups of 2^32 - 1 blocks", 84, 0xffffffff],
    ["groups of no blocks", 84, 0],
    ["no groups", 88, 0],
    ["4 thousand million groups", 88, 0xffffffff],
    ["2^63 blocks", 8, 0x80000000],
    ["one block more than the groups have", 12, 4097],
    ["no blocks", 12, 0],
    ["realtime extents of 2^44 bytes", 80, 0xffffffff],
  ] as const).map(([name, at, value]): Case => ({
    name,
    before: ({ b }) => b.be32(at, value),
    at: "mount",
    error: EUCLEAN,
    says: SANITY,
  })),
  ...([
    ["a sector log of 40", 121, 40],
    ["a block log of 255", 120, 255],
    ["an inode log of 30", 122, 30],
    ["an inodes per block log of 200", 123, 200],
    ["a group log of 200", 124, 200],
    ["directory blocks of 2^267 bytes", 192, 255],
    ["directory blocks of 128 KiB", 192, 5],
    ["more than all space for inodes", 127, 101],
    ["a shared version", 179, 1],
  ] as const).map(([name, at, value]): Case => ({
    name,
    before: ({ b }) => b.bytes[at] = value,
    at: "mount",
    error: EUCLEAN,
    says: SANITY,
  })),
  {
    name: "an unfinished mkfs",
    before: ({ b }) => b.bytes[126] = 1,
    at: "mount",
    error: EUCLEAN,
    says: "Offline file system operation in progress!",
  },
  {
    name: "an external log",
    before: ({ b }) => b.be64(48, 0),
    at: "mount",
    error: EINVAL,
    says: "filesystem is marked as having an external log",
  },
  {
    name: "a realtime device",
    before: ({ b }) => b.be64(24, 5),
    at: "mount",
    error: EINVAL,
    says: "This filesystem has a realtime volume, use rtdev=device option",
  },
  {
    name: "blocks larger than pages",
    options: { blocklog: 13 },
    at: "mount",
    error: ENOSYS,
    says:
      "File system with blocksize 8192 bytes. Only pagesize (4096) or less will currently work.",
  },
  {
    name: "a disk of no bytes",
    cut: 0,
    at: "mount",
    error: EINVAL,
    says: "Invalid superblock magic number",
  },
  {
    name: "a disk of one sector",
    cut: 512,
    at: "mount",
    error: EFBIG,
    says:
      "last sector read failed: the file system has 32768 sectors, the device 1",
  },
  {
    name: "a disk cut by a block",
    cut: 2 ** 24 - 4096,
    at: "mount",
    error: EFBIG,
    says: "last sector read failed",
  },
  {
    name: "an unreadable superblock",
    fail: (_f, sector) => sector === 0,
    at: "mount",
    error: EIO,
    says: "SB validate failed with error -5.",
  },

  // ---- groups ----
  {
    name: "an AGF that is none",
    before: ({ b }) => b.be32(512, 1),
    at: "mount",
    error: EUCLEAN,
    says: `${CORRUPT} xfs_agf_read_verify, block 0x1`,
  },
  {
    name: "an AGF with a wrong checksum",
    crc: 1,
    after: ({ b }) => b.bytes[512 + 52] ^= 1,
    at: "mount",
    error: EUCLEAN,
    says: `${CRC} xfs_agf_read_verify, block 0x1`,
  },
  {
    name: "an AGF with more free blocks than blocks",
    before: ({ b }) => b.be32(512 + 52, 5000),
    at: "mount",
    error: EUCLEAN,
    says: `${CORRUPT} xfs_agf_read_verify`,
  },
  {
    name: "an AGI of another group",
    before: ({ b }) => b.be32(1024 + 8, 7),
    at: "mount",
    error: EUCLEAN,
    says: `${CORRUPT} xfs_agi_read_verify, block 0x2`,
  },
  {
    name: "an inode btree of 2^32 - 1 levels",
    before: ({ b }) => b.be32(1024 + 24, 0xffffffff),
    at: "mount",
    error: EUCLEAN,
    says: `${CORRUPT} xfs_agi_read_verify`,
  },

  // ---- inode btree: file systems without alignment ----
  ...([
    ["of another file", 0, 0x41424344, "xfs_inobt_read_verify"],
    ["of a level too many", 4, 0x00010001, "xfs_inobt_lookup"],
    ["with 65535 records", 4, 0x0000ffff, "xfs_inobt_read_verify"],
  ] as const).map(([name, at, value, says]): Case => ({
    name: `an inode btree block ${name}`,
    crc: 0,
    options: { align: false },
    before: ({ b }) => b.be32(3 * 4096 + at, value),
    at: "mount",
    error: EUCLEAN,
    says,
  })),
  {
    name: "an inode btree without the root's chunk",
    crc: 0,
    options: { align: false },
    before: ({ b }) => b.be32(3 * 4096 + 16, 1000),
    at: "mount",
    error: EINVAL,
    says: "Failed to read root inode",
  },
  {
    name: "an inode btree outside of its group",
    crc: 0,
    options: { align: false },
    before: ({ b }) => b.be32(1024 + 20, 0x7fffffff),
    at: "mount",
    error: EUCLEAN,
    says: "Internal error xfs_inobt_lookup",
  },

  // ---- the root ----
  {
    name: "a root outside of the disk",
    before: ({ b }) => b.be64(56, 2 ** 40),
    at: "mount",
    error: EINVAL,
    says: "Failed to read root inode 0x10000000000, error 22",
  },
  {
    name: "root 2^64 - 1",
    before: ({ b }) => b.bytes.fill(0xff, 56, 64),
    at: "mount",
    error: EINVAL,
    says: "Failed to read root inode",
  },
  {
    name: "a root that is a file",
    before: ({ b }) => b.be16(b.inodeAt(0) + 2, 0o100644),
    at: "mount",
    error: EUCLEAN,
    says: "local format for regular file",
  },
  {
    name: "a root that is a pipe",
    before: ({ b }) => {
      b.be16(b.inodeAt(0) + 2, 0o010644);
      b.bytes[b.inodeAt(0) + 5] = 0;
    },
    at: "mount",
    error: EUCLEAN,
    says: "Corrupted root inode 256: not a directory",
  },
  {
    name: "a free root",
    before: ({ b }) => b.be16(b.inodeAt(0) + 2, 0),
    at: "mount",
    error: ENOENT,
    says: "Failed to read root inode",
  },
  {
    name: "a root that is no inode",
    before: ({ b }) => b.be16(b.inodeAt(0), 0),
    at: "mount",
    error: EUCLEAN,
    says: `${CORRUPT} xfs_dinode_verify, inode 0x`,
  },

  // ---- inodes ----
  {
    name: "an inode with a wrong checksum",
    crc: 1,
    after: (f) => f.b.bytes[f.d + 40] ^= 1,
    at: "/d/name-1",
    error: EUCLEAN,
    says: `${CRC} xfs_dinode_verify, inode 0x103`,
  },
  {
    name: "an inode with another's number",
    crc: 1,
    before: (f) => f.b.be64(f.d + 152, 77),
    at: "/d",
    error: EUCLEAN,
    says: `${CORRUPT} xfs_dinode_verify, inode 0x103`,
  },
  {
    name: "an inode of another version",
    before: (f) => f.b.bytes[f.d + 4] = 9,
    at: "/d",
    error: EUCLEAN,
    says: `${CORRUPT} xfs_dinode_verify`,
  },
  {
    name: "an inode of no type",
    before: (f) => f.b.be16(f.d + 2, 0o150755),
    at: "/d",
    error: EUCLEAN,
    says: `${CORRUPT} xfs_dinode_verify`,
  },
  {
    name: "an inode of 2^64 - 1 bytes",
    before: (f) => f.b.bytes.fill(0xff, f.d + 56, f.d + 64),
    at: "/d",
    error: EUCLEAN,
    says: `${CORRUPT} xfs_dinode_verify`,
  },
  {
    name: "an empty directory inode",
    before: (f) => f.b.be64(f.d + 56, 0),
    at: "/d",
    error: EUCLEAN,
    says: `${CORRUPT} xfs_dinode_verify`,
  },
  {
    name: "an inode of more blocks than there are",
    before: (f) => f.b.be64(f.f + 64, 2 ** 50),
    at: "/f",
    error: EUCLEAN,
    says: `${CORRUPT} xfs_dinode_verify`,
  },
  {
    name: "a directory of 2^40 bytes",
    before: (f) => f.b.be64(f.d + 56, 2 ** 40),
    at: "/d",
    error: EUCLEAN,
    says: "corrupt dinode 259, bad size 1099511627776.",
  },
  {
    name: "an inode of 2^31 extents",
    before: (f) => f.b.be32(f.f + 76, 0x7fffffff),
    at: "/f",
    error: EUCLEAN,
    says: "extent total = 2147483647, nblocks = 1.",
  },
  {
    name: "more extents than the inode has room for",
    before: (f) => {
      f.b.be32(f.f + 76, 2000);
      f.b.be64(f.f + 64, 3000);
    },
    at: "/f",
    error: EUCLEAN,
    says: "extents = 2000.",
  },
  {
    name: "an attribute fork beyond the inode",
    before: (f) => f.b.bytes[f.f + 82] = 0xff,
    at: "/f",
    error: EUCLEAN,
    says: "forkoff = 0xff.",
  },
  {
    name: "a realtime file",
    before: (f) => f.b.be16(f.f + 90, 1),
    at: "/f",
    error: EUCLEAN,
    says: "has realtime flag set.",
  },
  {
    name: "a format that nobody knows",
    before: (f) => f.b.bytes[f.f + 5] = 77,
    at: "/f",
    error: EUCLEAN,
    says: "format 77.",
  },
  {
    name: "a pipe with extents",
    before: (f) => f.b.be16(f.f + 2, 0o010644),
    at: "/f",
    error: EUCLEAN,
    says: "a special file with data.",
  },
  {
    name: "a file in its inode",
    before: (f) => f.b.bytes[f.f + 5] = 1,
    at: "/f",
    error: EUCLEAN,
    says: "local format for regular file.",
  },
  {
    name: "a short directory of 5000 bytes",
    names: 2,
    before: (f) => f.b.be64(f.d + 56, 5000),
    at: "/d",
    error: EUCLEAN,
    says: "bad size 5000 for local inode.",
  },
  {
    name: "an extent outside of the disk",
    before: (f) => f.b.extent(f.fork, { off: 0, block: 2 ** 45, count: 1 }),
    at: "/d/name-1",
    error: EUCLEAN,
    says: "bad extent 0.",
  },
  {
    name: "an extent past the end of the disk",
    before: (f) =>
      f.b.extent(f.f + f.b.core, { off: 0, block: 4095, count: 2 }),
    at: "/f",
    error: EUCLEAN,
    says: "bad extent 0.",
  },
  {
    name: "an extent of no blocks",
    before: (f) => f.b.extent(f.fork, { off: 0, block: 300, count: 0 }),
    at: "/d",
    error: EUCLEAN,
    says: "bad extent 0.",
  },
  {
    name: "extents that overlap",
    layout: LEAF,
    before: (f) => f.b.extent(f.fork + 16, { off: 0, block: 300, count: 1 }),
    at: "/d",
    error: EUCLEAN,
    says: "bad extent 1.",
  },
  {
    name: "an unwritten block of a directory",
    before: (f) => f.b.bytes[f.fork] |= 0x80,
    at: "/d/name-1",
    error: EUCLEAN,
    says: "xfs_da_do_buf: bno 0 dir: inode",
  },
  {
    name: "an unreadable inode",
    far: true,
    fail: (f, sector) => sector === Math.floor(f.f / 512),
    at: "/f",
    error: EIO,
    says: "metadata I/O error",
  },
  {
    name: "a name that leads to a free inode",
    before: (f) => f.b.be16(f.f + 2, 0),
    at: "/f",
    error: ENOENT,
    says: "Ending clean mount",
  },

  // ---- extent btrees ----
  ...([
    ["of another file system's making", 0, 0x41424344, `xfs_bmbt_read_verify`],
    ["without records", 4, 0, "xfs_bmbt_read_verify"],
    ["with 65535 records", 4, 0xffff, "xfs_bmbt_read_verify"],
    ["of level 3", 4, 0x00030005, "xfs_bmap_read_extents(2)"],
    ["that goes on outside of the disk", 16, 0x7fffffff, "read_verify"],
  ] as const).map(([name, at, value, says]): Case => ({
    name: `an extent btree leaf ${name}`,
    names: 150,
    layout: { ...NODE, btree: 5 },
    before: (f) => f.b.be32(bmbt(f, 0) + at, value),
    at: "/d/name-1",
    error: EUCLEAN,
    says,
  })),
  {
    name: "an extent btree whose leaves go round",
    names: 150,
    layout: { ...NODE, btree: 5 },
    before: (f) => f.b.be64(bmbt(f, 1) + 16, bmbt(f, 0) / f.b.blocksize),
    at: "/d/name-1",
    error: EUCLEAN,
    says: "Internal error xfs_bmap_read_extents(2)",
  },
  {
    name: "an extent btree leaf that is its own neighbour",
    names: 150,
    layout: { ...NODE, btree: 5 },
    before: (f) => f.b.be64(bmbt(f, 0) + 16, bmbt(f, 0) / f.b.blocksize),
    at: "/d",
    error: 0,
    says: "Ending clean mount", // nobody has asked for its names yet
  },
  {
    name: "an extent btree of another inode",
    crc: 1,
    names: 150,
    layout: { ...NODE, btree: 5 },
    before: (f) => f.b.be64(bmbt(f, 0) + 56, 12345),
    at: "/d/name-1",
    error: EUCLEAN,
    says: "Internal error xfs_bmap_read_extents(2)",
  },
  {
    name: "an extent btree with fewer extents than it should have",
    names: 150,
    layout: { ...NODE, btree: 5 },
    before: (f) => f.b.bytes.fill(0xff, bmbt(f, 0) + 16, bmbt(f, 0) + 24),
    at: "/d/name-1",
    error: EUCLEAN,
    says: "Internal error xfs_iread_extents",
  },
  {
    name: "an extent btree outside of the disk",
    names: 150,
    layout: { ...NODE, btree: 5 },
    before: (f) => f.b.be64(f.fork + 4 + 8 * maxrecs(f), 2 ** 40),
    at: "/d/name-1",
    error: EUCLEAN,
    says: "Internal error xfs_bmap_read_extents(1)",
  },
  ...([
    ["no levels", 0, 0],
    ["200 levels", 0, 200],
    ["no records", 2, 0],
    ["65535 records", 2, 65535],
  ] as const).map(([name, at, value]): Case => ({
    name: `the root of an extent btree of ${name}`,
    names: 150,
    layout: { ...NODE, btree: 5 },
    before: (f) => f.b.be16(f.fork + at, value),
    at: "/d",
    error: EUCLEAN,
    says: "Internal error xfs_iformat_btree",
  })),
  {
    name: "an extent btree leaf with a wrong checksum",
    crc: 1,
    names: 150,
    layout: { ...NODE, btree: 5 },
    after: (f) => f.b.bytes[bmbt(f, 0) + 90] ^= 1,
    at: "/d/name-1",
    error: EUCLEAN,
    says: `${CRC} xfs_bmbt_read_verify, block 0x`,
  },

  // ---- short directories ----
  ...([
    ["with more names than bytes", (f) => f.b.bytes[f.fork] = 200],
    ["with fewer names than bytes", (f) => f.b.bytes[f.fork] = 1],
    ["with a name of no bytes", (f) => f.b.bytes[f.fork + 6] = 0],
    ["with a name that goes on", (f) => f.b.bytes[f.fork + 6] = 255],
    ["with a slash in a name", (f) => f.b.bytes[f.fork + 9] = 0x2f],
    ["whose parent is no inode", (f) => f.b.be32(f.fork + 2, 0)],
    ["that should have long numbers", (f) => f.b.bytes[f.fork + 1] = 3],
    ["with names out of order", (f) => f.b.be16(f.fork + 7, 1)],
  ] as [string, (f: Fixture) => void][]).map(([name, before]): Case => ({
    name: `a short directory ${name}`,
    names: 3,
    before,
    at: "/d/name-1",
    error: EUCLEAN,
    says: `${CORRUPT} xfs_dir2_sf_verify, inode 0x`,
  })),

  // ---- blocks ----
  {
    name: "a directory block with a wrong checksum",
    crc: 1,
    after: (f) => f.b.bytes[f.block(0) + 3000] ^= 1,
    at: "/d/name-1",
    error: EUCLEAN,
    says: `${CRC} xfs_dir3_block_read_verify, block 0x`,
  },
  {
    name: "a directory block of another place",
    crc: 1,
    before: (f) => f.b.be64(f.block(0) + 8, 8),
    at: "/d/name-1",
    error: EUCLEAN,
    says: `${CORRUPT} xfs_dir3_block_read_verify`,
  },
  {
    name: "a directory block of another file system",
    crc: 1,
    before: (f) => f.b.bytes[f.block(0) + 30] ^= 1,
    at: "/d/name-1",
    error: EUCLEAN,
    says: `${CORRUPT} xfs_dir3_block_read_verify`,
  },
  {
    name: "a directory block of another directory",
    crc: 1,
    before: (f) => f.b.be64(f.block(0) + 40, 99),
    at: "/d/name-1",
    error: EUCLEAN,
    says: "Internal error xfs_da_do_buf(2)",
  },
  {
    name: "a directory block in two places of one directory block",
    layout: { form: "block", scatter: true },
    options: { dirblklog: 1 },
    before: (f) => {
      f.b.extent(f.fork + 16, {
        off: 1,
        block: f.block(0) / f.b.blocksize,
        count: 1,
      });
    },
    at: "/d/name-1",
    error: EUCLEAN,
    says: "extents that overlap.",
  },
  ...([
    ["of no kind", (f) => f.b.be32(f.block(0), 1)],
    ["with a name of no bytes", (f) => f.b.bytes[entry(f) + 8] = 0],
    ["with a name past its end", (f) => f.b.bytes[entry(f) + 8] = 255],
    [
      "with an entry without its own address",
      (f) => f.b.be16(entry(f) + 14, 8),
    ],
    ["with an entry for inode 0", (f) => f.b.be64(entry(f), 0)],
    [
      "with an entry for inode 2^64 - 1",
      (f) => f.b.bytes.fill(0xff, entry(f) + 2, entry(f) + 8),
    ],
    ["with a slash in a name", (f) => f.b.bytes[entry(f) + 9] = 0x2f],
    ["with a NUL in a name", (f) => f.b.bytes[entry(f) + 9] = 0],
    ["with an unused piece of 3 bytes", (f) => {
      f.b.be32(entry(f), 0xffff0003);
    }],
    ["with an unused piece past its end", (f) => {
      f.b.be32(entry(f), 0xffff7ff8);
    }],
    ["with an unused piece of no bytes", (f) => f.b.be32(entry(f), 0xffff0000)],
    [
      "with 2^32 - 1 leaf entries",
      (f) => f.b.be32(f.block(0) + 4096 - 8, 0xffffffff),
    ],
    ["with no leaf entries", (f) => f.b.be32(f.block(0) + 4096 - 8, 0)],
    [
      "with more stale entries than entries",
      (f) => f.b.be32(f.block(0) + 4096 - 4, 100),
    ],
    [
      "with a leaf entry outside of it",
      (f) => f.b.be32(f.block(0) + 4096 - 12, 0x10000),
    ],
    [
      "with a leaf entry between entries",
      (f) => f.b.be32(f.block(0) + 4096 - 12, f.entries / 8 + 3),
    ],
    [
      "with hash values out of order",
      (f) => f.b.be32(f.block(0) + 4096 - 16, 0),
    ],
    [
      "with free space outside of it",
      (f) => f.b.be16(f.block(0) + (f.b.crc === 1 ? 48 : 4), 0xfff0),
    ],
  ] as [string, (f: Fixture) => void][]).map(([name, before]): Case => ({
    name: `a directory block ${name}`,
    layout: { form: "block" },
    before,
    at: "/d/name-1",
    error: EUCLEAN,
    says: `${CORRUPT} xfs_dir3_block_read_verify, block 0x`,
  })),
  {
    name: "a directory block that is listed",
    layout: { form: "block" },
    before: (f) => f.b.bytes[entry(f) + 8] = 0,
    at: "list",
    error: EUCLEAN,
    says: `${CORRUPT} xfs_dir3_block_read_verify`,
  },
  {
    name: "a directory of one block that says it has two",
    layout: { form: "block" },
    before: (f) => f.b.be64(f.d + 56, 8192),
    at: "/d/name-1",
    error: EUCLEAN,
    says: "Internal error xfs_dir2_isblock",
  },
  {
    name: "an unreadable directory block",
    layout: { form: "block" },
    fail: (f, sector) => sector === f.block(0) / 512 + 3,
    at: "/d/name-1",
    error: EIO,
    says: "metadata I/O error: block 0x",
  },

  // ---- leaves ----
  ...([
    ["of no kind", (f) => f.b.be16(f.block(1) + 8, 1)],
    ["with 65535 entries", (f) => f.b.be16(count(f), 65535)],
    [
      "with 2^31 data blocks",
      (f) => f.b.be32(f.block(1) + 4096 - 4, 0x7fffffff),
    ],
    [
      "with hash values out of order",
      (f) => f.b.be32(f.block(1) + f.leaf + 8, 0xffffffff),
    ],
    ["with a wrong number of stale entries", (f) => f.b.be16(count(f) + 2, 3)],
  ] as [string, (f: Fixture) => void][]).map(([name, before]): Case => ({
    name: `a leaf ${name}`,
    layout: LEAF,
    before,
    at: "/d/name-1",
    error: EUCLEAN,
    says: `${CORRUPT} xfs_dir3_leaf1_read_verify, block 0x`,
  })),
  {
    name: "a leaf with a wrong checksum",
    crc: 1,
    layout: LEAF,
    after: (f) => f.b.bytes[f.block(1) + 100] ^= 1,
    at: "/d/name-1",
    error: EUCLEAN,
    says: `${CRC} xfs_dir3_leaf1_read_verify, block 0x`,
  },
  {
    name: "a leaf that leads to a block that is not there",
    layout: LEAF,
    before: (f) => everyAddress(f, 1, 0x10000),
    at: "/d/name-1",
    error: EUCLEAN,
    says: "xfs_da_do_buf: bno 128 dir: inode",
  },
  {
    name: "a leaf that leads into a header",
    layout: LEAF,
    before: (f) => everyAddress(f, 1, 1),
    at: "/d/name-1",
    error: EUCLEAN,
    says: "Internal error xfs_dir2_data_entry(1)",
  },
  {
    name: "a leaf that leads to the end of a block",
    layout: LEAF,
    before: (f) => everyAddress(f, 1, 511),
    at: "/d/name-1",
    error: EUCLEAN,
    says: "Internal error xfs_dir2_data_entry(1)",
  },
  {
    name: "a leaf that leads to the free space",
    layout: LEAF,
    before: (f) => everyAddress(f, 1, 0xffffffff),
    at: "/d/name-1",
    error: EUCLEAN,
    says: "xfs_da_do_buf: bno 8388607 dir: inode",
  },
  {
    name: "data blocks without a leaf",
    names: 300,
    layout: LEAF,
    before: (f) => f.b.be32(f.d + 76, 2),
    at: "list",
    error: EUCLEAN,
    says: "Internal error xfs_dir2_isblock",
  },
  {
    name: "a data block of no kind",
    layout: LEAF,
    before: (f) => f.b.be32(f.block(0), 1),
    at: "list",
    error: EUCLEAN,
    says: `${CORRUPT} xfs_dir3_data_read_verify`,
  },
  {
    name: "a leaf that is a data block",
    layout: LEAF,
    before: (f) =>
      f.b.extent(f.fork + 16, {
        off: 2 ** 35 / 4096,
        block: f.block(0) / 4096,
        count: 1,
      }),
    at: "/d/name-1",
    error: EUCLEAN,
    says: "extents that overlap.",
  },

  // ---- hash trees ----
  ...([
    ["of no kind", (f) => f.b.be16(f.block(1) + 8, 1)],
    ["of 65535 entries", (f) => f.b.be16(count(f), 65535)],
    ["of no entries", (f) => f.b.be16(count(f), 0)],
    ["of level 0", (f) => f.b.be16(count(f) + 2, 0)],
    ["of level 6", (f) => f.b.be16(count(f) + 2, 6)],
    [
      "with hash values out of order",
      (f) => f.b.be32(f.block(1) + f.leaf, 0xffffffff),
    ],
  ] as [string, (f: Fixture) => void][]).map(([name, before]): Case => ({
    name: `a node ${name}`,
    layout: FLAT,
    before,
    at: "/d/name-1",
    error: EUCLEAN,
    says: `${CORRUPT} xfs_da3_node_read_verify, block 0x`,
  })),
  {
    name: "a node that is its own child",
    layout: FLAT,
    before: (f) => children(f, 2 ** 35 / 4096),
    at: "/d/name-1",
    error: EUCLEAN,
    says: "Internal error xfs_da_node_lookup_int(2)",
  },
  {
    name: "a node whose child is a data block",
    layout: FLAT,
    before: (f) => children(f, 0),
    at: "/d/name-1",
    error: EUCLEAN,
    says: "Internal error xfs_da_node_lookup_int(3)",
  },
  {
    name: "a node whose child is not there",
    layout: FLAT,
    before: (f) => children(f, 2 ** 35 / 4096 + 1000),
    at: "/d/name-1",
    error: EUCLEAN,
    says: "xfs_da_do_buf: bno 8389608 dir: inode",
  },
  {
    name: "a node of level 2 above leaves",
    layout: FLAT,
    before: (f) => f.b.be16(count(f) + 2, 2),
    at: "/d/name-1",
    error: EUCLEAN,
    says: "Internal error xfs_da_node_lookup_int(1)",
  },
  {
    name: "a node with a wrong checksum",
    crc: 1,
    layout: FLAT,
    after: (f) => f.b.bytes[f.block(1) + 70] ^= 1,
    at: "/d/name-1",
    error: EUCLEAN,
    says: `${CRC} xfs_da3_node_read_verify, block 0x`,
  },

  // ---- what no lookup sees ----
  ...([
    ["of no kind", (f) => f.b.be32(f.block(4), 1)],
    [
      "of 2^32 - 1 blocks",
      (f) => f.b.be32(f.block(4) + (f.b.crc === 1 ? 52 : 8), 0xffffffff),
    ],
    [
      "with more used blocks than blocks",
      (f) => f.b.be32(f.block(4) + (f.b.crc === 1 ? 56 : 12), 2),
    ],
    [
      "that begins in the middle",
      (f) => f.b.be32(f.block(4) + (f.b.crc === 1 ? 48 : 4), 5),
    ],
  ] as [string, (f: Fixture) => void][]).map(([name, before]): Case => ({
    name: `a free index ${name}`,
    layout: FLAT,
    before,
    at: "check",
    error: EUCLEAN,
    says: `${CORRUPT} xfs_dir3_free_read_verify, block 0x`,
  })),
  {
    name: "a free index with a wrong checksum",
    crc: 1,
    layout: FLAT,
    after: (f) => f.b.bytes[f.block(4) + 200] ^= 1,
    at: "check",
    error: EUCLEAN,
    says: `${CRC} xfs_dir3_free_read_verify, block 0x`,
  },
  {
    name: "a name that no leaf knows",
    layout: LEAF,
    before: (f) => {
      f.b.be32(f.block(1) + f.leaf + 4, 0);
      f.b.be16(count(f) + 2, 1);
    },
    at: "check",
    error: EUCLEAN,
    says: "32 names, 31 leaf entries.",
  },
  {
    name: "leaves that are not chained as the tree has them",
    layout: FLAT,
    before: (f) => {
      oneHash(f);
      f.b.be16(count(f), 2);
      f.b.be32(f.block(3) + 4, 5);
    },
    at: "/d/name-1",
    error: EUCLEAN,
    says: "Internal error xfs_da_path_shift",
  },
  {
    name: "a name that leads back to the root",
    names: 2,
    before: (f) => f.b.be32(f.fork + 6 + 3 + 6 + f.b.crc, f.b.ino(0)),
    at: "/d/name-0/d/name-0/d/name-1",
    error: 0,
    says: "Unmounting Filesystem",
  },
  {
    name: "leaves of one hash value that go round",
    layout: FLAT,
    before: oneHash,
    at: "/d/name-1",
    error: EUCLEAN,
    says: "Internal error xfs_da_path_shift",
  },
];

/** The first entry that is neither `.` nor `..`, in the first block. */
function entry(f: Fixture): number {
  return f.block(0) + f.entries + f.b.entsize(1) + f.b.entsize(2);
}

/** Number of entries of the leaf or node in the second block. */
function count(f: Fixture): number {
  return f.block(1) + (f.b.crc === 1 ? 56 : 12);
}

/** Has every leaf entry of block `i` lead to `address`. */
function everyAddress(f: Fixture, i: number, address: number): void {
  const n = f.b.view.getUint16(count(f));
  for (let e = 0; e < n; e++) {
    f.b.be32(f.block(i) + f.leaf + 8 * e + 4, address);
  }
}

/** Has every entry of the root node lead to `block`. */
function children(f: Fixture, block: number): void {
  everyAddress(f, 1, block);
}

/** Gives all entries of two leaves the hash value of "name-1", and the root the first leaf over and over. */
function oneHash(f: Fixture): void {
  const hash = 0x1db955c7; // see the test below
  for (const i of [2, 3]) {
    const at = f.block(i);
    const n = f.b.view.getUint16(at + (f.b.crc === 1 ? 56 : 12));
    for (let e = 0; e < n; e++) {
      f.b.be32(at + f.leaf + 8 * e, hash);
      f.b.be32(at + f.leaf + 8 * e + 4, 0);
    }
    f.b.be16(at + (f.b.crc === 1 ? 58 : 14), n);
  }
  f.b.be16(count(f), 500);
  const first = 2 ** 35 / 4096 + 1;
  for (let e = 0; e < 500; e++) {
    f.b.be32(f.block(1) + f.leaf + 8 * e, hash);
    f.b.be32(f.block(1) + f.leaf + 8 * e + 4, first + e % 2);
  }
}

/** Records of the root of `/d`'s extent btree. */
function maxrecs(f: Fixture): number {
  return Math.floor((f.b.inodesize - f.b.core - 4) / 16);
}

/** First byte of leaf `i` of `/d`'s extent btree. */
function bmbt(f: Fixture, i: number): number {
  const at = f.fork + 4 + 8 * maxrecs(f) + 8 * i;
  return f.b.view.getUint32(at + 4) * f.b.blocksize;
}

function* run(
  t: Thread,
  c: Case,
  _mounted: Mounted,
): Steps<0 | Errno> {
  if (c.at === "check") return yield* check_dir(t, "/d");
  if (c.at === "list") {
    const found = yield* list(t, "/d");
    return typeof found === "number" ? found : 0;
  }
  // Twice: a failure must not be remembered as something else.
  const first = yield* vfs_stat(t, text(c.at));
  const again = yield* vfs_stat(t, text(c.at));
  const error = typeof first === "number" ? first : 0;
  assertEquals(typeof again === "number" ? again : 0, error);
  return error;
}

Deno.test("the hash value that the cases use is right", async () => {
  const { da_hash } = await import("./xfs_da_hash.ts");
  assertEquals(da_hash(text("name-1")).toString(16), "1db955c7");
});

for (const crc of [0, 1] as const) {
  Deno.test(`damage is answered by an error and a message, version ${4 + crc}`, () => {
    const cases = CASES.filter((c) => (c.crc ?? crc) === crc);
    assert(cases.length > 50);
    // One kernel for all: what a case leaves behind shows in the next ones.
    const failures: string[] = [];
    runVm({ cpus: 1 }, function* (t) {
      yield* warm_up(t);
      for (const c of cases) {
        const f = new Fixture(c, crc);
        let image = f.b.finish(() => c.before?.(f), () => c.after?.(f));
        if (c.cut !== undefined) image = image.resized(c.cut);
        const fail = c.fail === undefined
          ? null
          : (sector: number) => c.fail!(f, sector);
        let mounted = false;
        const { result, log } = yield* onDisk(t, image, (t, m) => {
          mounted = true;
          return run(t, c, m);
        }, fail);
        const all = log.join("\n");
        if (
          result !== -c.error && !(result === 0 && c.error === 0) ||
          mounted !== (c.at !== "mount") || !all.includes(c.says)
        ) failures.push(`${c.name}: ${result}\n${all}\n`);
      }
    });
    assertEquals(failures.length, 0, failures.join("\n"));
  });
}
