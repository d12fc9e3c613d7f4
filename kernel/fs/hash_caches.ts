/**
 * The hash tables of dcache and icache (fs/dcache.c, fs/inode.c): early from
 * bootmem, or, with `hashdist=1`, put off until vmalloc can give them out.
 */
import { charge, enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import {
  alloc_large_system_hash,
  hashdist,
  type HashPhase,
  type SystemHash,
} from "../mm/large_system_hash.ts";
import type { Thread } from "../thread.ts";

const DCACHE_INIT_EARLY = ksym("dcache_init_early");
const INODE_INIT_EARLY = ksym("inode_init_early");
const DCACHE_INIT = ksym("dcache_init");
const INODE_INIT = ksym("inode_init");

/** One bucket: a list head's first pointer, bytes; on i386 too, so that its tables are twice Linux's. */
const BUCKET_BYTES = 8;
const DENTRY_SCALE = 13;
const INODE_SCALE = 14;

/** The tables; `k.hash_caches` once vfs_caches_init_early() or vfs_caches_init() has made them. */
export interface HashCaches {
  dentry_hashtable: SystemHash;
  inode_hashtable: SystemHash;
}

function* dentry_table(t: Thread, phase: HashPhase): Steps<SystemHash> {
  enter(t, phase === "early" ? DCACHE_INIT_EARLY : DCACHE_INIT);
  charge(t, 20);
  const table = yield* alloc_large_system_hash(
    t,
    "Dentry cache",
    BUCKET_BYTES,
    DENTRY_SCALE,
    phase,
  );
  leave(t);
  return table;
}

function* inode_table(t: Thread, phase: HashPhase): Steps<SystemHash> {
  enter(t, phase === "early" ? INODE_INIT_EARLY : INODE_INIT);
  charge(t, 20);
  const table = yield* alloc_large_system_hash(
    t,
    "Inode-cache",
    BUCKET_BYTES,
    INODE_SCALE,
    phase,
  );
  leave(t);
  return table;
}

/** Makes the tables from bootmem, unless they are to come from vmalloc, which is not usable yet. */
export function* vfs_caches_init_early(t: Thread): Steps {
  if (hashdist(t.k)) return;
  yield* make_tables(t, "early");
}

/** Makes the tables that {@linkcode vfs_caches_init_early} left out. */
export function* vfs_caches_init(t: Thread): Steps {
  charge(t, 400); // slabs of names, files, dentries, inodes
  if (t.k.hash_caches === null) yield* make_tables(t, "late");
}

function* make_tables(t: Thread, phase: HashPhase): Steps {
  t.k.hash_caches = {
    dentry_hashtable: yield* dentry_table(t, phase),
    inode_hashtable: yield* inode_table(t, phase),
  };
}
