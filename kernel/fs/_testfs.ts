/**
 * A file system that lies in host memory, for this folder's tests: a tree made
 * of {@linkcode Node}s, counters of what the VFS asks for, and faults on demand.
 */
import type { Steps } from "../../arch/asm.ts";
import { spend } from "../testing.ts";
import { EIO, ENOENT, ENOMEM, err, type Errno } from "../lib/errno.ts";
import { GFP_KERNEL } from "../mm/gfp.ts";
import {
  kmem_cache_alloc,
  kmem_cache_create,
  kmem_cache_free,
  type KmemCache,
} from "../mm/slab.ts";
import type { Thread } from "../thread.ts";
import { iget_failed, is_bad_inode } from "./bad_inode.ts";
import { d_add, d_alloc_root, d_splice_alias, type Dentry } from "./dcache.ts";
import { iget_locked, iput, unlock_new_inode } from "./inode.ts";
import {
  type DirContext,
  DT_DIR,
  DT_LNK,
  DT_REG,
  type FileOperations,
  I_NEW,
  Inode,
  type InodeOperations,
  S_IFDIR,
  S_IFLNK,
  S_IFREG,
  S_ISDIR,
} from "./inode_types.ts";
import type {
  FileSystemType,
  SuperBlock,
  SuperOperations,
} from "./super_types.ts";

/** A string's bytes; one byte for each character below 256. */
export function bytes(text: string): Uint8Array {
  return Uint8Array.from(text, (c) => c.charCodeAt(0));
}

/** The other way round. */
export function text(name: Uint8Array): string {
  return String.fromCharCode(...name);
}

/** One file of the tree. */
export class Node {
  /** Of a directory: by {@linkcode text} of the name. */
  readonly children: Map<string, Node> = new Map();
  /** Of a link. */
  target = "";
  /** Times it was looked up. */
  lookups = 0;

  constructor(readonly ino: number, readonly mode: number) {}

  get dtype(): number {
    if (S_ISDIR(this.mode)) return DT_DIR;
    return this.mode === S_IFLNK ? DT_LNK : DT_REG;
  }
}

/** What a tree is written as: a directory, a link's target, or a file's size. */
export interface Tree {
  [name: string]: Tree | string | number;
}

/** An inode of ours, in a slab cache of ours. */
class TestInode extends Inode {
  node!: Node;
}

/** One file system of the kind: mount it as `"testfs"`. */
export class TestFs implements FileSystemType {
  readonly name = "testfs";
  readonly requires_dev = false;
  readonly root: Node;
  readonly nodes: Map<number, Node> = new Map();
  /** lookup() calls, by name. */
  readonly lookups: Map<string, number> = new Map();
  /** Inodes read. */
  reads = 0;
  /** Inodes that got memory, and gave it back. */
  allocs = 0;
  frees = 0;
  /** lookup() calls under way, now and at most. */
  inLookup = 0;
  maxInLookup = 0;
  /** What one lookup takes, what reading an inode, what the end of one, cycles. */
  lookupCycles = 0;
  readCycles = 0;
  clearCycles = 0;
  /** Called by lookup() with the name; an errno fails it. */
  onLookup: (name: string) => 0 | Errno = () => 0;
  /** Inodes that cannot be read. */
  readonly bad: Set<number> = new Set();
  /** No memory for inodes. */
  noInodes = false;
  #nextIno = 128;
  #cache: KmemCache<TestInode> | null = null;

  constructor(tree: Tree) {
    this.root = this.#make(S_IFDIR | 0o755);
    this.#fill(this.root, tree);
  }

  /** Adds a file. */
  add(dir: Node, name: string, mode: number = S_IFREG): Node {
    const node = this.#make(mode);
    dir.children.set(name, node);
    return node;
  }

  /** Adds another name of a file. */
  link(dir: Node, name: string, node: Node): void {
    dir.children.set(name, node);
  }

  /** The node at `path`, names divided by `/`. */
  find(path: string): Node {
    let node = this.root;
    for (const name of path.split("/").filter((name) => name !== "")) {
      node = node.children.get(name)!;
    }
    return node;
  }

  #make(mode: number): Node {
    const node = new Node(this.#nextIno++, mode);
    this.nodes.set(node.ino, node);
    return node;
  }

  #fill(dir: Node, tree: Tree): void {
    for (const [name, what] of Object.entries(tree)) {
      if (typeof what === "object") {
        this.#fill(this.add(dir, name, S_IFDIR | 0o755), what);
      } else if (typeof what === "string") {
        this.add(dir, name, S_IFLNK).target = what;
      } else {
        this.add(dir, name);
      }
    }
  }

  readonly fill_super = (t: Thread, sb: SuperBlock): Steps<0 | Errno> =>
    this.#fillSuper(t, sb);

  *#fillSuper(t: Thread, sb: SuperBlock): Steps<0 | Errno> {
    this.#cache ??= kmem_cache_create(
      t,
      "testfs_inode",
      700,
      () => new TestInode(t.k),
    );
    sb.s_op = this.#superOps;
    sb.s_blocksize = 4096;
    sb.s_fs_info = this;
    const inode = yield* this.iget(t, sb, this.root);
    if (typeof inode === "number") return inode;
    sb.s_root = yield* d_alloc_root(t, inode);
    if (sb.s_root !== null) return 0;
    yield* iput(t, inode);
    return err(ENOMEM);
  }

  readonly #superOps: SuperOperations = {
    alloc_inode: (t) => this.#allocInode(t),
    clear_inode: (t) => spend(t, this.clearCycles),
    destroy_inode: (t, inode) => {
      this.frees++;
      return kmem_cache_free(t, this.#cache!, inode as TestInode);
    },
  };

  *#allocInode(t: Thread): Steps<Inode | null> {
    if (this.noInodes) return null;
    const inode = yield* kmem_cache_alloc(t, this.#cache!, GFP_KERNEL);
    if (inode !== null) this.allocs++;
    return inode;
  }

  /** The inode of `node`. */
  *iget(t: Thread, sb: SuperBlock, node: Node): Steps<Inode | Errno> {
    const inode = yield* iget_locked(t, sb, node.ino);
    if (inode === null) return err(ENOMEM);
    if ((inode.i_state & I_NEW) === 0) {
      if (!is_bad_inode(inode)) return inode;
      yield* iput(t, inode);
      return err(EIO);
    }
    this.reads++;
    if (this.readCycles > 0) yield* spend(t, this.readCycles);
    if (this.bad.has(node.ino)) {
      yield* iget_failed(t, inode);
      return err(ENOENT);
    }
    (inode as TestInode).node = node;
    inode.i_mode = node.mode;
    inode.i_size = node.target.length;
    inode.i_op = this.#inodeOps(node);
    inode.i_fop = S_ISDIR(node.mode) ? this.#dirOps : {};
    yield* unlock_new_inode(t, inode);
    return inode;
  }

  #inodeOps(node: Node): InodeOperations {
    if (S_ISDIR(node.mode)) return this.#dirInodeOps;
    return node.mode === S_IFLNK ? this.#linkInodeOps : {};
  }

  readonly #dirInodeOps: InodeOperations = {
    lookup: (t, dir, dentry) => this.#lookup(t, dir as TestInode, dentry),
  };

  readonly #linkInodeOps: InodeOperations = {
    // deno-lint-ignore require-yield -- a real one reads blocks
    readlink: function* (_t, inode) {
      return bytes((inode as TestInode).node.target);
    },
  };

  readonly #dirOps: FileOperations = {
    readdir: (t, inode, ctx) => this.#readdir(t, inode as TestInode, ctx),
  };

  *#lookup(
    t: Thread,
    dir: TestInode,
    dentry: Dentry,
  ): Steps<Dentry | null | Errno> {
    const name = text(dentry.d_name.name);
    this.lookups.set(name, (this.lookups.get(name) ?? 0) + 1);
    this.maxInLookup = Math.max(this.maxInLookup, ++this.inLookup);
    if (this.lookupCycles > 0) yield* spend(t, this.lookupCycles);
    const result = yield* this.#find(t, dir, dentry, name);
    this.inLookup--;
    return result;
  }

  *#find(
    t: Thread,
    dir: TestInode,
    dentry: Dentry,
    name: string,
  ): Steps<Dentry | null | Errno> {
    const error = this.onLookup(name);
    if (error !== 0) return error;
    const node = dir.node.children.get(name);
    if (node === undefined) {
      yield* d_add(t, dentry, null);
      return null;
    }
    node.lookups++;
    const inode = yield* this.iget(t, dir.i_sb, node);
    if (typeof inode === "number") return inode;
    return yield* d_splice_alias(t, inode, dentry);
  }

  *#readdir(t: Thread, inode: TestInode, ctx: DirContext): Steps<0 | Errno> {
    const entries: [string, Node][] = [
      [".", inode.node],
      ["..", inode.node],
      ...inode.node.children,
    ];
    for (; ctx.pos < entries.length; ctx.pos++) {
      const [name, node] = entries[ctx.pos];
      if (!ctx.actor(bytes(name), node.ino, node.dtype, ctx.pos + 1)) break;
      if (this.lookupCycles > 0) yield* spend(t, this.lookupCycles);
    }
    return 0;
  }
}
