/**
 * File systems made by hand, for tests: one allocation group of 16 MiB, of
 * either version, with directories of any form at will, in one piece or
 * scattered, and every byte open to change before the checksums are made.
 */
import { SparseImage } from "../../drivers/block/sparse_image.ts";
import { xfs_calc_cksum } from "./crc32c.ts";
import { da_hash } from "./xfs_da_hash.ts";
import {
  AGF_CRC,
  AGI_CRC,
  BB_L_CRC,
  BB_S_CRC,
  DA3_CRC,
  DA_ENTRIES,
  DI_CORE_V2,
  DI_CORE_V3,
  DI_CRC,
  DIR2_BESTFREE,
  DIR2_DATA_ENTRY,
  DIR3_CRC,
  FREE_BESTS,
  FREE_FIRSTDB,
  FREE_NUSED,
  FREE_NVALID,
  LEAF_COUNT,
  NODE_COUNT,
  NODE_LEVEL,
  SB_CRC,
  XFS_BMAP_MAGIC,
  XFS_BTREE_LBLOCK_LEN,
  XFS_BTREE_SBLOCK_LEN,
  XFS_DA_NODE_MAGIC,
  XFS_DIR2_BLOCK_MAGIC,
  XFS_DIR2_DATA_MAGIC,
  XFS_DIR2_FREE_MAGIC,
  XFS_DIR2_LEAF1_MAGIC,
  XFS_DIR2_LEAFN_MAGIC,
  XFS_IBT_MAGIC,
} from "./xfs_format.ts";

/** What to build. */
export interface BuildOptions {
  readonly crc?: 0 | 1;
  readonly ftype?: boolean;
  /** log2 of blocks in a directory block. */
  readonly dirblklog?: number;
  readonly blocklog?: number;
  readonly inodelog?: number;
  /** Inodes begin at multiples of their chunk; else the inode btree says where. */
  readonly align?: boolean;
}

/** One name in a directory. */
export interface Entry {
  readonly name: Uint8Array;
  readonly ino: number;
  /** As on disk: 1 = file, 2 = directory, ... */
  readonly ftype?: number;
}

/** How a directory lies on the disk. */
export interface DirLayout {
  /** Left out: the smallest that will do. */
  readonly form?: "short" | "block" | "leaf" | "node";
  /** Every block apart from its neighbours. */
  readonly scatter?: boolean;
  /** Extents in each leaf of the btree that holds them, if they do not fit into the inode. */
  readonly btree?: number;
  /** Most entries of a leaf, and of a node, of the hash tree. */
  readonly perLeaf?: number;
  readonly perNode?: number;
  /** Unused leaf entries between the others. */
  readonly stale?: boolean;
}

interface Extent {
  readonly off: number;
  readonly block: number;
  readonly count: number;
}

const AG_BYTES = 2 ** 24;
const UUID = Uint8Array.from({ length: 16 }, (_, i) => i + 1);
/** Inodes. */
export const ROOT_SLOT = 0;

export class Builder {
  readonly crc: 0 | 1;
  readonly ftype: boolean;
  readonly blocksize: number;
  readonly inodesize: number;
  readonly inopblog: number;
  readonly dirblksize: number;
  readonly dirfsbs: number;
  readonly bytes: Uint8Array = new Uint8Array(AG_BYTES);
  readonly view: DataView;
  /** Blocks to be moved in the end: from, to. */
  readonly #moves: [number, number][] = [];
  /** Checksums to be made: start, length, offset of the field. */
  readonly #sums: [number, number, number][] = [];
  readonly #options: BuildOptions;
  #nextBlock: number;
  #nextInode = 3; // after the root, and two that realtime devices need
  /** First block of the only inode chunk. */
  readonly chunk: number;

  constructor(options: BuildOptions = {}) {
    this.#options = options;
    this.crc = options.crc ?? 1;
    this.ftype = options.ftype ?? this.crc === 1;
    const blocklog = options.blocklog ?? 12;
    this.blocksize = 2 ** blocklog;
    this.inodesize = 2 ** (options.inodelog ?? (this.crc === 1 ? 9 : 8));
    this.inopblog = Math.log2(this.blocksize / this.inodesize);
    this.dirfsbs = 2 ** (options.dirblklog ?? 0);
    this.dirblksize = this.blocksize * this.dirfsbs;
    this.view = new DataView(this.bytes.buffer);
    const perChunk = Math.ceil(64 / 2 ** this.inopblog);
    // A chunk that is not aligned lies so that alignment would find another.
    this.chunk = options.align ?? true ? 4 * perChunk : 4 * perChunk + 1;
    this.#nextBlock = this.chunk + perChunk + 7;
  }

  /** Number of the inode in `slot` of the chunk. */
  ino(slot: number): number {
    return this.chunk * 2 ** this.inopblog + slot;
  }

  /** A new inode's slot. */
  newSlot(): number {
    return this.#nextInode++;
  }

  /** Byte where the inode in `slot` lies. */
  inodeAt(slot: number): number {
    return this.chunk * this.blocksize + slot * this.inodesize;
  }

  /** Bytes of an inode before its forks. */
  get core(): number {
    return this.crc === 1 ? DI_CORE_V3 : DI_CORE_V2;
  }

  /** `count` blocks in a row. @returns The first. */
  alloc(count = 1): number {
    const first = this.#nextBlock;
    this.#nextBlock += count;
    return first;
  }

  /** Has the blocks after the first of `count` from `block` on moved to places apart, in the end. */
  scatter(
    block: number,
    count: number,
    moved: (i: number, to: number) => void,
  ): void {
    for (let i = 1; i < count; i++) {
      const to = this.alloc(2) + 1;
      this.#moves.push([block + i, to]);
      moved(i, to);
    }
  }

  be16(at: number, value: number): void {
    this.view.setUint16(at, value);
  }
  be32(at: number, value: number): void {
    this.view.setUint32(at, value >>> 0);
  }
  be64(at: number, value: number): void {
    this.view.setUint32(at, Math.floor(value / 2 ** 32));
    this.view.setUint32(at + 4, value % 2 ** 32);
  }
  /** Has a checksum made in the end. */
  sum(at: number, length: number, offset: number): void {
    if (this.crc === 1) this.#sums.push([at, length, offset]);
  }

  /** Writes an inode's fields. */
  inode(
    slot: number,
    fields: {
      mode: number;
      format: number;
      size?: number;
      nblocks?: number;
      nextents?: number;
      nlink?: number;
    },
  ): number {
    const at = this.inodeAt(slot);
    this.be16(at, 0x494e);
    this.be16(at + 2, fields.mode);
    this.bytes[at + 4] = this.crc === 1 ? 3 : 2;
    this.bytes[at + 5] = fields.format;
    this.be32(at + 16, fields.nlink ?? 1);
    this.be32(at + 32, 1_000_000);
    this.be32(at + 40, 2_000_000);
    this.be32(at + 48, 3_000_000);
    this.be64(at + 56, fields.size ?? 0);
    this.be64(at + 64, fields.nblocks ?? 0);
    this.be32(at + 76, fields.nextents ?? 0);
    this.bytes[at + 83] = 2;
    this.be32(at + 96, 0xffffffff);
    return at;
  }

  /** A regular file with nothing in it. @returns Its inode number. */
  file(mode = 0o100644): number {
    const slot = this.newSlot();
    this.inode(slot, { mode, format: 2 });
    return this.ino(slot);
  }

  /** A symbolic link in its inode. @returns Its inode number. */
  symlink(target: Uint8Array): number {
    const slot = this.newSlot();
    const at = this.inode(slot, {
      mode: 0o120777,
      format: 1,
      size: target.length,
    });
    this.bytes.set(target, at + this.core);
    return this.ino(slot);
  }

  /** A symbolic link in blocks of its own. @returns Its inode number. */
  remoteSymlink(target: Uint8Array): number {
    const slot = this.newSlot();
    const header = this.crc === 1 ? 56 : 0;
    const room = this.blocksize - header;
    const count = Math.ceil(target.length / room);
    const block = this.alloc(count);
    for (let i = 0; i < count; i++) {
      const part = target.subarray(i * room, (i + 1) * room);
      const at = (block + i) * this.blocksize;
      if (this.crc === 1) {
        this.be32(at, 0x58534c4d);
        this.be32(at + 4, i * room);
        this.be32(at + 8, part.length);
        this.bytes.set(UUID, at + 16);
        this.be64(at + 32, this.ino(slot));
        this.be64(at + 40, at / 512);
        this.sum(at, this.blocksize, 12);
      }
      this.bytes.set(part, at + header);
    }
    const at = this.inode(slot, {
      mode: 0o120777,
      format: 2,
      size: target.length,
      nblocks: count,
      nextents: 1,
    });
    this.extent(at + this.core, { off: 0, block, count });
    return this.ino(slot);
  }

  /** Writes an extent record. */
  extent(at: number, { off, block, count }: Extent, unwritten = 0): void {
    const flag = unwritten === 0 ? 0 : 0x80000000;
    this.be32(at, flag + Math.floor(off / 2 ** 23));
    this.be32(at + 4, (off % 2 ** 23) * 2 ** 9 + Math.floor(block / 2 ** 43));
    this.be32(at + 8, Math.floor(block / 2 ** 11) % 2 ** 32);
    this.be32(at + 12, (block % 2 ** 11) * 2 ** 21 + count);
  }

  /** Bytes of the names and types of a data entry. */
  entsize(namelen: number): number {
    return (8 + 1 + namelen + (this.ftype ? 1 : 0) + 2 + 7) & ~7;
  }

  /** Makes the directory in `slot`. */
  dir(
    slot: number,
    parent: number,
    entries: readonly Entry[],
    layout: DirLayout = {},
  ): void {
    const short = this.#shortSize(parent, entries);
    const room = this.inodesize - this.core;
    if (layout.form === "short" || (!layout.form && short <= room)) {
      return this.#short(slot, parent, entries);
    }
    const own = this.ino(slot);
    const all = [
      { name: text("."), ino: own, ftype: 2 },
      { name: text(".."), ino: parent, ftype: 2 },
      ...entries,
    ];
    const total = all.reduce((sum, e) => sum + this.entsize(e.name.length), 0);
    const fits = DIR2_DATA_ENTRY[this.crc] + total + 8 * all.length + 8 <=
      this.dirblksize;
    const form = layout.form ?? (fits ? "block" : "leaf");
    const blocks = new DirBlocks(this, own, layout.scatter ?? false);
    if (form === "block") this.#block(blocks, all);
    else this.#leaves(blocks, all, form === "node", layout);
    const inline = 16 * blocks.extents.length <= room;
    const at = this.inode(slot, {
      mode: 0o040755,
      format: inline ? 2 : 3,
      nlink: 2,
      size: blocks.dataBlocks * this.dirblksize,
      nblocks: blocks.extents.reduce((sum, e) => sum + e.count, 0),
      nextents: blocks.extents.length,
    });
    this.#fork(at, own, blocks.extents, inline, layout.btree ?? 10);
  }

  /** Writes extents into the inode at `at`, or a btree of them. */
  #fork(
    at: number,
    own: number,
    extents: readonly Extent[],
    inline: boolean,
    perLeaf: number,
  ): void {
    const fork = at + this.core;
    if (inline) {
      extents.forEach((extent, i) => this.extent(fork + 16 * i, extent));
      return;
    }
    const room = this.inodesize - this.core;
    const header = XFS_BTREE_LBLOCK_LEN[this.crc];
    const leaves: number[] = [];
    for (let i = 0; i < extents.length; i += perLeaf) {
      const part = extents.slice(i, i + perLeaf);
      const block = this.alloc();
      const to = block * this.blocksize;
      this.longHeader(to, 0, part.length, own);
      part.forEach((e, j) => this.extent(to + header + 16 * j, e));
      leaves.push(block);
    }
    leaves.forEach((block, i) => {
      if (i + 1 < leaves.length) {
        this.be64(block * this.blocksize + 16, leaves[i + 1]);
      }
    });
    const maxrecs = Math.floor((room - 4) / 16);
    this.be16(fork, 1);
    this.be16(fork + 2, Math.min(leaves.length, maxrecs));
    leaves.slice(0, maxrecs).forEach((block, i) => {
      this.be64(fork + 4 + 8 * i, extents[i * perLeaf].off);
      this.be64(fork + 4 + 8 * maxrecs + 8 * i, block);
    });
  }

  /** Header of a block of an extent btree. */
  longHeader(at: number, level: number, numrecs: number, own: number): void {
    this.be32(at, XFS_BMAP_MAGIC[this.crc]);
    this.be16(at + 4, level);
    this.be16(at + 6, numrecs);
    this.bytes.fill(0xff, at + 8, at + 24);
    if (this.crc === 1) {
      this.be64(at + 24, at / 512);
      this.bytes.set(UUID, at + 40);
      this.be64(at + 56, own);
    }
    this.sum(at, this.blocksize, BB_L_CRC);
  }

  #shortSize(parent: number, entries: readonly Entry[]): number {
    const bytes = this.#inoBytes(parent, entries);
    return entries.reduce(
      (sum, e) => sum + 3 + e.name.length + (this.ftype ? 1 : 0) + bytes,
      2 + bytes,
    );
  }

  #inoBytes(parent: number, entries: readonly Entry[]): 4 | 8 {
    return parent > 0xffffffff || entries.some((e) => e.ino > 0xffffffff)
      ? 8
      : 4;
  }

  #short(slot: number, parent: number, entries: readonly Entry[]): void {
    const size = this.#shortSize(parent, entries);
    const inode = this.inode(slot, {
      mode: 0o040755,
      format: 1,
      size,
      nlink: 2,
    });
    const bytes = this.#inoBytes(parent, entries);
    const putIno = (at: number, ino: number) =>
      bytes === 4 ? this.be32(at, ino) : this.be64(at, ino);
    let at = inode + this.core;
    this.bytes[at] = entries.length;
    this.bytes[at + 1] = bytes === 8 ? entries.length : 0;
    putIno(at + 2, parent);
    at += 2 + bytes;
    let offset = DIR2_DATA_ENTRY[this.crc] + this.entsize(1) + this.entsize(2);
    for (const { name, ino, ftype } of entries) {
      this.bytes[at] = name.length;
      this.be16(at + 1, offset);
      this.bytes.set(name, at + 3);
      at += 3 + name.length;
      if (this.ftype) this.bytes[at++] = ftype ?? 1;
      putIno(at, ino);
      at += bytes;
      offset += this.entsize(name.length);
    }
  }

  /** Writes entries from byte `off` of the block at `at` on. @returns The end; `addresses` gets where they are. */
  #entries(
    at: number,
    db: number,
    entries: readonly Entry[],
    addresses: [number, number][],
  ): number {
    let off: number = DIR2_DATA_ENTRY[this.crc];
    for (const { name, ino, ftype } of entries) {
      this.be64(at + off, ino);
      this.bytes[at + off + 8] = name.length;
      this.bytes.set(name, at + off + 9);
      if (this.ftype) this.bytes[at + off + 9 + name.length] = ftype ?? 1;
      const size = this.entsize(name.length);
      this.be16(at + off + size - 2, off);
      addresses.push([da_hash(name), (db * this.dirblksize + off) / 8]);
      off += size;
    }
    return off;
  }

  /** Writes an unused piece. */
  #unused(at: number, off: number, length: number): void {
    if (length === 0) return;
    this.be16(at + off, 0xffff);
    this.be16(at + off + 2, length);
    this.be16(at + off + length - 2, off);
    this.be16(at + DIR2_BESTFREE[this.crc], off);
    this.be16(at + DIR2_BESTFREE[this.crc] + 2, length);
  }

  #block(blocks: DirBlocks, all: readonly Entry[]): void {
    const at = blocks.data(0);
    blocks.header(at, XFS_DIR2_BLOCK_MAGIC[this.crc]);
    const leaf: [number, number][] = [];
    const end = this.#entries(at, 0, all, leaf);
    leaf.sort(byHash);
    const tail = this.dirblksize - 8;
    const first = tail - 8 * leaf.length;
    this.#unused(at, end, first - end);
    this.leafEntries(at + first, leaf);
    this.be32(at + tail, leaf.length);
    blocks.done();
  }

  /** Writes leaf entries. */
  leafEntries(at: number, leaf: readonly [number, number][]): void {
    leaf.forEach(([hash, address], i) => {
      this.be32(at + 8 * i, hash);
      this.be32(at + 8 * i + 4, address);
    });
  }

  #leaves(
    blocks: DirBlocks,
    all: readonly Entry[],
    node: boolean,
    layout: DirLayout,
  ): void {
    const leaf: [number, number][] = [];
    const bests: number[] = [];
    for (let i = 0; i < all.length;) {
      const db = blocks.dataBlocks;
      const at = blocks.data(db);
      blocks.header(at, XFS_DIR2_DATA_MAGIC[this.crc]);
      let room = this.dirblksize - DIR2_DATA_ENTRY[this.crc];
      const first = i;
      while (i < all.length && this.entsize(all[i].name.length) <= room) {
        room -= this.entsize(all[i++].name.length);
      }
      const end = this.#entries(at, db, all.slice(first, i), leaf);
      this.#unused(at, end, this.dirblksize - end);
      bests.push(room);
    }
    leaf.sort(byHash);
    const entries: [number, number][] = layout.stale
      ? leaf.flatMap(([hash, address]) => [[hash, 0], [hash, address]])
      : leaf;
    if (!node) this.#leaf1(blocks, entries, bests);
    else this.#hashTree(blocks, entries, layout, bests);
    blocks.done();
  }

  #leaf1(
    blocks: DirBlocks,
    entries: readonly [number, number][],
    bests: readonly number[],
  ): void {
    const at = blocks.leaf(0);
    blocks.daHeader(at, XFS_DIR2_LEAF1_MAGIC[this.crc], entries);
    this.leafEntries(at + DA_ENTRIES[this.crc], entries);
    const end = at + this.dirblksize;
    this.be32(end - 4, bests.length);
    bests.forEach((best, i) =>
      this.be16(end - 4 - 2 * (bests.length - i), best)
    );
  }

  /** Leaves, and nodes above them until there is one; it is the first block. */
  #hashTree(
    blocks: DirBlocks,
    entries: readonly [number, number][],
    layout: DirLayout,
    bests: readonly number[],
  ): void {
    const room = Math.floor((this.dirblksize - DA_ENTRIES[this.crc]) / 8);
    const perLeaf = layout.perLeaf ?? room;
    const perNode = layout.perNode ?? room;
    const leaves = chunks(entries, perLeaf);
    // Level by level from the bottom; the root gets block 0 in the end.
    const levels: number[] = [leaves.length];
    while (levels.at(-1)! > 1) {
      levels.push(Math.ceil(levels.at(-1)! / perNode));
    }
    const total = levels.reduce((sum, n) => sum + n, 0);
    let next = total;
    let below: [number, number][] = []; // last hash, block
    levels.forEach((count, level) => {
      const first = next -= count;
      const groups = level === 0 ? leaves : chunks(below, perNode);
      below = groups.map((group, i) => {
        const at = blocks.leaf(first + i);
        const magic = level === 0 ? XFS_DIR2_LEAFN_MAGIC : XFS_DA_NODE_MAGIC;
        blocks.daHeader(at, magic[this.crc], level === 0 ? group : []);
        if (i > 0) this.be32(at + 4, blocks.leafBlock(first + i - 1));
        if (i + 1 < groups.length) {
          this.be32(at, blocks.leafBlock(first + i + 1));
        }
        if (level > 0) {
          this.be16(at + NODE_COUNT[this.crc], group.length);
          this.be16(at + NODE_LEVEL[this.crc], level);
        }
        this.leafEntries(at + DA_ENTRIES[this.crc], group);
        return [group.at(-1)![0], blocks.leafBlock(first + i)];
      });
    });
    const at = blocks.free(0);
    blocks.header(at, XFS_DIR2_FREE_MAGIC[this.crc]);
    this.be32(at + FREE_FIRSTDB[this.crc], 0);
    this.be32(at + FREE_NVALID[this.crc], bests.length);
    this.be32(at + FREE_NUSED[this.crc], bests.length);
    bests.forEach((best, i) =>
      this.be16(at + FREE_BESTS[this.crc] + 2 * i, best)
    );
  }

  /** The whole file system, checksums right; `before` may spoil it first, `after` last. */
  finish(
    before?: (b: Builder) => void,
    after?: (b: Builder) => void,
  ): SparseImage {
    this.#headers();
    before?.(this);
    if (this.crc === 1) {
      for (let slot = 0; slot < 64; slot++) this.#seal(slot);
      for (const [at, length, offset] of this.#sums) {
        const crc = xfs_calc_cksum(this.bytes, at, length, offset);
        this.view.setUint32(at + offset, crc, true);
      }
    }
    const size = this.blocksize;
    for (const [from, to] of this.#moves) {
      this.bytes.copyWithin(to * size, from * size, (from + 1) * size);
      this.bytes.fill(0, from * size, (from + 1) * size);
    }
    after?.(this);
    const image = new SparseImage(AG_BYTES);
    image.write(0, this.bytes);
    return image;
  }

  /** Number, uuid and checksum of an inode. */
  #seal(slot: number): void {
    const at = this.inodeAt(slot);
    if (this.view.getBigUint64(at + 152) === 0n) {
      this.be64(at + 152, this.ino(slot));
      this.bytes.set(UUID, at + 160);
    }
    const crc = xfs_calc_cksum(this.bytes, at, this.inodesize, DI_CRC);
    this.view.setUint32(at + DI_CRC, crc, true);
  }

  #headers(): void {
    const b = this.bytes;
    const { crc } = this;
    const blocks = AG_BYTES / this.blocksize;
    this.be32(0, 0x58465342);
    this.be32(4, this.blocksize);
    this.be64(8, blocks);
    b.set(UUID, 32);
    this.be64(48, blocks - 600);
    this.be64(56, this.ino(ROOT_SLOT));
    this.be32(80, Math.max(1, 4096 / this.blocksize));
    this.be32(84, blocks);
    this.be32(88, 1);
    this.be32(96, 512);
    const align = this.#options.align ?? true;
    const v4 = 0x3424 | (align ? 0x80 : 0) | (this.ftype ? 0x8000 : 0);
    this.be16(100, crc === 1 ? 0xb4a5 : v4);
    this.be16(102, 512);
    this.be16(104, this.inodesize);
    this.be16(106, 2 ** this.inopblog);
    b[120] = Math.log2(this.blocksize);
    b[121] = 9;
    b[122] = Math.log2(this.inodesize);
    b[123] = this.inopblog;
    b[124] = Math.log2(blocks);
    b[127] = 25;
    this.be64(128, 64);
    const cluster = crc === 1 ? 32 * this.inodesize : 8192;
    if (align) this.be32(180, Math.max(1, cluster / this.blocksize));
    b[192] = Math.log2(this.dirfsbs);
    this.be32(200, crc === 1 ? 0x18a : this.ftype ? 0x208 : 0);
    if (crc === 1) this.be32(216, this.ftype ? 1 : 0);
    this.sum(0, 512, SB_CRC);

    const agf = 512;
    this.be32(agf, 0x58414746);
    this.be32(agf + 4, 1);
    this.be32(agf + 12, blocks);
    this.be32(agf + 16, 1);
    this.be32(agf + 20, 2);
    this.be32(agf + 28, 1);
    this.be32(agf + 32, 1);
    if (crc === 1) b.set(UUID, agf + 64);
    this.sum(agf, 512, AGF_CRC);

    const agi = 1024;
    this.be32(agi, 0x58414749);
    this.be32(agi + 4, 1);
    this.be32(agi + 12, blocks);
    this.be32(agi + 16, 64);
    this.be32(agi + 20, 3);
    this.be32(agi + 24, 1);
    b.fill(0xff, agi + 32, agi + 296); // no unlinked inodes
    if (crc === 1) b.set(UUID, agi + 296);
    this.sum(agi, 512, AGI_CRC);

    const ibt = 3 * this.blocksize;
    this.be32(ibt, XFS_IBT_MAGIC[crc]);
    this.be16(ibt + 6, 1);
    b.fill(0xff, ibt + 8, ibt + 16);
    if (crc === 1) {
      this.be64(ibt + 16, ibt / 512);
      b.set(UUID, ibt + 32);
    }
    const rec = ibt + XFS_BTREE_SBLOCK_LEN[crc];
    this.be32(rec, this.ino(0));
    this.sum(ibt, this.blocksize, BB_S_CRC);
    for (let slot = 0; slot < 64; slot++) { // mkfs writes free ones too
      const at = this.inodeAt(slot);
      if (b[at] === 0) {
        this.be16(at, 0x494e);
        b[at + 4] = crc === 1 ? 3 : 2;
        this.be32(at + 96, 0xffffffff);
      }
    }
  }
}

/** The blocks of one directory: where they are, and their headers. */
class DirBlocks {
  readonly extents: Extent[] = [];
  dataBlocks = 0;
  readonly #leafBase: number;
  readonly #pieces = new Map<number, number>();

  constructor(
    readonly b: Builder,
    readonly own: number,
    readonly scatter: boolean,
  ) {
    this.#leafBase = 2 ** 35 / b.blocksize;
  }

  /** A directory block's space, in one piece in the builder's memory until {@linkcode done} scatters it. */
  #at(off: number): number {
    let block = this.#pieces.get(off);
    if (block === undefined) {
      block = this.b.alloc(this.b.dirfsbs);
      this.#pieces.set(off, block);
    }
    return block * this.b.blocksize;
  }

  data(db: number): number {
    this.dataBlocks = Math.max(this.dataBlocks, db + 1);
    return this.#at(db * this.b.dirfsbs);
  }
  leafBlock(i: number): number {
    return this.#leafBase + i * this.b.dirfsbs;
  }
  leaf(i: number): number {
    return this.#at(this.leafBlock(i));
  }
  free(i: number): number {
    return this.#at(2 * this.#leafBase + i * this.b.dirfsbs);
  }

  /** Header of data, single and free blocks. */
  header(at: number, magic: number): void {
    const { b } = this;
    b.be32(at, magic);
    if (b.crc === 0) return;
    b.be64(at + 8, at / 512);
    b.bytes.set(UUID, at + 24);
    b.be64(at + 40, this.own);
    b.sum(at, b.dirblksize, DIR3_CRC);
  }

  /** Header of leaves and nodes. */
  daHeader(
    at: number,
    magic: number,
    entries: readonly [number, number][],
  ): void {
    const { b } = this;
    b.be16(at + 8, magic);
    b.be16(at + LEAF_COUNT[b.crc], entries.length);
    const stale = entries.filter(([, address]) => address === 0).length;
    b.be16(at + LEAF_COUNT[b.crc] + 2, stale);
    if (b.crc === 0) return;
    b.be64(at + 16, at / 512);
    b.bytes.set(UUID, at + 32);
    b.be64(at + 48, this.own);
    b.sum(at, b.dirblksize, DA3_CRC);
  }

  /** Fixes the extents: a directory block each, or a block each that is away from the others. */
  done(): void {
    const { b } = this;
    const offs = [...this.#pieces.keys()].sort((x, y) => x - y);
    for (const off of offs) {
      const block = this.#pieces.get(off)!;
      if (!this.scatter) {
        this.extents.push({ off, block, count: b.dirfsbs });
        continue;
      }
      // The first block stays, which the header's address is of.
      this.extents.push({ off, block, count: 1 });
      b.scatter(block, b.dirfsbs, (i, to) => {
        this.extents.push({ off: off + i, block: to, count: 1 });
      });
    }
  }
}

function byHash(x: [number, number], y: [number, number]): number {
  return x[0] - y[0] || x[1] - y[1];
}

function chunks<T>(all: readonly T[], size: number): T[][] {
  const out: T[][] = [];
  for (let i = 0; i < all.length; i += size) out.push(all.slice(i, i + size));
  return out;
}

/** Bytes of ASCII. */
export function text(s: string): Uint8Array {
  return new TextEncoder().encode(s);
}
