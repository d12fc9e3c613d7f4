/** Kernels with a file system mounted, for this folder's tests. */
import { Jitter } from "../../arch/testing.ts";
import { assertEquals } from "@std/assert";
import type { Steps } from "../../arch/asm.ts";
import type { EngineOptions } from "../../arch/sim/engine.ts";
import type { Kernel } from "../kernel.ts";
import { kthread_bind, kthread_create, kthread_join } from "../kthread.ts";
import { list_entries } from "../lib/list.ts";
import { runVm, usage, type VmOptions } from "../mm/vm_testing.ts";
import { rcu_barrier } from "../rcu.ts";
import { wake_up_process } from "../sched/wakeup.ts";
import type { KernelRun } from "../testing.ts";
import type { Thread } from "../thread.ts";
import { IS_ROOT } from "./dcache.ts";
import { d_unhashed, type Dentry } from "./dentry.ts";
import { exit_fs, unshare_fs_struct } from "./fs_struct.ts";
import { vfs_caches_init } from "./hash_caches.ts";
import { mount_fs, register_filesystem, SuperBlock, umount } from "./super.ts";
import { TestFs, type Tree } from "./_testfs.ts";
import { vfs_init } from "./vfs.ts";

/** What {@linkcode runFs} runs on. */
export interface FsOptions extends VmOptions {
  /** log2 of the buckets of both hash tables, to make long chains; what memory makes them if absent. */
  readonly bucketBits?: number;
}

/** Uses the first buckets of each hash table only. */
function fewer_buckets(k: Kernel, bits: number): void {
  const { dentry_hashtable, inode_hashtable } = k.hash_caches!;
  const part = { shift: bits, mask: (1 << bits) - 1 };
  k.hash_caches = {
    dentry_hashtable: { ...dentry_hashtable, ...part },
    inode_hashtable: { ...inode_hashtable, ...part },
  };
}

/**
 * Boots a kernel, mounts `tree`, runs `main`, unmounts, and checks that nothing
 * is left.
 */
export function runFs<T>(
  options: FsOptions,
  tree: Tree | TestFs,
  main: (t: Thread, fs: TestFs, sb: SuperBlock) => Steps<T>,
): KernelRun<T> {
  const fs = tree instanceof TestFs ? tree : new TestFs(tree);
  return runVm(options, function* (t) {
    yield* vfs_caches_init(t);
    if (options.bucketBits !== undefined) {
      fewer_buckets(t.k, options.bucketBits);
    }
    yield* vfs_init(t);
    assertEquals(yield* register_filesystem(t, fs), 0);
    const before = caches(t.k);
    const sb = yield* mount_fs(t, "testfs", null);
    if (!(sb instanceof SuperBlock)) throw new Error(`mount failed: ${sb}`);
    const result = yield* main(t, fs, sb);
    checkVfs(t.k);
    for (const { mnt_sb } of [...t.k.vfs!.mounts]) {
      assertEquals(yield* umount(t, mnt_sb), 0);
    }
    yield* rcu_barrier(t);
    assertEquals(caches(t.k), before);
    checkNothingLeft(t.k);
    assertEquals(fs.frees, fs.allocs);
    return result;
  });
}

/** Objects in use of what the VFS allocates. */
function caches(k: Kernel): Record<string, number> {
  const use = usage(k);
  const names = [
    "dentry",
    "inode_cache",
    "testfs_inode",
    "names_cache",
    "mnt_cache",
    "fs_cache",
    "size-64",
    "size-128",
    "size-256",
    "size-512",
    "size-1024",
  ];
  return Object.fromEntries(names.map((name) => [name, use[name] ?? 0]));
}

/** Nothing is mounted and nothing is left. */
export function checkNothingLeft(k: Kernel): void {
  const v = k.vfs!;
  assertEquals(v.dentry_stat, { nr_dentry: 0, nr_unused: 0 });
  assertEquals(v.inodes_stat, { nr_inodes: 0, nr_unused: 0 });
  assertEquals(list_entries(v.inode_in_use), []);
  assertEquals(list_entries(v.inode_unused), []);
  assertEquals(list_entries(v.super_blocks), []);
  assertEquals(v.mounts, []);
}

/** Checks tree, lists and counters of every superblock while nobody runs. */
export function checkVfs(k: Kernel): void {
  const v = k.vfs!;
  let dentries = 0;
  let unused = 0;
  const visit = (dentry: Dentry) => {
    dentries++;
    const children = list_entries(dentry.d_subdirs);
    for (const child of children) {
      assertEquals(child.d_parent === dentry, true);
      visit(child);
    }
    const { d_inode } = dentry;
    if (d_inode !== null) {
      const aliases = list_entries(d_inode.i_dentry);
      assertEquals(aliases.filter((alias) => alias === dentry).length, 1);
      // One reference a name, nobody else has any here.
      assertEquals(d_inode.i_count.value, aliases.length);
    }
    // One reference a child; a root has those of superblock and mounts too.
    if (!IS_ROOT(dentry)) {
      assertEquals(dentry.d_count.value, children.length);
      assertEquals(d_unhashed(dentry), false);
    }
  };
  for (const sb of list_entries(v.super_blocks)) {
    visit(sb.s_root!);
    const lru = list_entries(sb.s_dentry_lru);
    assertEquals(lru.length, sb.s_nr_dentry_unused);
    unused += lru.length;
    for (const inode of list_entries(sb.s_inodes)) {
      assertEquals(inode.i_hash.head !== null, true);
    }
  }
  assertEquals(v.dentry_stat, { nr_dentry: dentries, nr_unused: unused });
  const idle = list_entries(v.inode_unused);
  assertEquals(
    idle.filter((inode) => inode.i_count.value === 0).length,
    v.inodes_stat.nr_unused,
  );
  const inUse = list_entries(v.inode_in_use);
  assertEquals(inUse.length + idle.length, v.inodes_stat.nr_inodes);
}

/** Runs `work` in `count` threads, one on each CPU in turn, each with a root of its own, to their end. */
export function* onThreads<T>(
  t: Thread,
  count: number,
  work: (t: Thread, number: number) => Steps<T>,
): Steps<T[]> {
  const threads: Thread[] = [];
  const cpus = t.k.cpu_online.list;
  for (let i = 0; i < count; i++) {
    const p = yield* kthread_create(t, function* (self) {
      yield* unshare_fs_struct(self);
      const result = yield* work(self, i);
      yield* exit_fs(self);
      return result;
    }, `fs/${i}`);
    kthread_bind(p, cpus[i % cpus.length]);
    threads.push(p);
  }
  for (const p of threads) yield* wake_up_process(t, p);
  const results: T[] = [];
  for (const p of threads) results.push((yield* kthread_join(t, p)) as T);
  return results;
}

/** Engine options under which CPUs take turns in an order that `seed` says; 0 = by their clocks. */
export function order(seed: number): EngineOptions {
  return seed === 0 ? {} : { policy: new Jitter(seed), runAheadCycles: 0 };
}
