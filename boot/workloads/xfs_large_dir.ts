/**
 * The large-directory workload: tasks, one a CPU, that look names up and stat
 * them all over a tree of large directories on XFS, each in a random order of
 * its own, and read a directory now and then.
 *
 * The disk's pages are cached, dentries and inodes are not: nobody has looked
 * the names up before. So a lookup goes through the directory's blocks, which
 * the buffer cache of 2.6.28 maps anew each time. No two tasks are after one
 * name; when all names have had their turn they come again, and by then the
 * first are cold again: memory is taken to hold half of them
 * (`vfs.dentry_limit`).
 *
 * Whatever comes back is compared with a list that nobody here has made; a
 * difference is a kernel bug.
 */
import { charge, enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import { Rng } from "../../arch/sim/random.ts";
import { BUG } from "../../kernel/bug.ts";
import { exit_fs, unshare_fs_struct } from "../../kernel/fs/fs_struct.ts";
import { type Kstat, S_ISDIR, S_ISLNK } from "../../kernel/fs/inode_types.ts";
import { type DirEntry, read_dir } from "../../kernel/fs/readdir.ts";
import { sys_newstat } from "../../kernel/fs/stat.ts";
import { prune_dcache } from "../../kernel/fs/dcache_shrink.ts";
import { prune_icache } from "../../kernel/fs/inode_shrink.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import {
  kthread_bind,
  kthread_create,
  kthread_join,
} from "../../kernel/kthread.ts";
import { EIO, ENOMEM, err, type Errno } from "../../kernel/lib/errno.ts";
import { cond_resched, need_resched } from "../../kernel/sched/sched.ts";
import { wake_up_process } from "../../kernel/sched/wakeup.ts";
import type { Thread } from "../../kernel/thread.ts";
import { msleep } from "../../kernel/timer.ts";
import type { ListedDirectory, ListedEntry } from "../images/listed.ts";
import {
  armFaults,
  failedOp,
  faultsInjected,
  holdFaults,
} from "../injected.ts";
import { Barrier } from "./barrier.ts";
import { isDot, join, text } from "./paths.ts";
import { spread } from "./spread.ts";

const TASK = ksym("xfs_large_dir");

/** What to run. A file system is mounted. */
export interface XfsLargeDir {
  /** Tasks in parallel. */
  readonly threads: number;
  /** Operations that count, for each task on average. */
  readonly ops: number;
  /** Operations of each task before that. */
  readonly warmup: number;
  /** Where to look, and what is there: a file at least. */
  readonly directories: readonly ListedDirectory[];
  /** Called when the last task is at the line, and when all operations are done. */
  readonly onWindow?: (edge: "start" | "end") => void;
  /** Called now and then with the operations done. */
  readonly onProgress?: (done: number) => void;
}

/** What came out. */
export interface LookedUp {
  /** From the last task's arrival at the line to the end of the last operation, cycles. */
  readonly windowCycles: number;
  /** Operations in that time. */
  readonly opsInWindow: number;
  /** Those of them that were lookups; the others read a directory. */
  readonly lookupsInWindow: number;
}

/** User mode's part of an operation: the choice, the calls, the comparison. */
const LOOP_INSTRUCTIONS = 60;
/** One operation in this many reads a whole directory. */
const READDIR_EVERY = 64;
/** Pause before the start, as in map_touch_unmap.ts. */
const QUIET_MS = 40;
/** Operations between two calls of `onProgress`. */
const PROGRESS_OPS = 64;
/** Share of the names that memory has room for. */
const CACHED_SHARE = 0.5;
/** Turns that dropping caches takes at most: a dentry that was used is spared once, then its parents' turn comes. */
const DROP_TURNS = 8;
/** Names in a directory's own buffers of inodes: what one read brings in. */
const INODES_PER_CLUSTER = 32;

/** A name with all that is known of it. */
export interface Target {
  readonly path: Uint8Array;
  readonly ino: number;
  readonly mode: number;
}

/** What the tasks of one run share; fixed but for the counts. */
class Run {
  readonly line: Barrier;
  readonly total: number;
  /** In the order in which all tasks together come to them. */
  readonly targets: readonly Target[];
  /** For each directory the inodes by name. */
  readonly inodes: readonly ReadonlyMap<string, number>[];
  done = 0;
  lookups = 0;
  startedAt = 0;
  endedAt = 0;

  constructor(k: Kernel, readonly what: XfsLargeDir, rng: Rng) {
    this.line = new Barrier(k, what.threads);
    this.total = what.threads * what.ops;
    this.targets = rng.shuffle(what.directories.flatMap(targetsOf));
    this.inodes = what.directories.map(({ entries }) =>
      new Map(entries.map(({ name, ino }) => [text(name), ino]))
    );
    if (this.targets.length === 0) {
      throw new RangeError("Cannot look names up as there are no files");
    }
  }
}

/** Runs the workload. Context: process. */
export function* xfs_large_dir(t: Thread, what: XfsLargeDir): Steps<LookedUp> {
  holdFaults(t.k);
  const rng = new Rng(t.k.params.seed);
  const run = new Run(t.k, what, rng);
  yield* on_each(t, run, (self, id) => read_in(self, run, id));
  yield* drop_caches(t);
  t.k.vfs!.dentry_limit = Math.floor(run.targets.length * CACHED_SHARE);
  const rngs = Array.from(
    { length: what.threads },
    () => new Rng(rng.nextU32()),
  );
  yield* on_each(t, run, (self, id) => task(self, run, id, rngs[id]));
  return {
    windowCycles: run.endedAt - run.startedAt,
    opsInWindow: run.done,
    lookupsInWindow: run.lookups,
  };
}

/** Runs `fn` as many times as there are to be tasks, each on a CPU of its own, and waits for all. */
function* on_each(
  t: Thread,
  run: Run,
  fn: (self: Thread, id: number) => Steps,
): Steps {
  const tasks: Thread[] = [];
  const cpus = spread(t);
  for (let i = 0; i < run.what.threads; i++) {
    const p = yield* kthread_create(
      t,
      (self) => as_process(self, (self) => fn(self, i)),
      `xfs_test/${i}`,
    );
    kthread_bind(p, cpus[i % cpus.length]);
    yield* wake_up_process(t, p);
    tasks.push(p);
  }
  for (let i = 0; i < tasks.length; i++) yield* kthread_join(t, tasks[i]);
}

/** A thread shares pid 1's root and working directory; a process has its own. */
function* as_process(t: Thread, fn: (t: Thread) => Steps): Steps {
  enter(t, TASK);
  yield* unshare_fs_struct(t);
  yield* fn(t);
  yield* exit_fs(t);
  leave(t);
}

function* task(t: Thread, run: Run, id: number, rng: Rng): Steps {
  const { warmup } = run.what;
  yield* loop(t, run, id, rng, 0, warmup, false);
  yield* msleep(t, QUIET_MS);
  yield* run.line.wait(t, () => {
    run.startedAt = t.cpu.clock;
    armFaults(t.k);
    run.what.onWindow?.("start");
  });
  yield* loop(t, run, id, rng, warmup, Infinity, true);
}

/** `echo 2 > /proc/sys/vm/drop_caches`: frees unused dentries and inodes. */
export function* drop_caches(t: Thread): Steps {
  const v = t.k.vfs!;
  const { dentry_stat, inodes_stat } = v;
  for (let n = 0; n < DROP_TURNS; n++) {
    yield* prune_dcache(t, dentry_stat.nr_unused);
    yield* prune_icache(t, inodes_stat.nr_unused);
  }
}

/** Brings this task's share of directories and inodes into the page cache. */
function* read_in(t: Thread, run: Run, id: number): Steps {
  const { directories, threads } = run.what;
  for (let i = id; i < directories.length; i += threads) {
    yield* check_dir(t, run, i);
    let last = -1;
    for (const target of targetsOf(directories[i])) {
      const cluster = Math.floor(target.ino / INODES_PER_CLUSTER);
      if (cluster === last) continue;
      last = cluster;
      yield* check_stat(t, target);
    }
  }
}

/** Operations number `first` to `end - 1` of task `id`, booked with `run` if they count. */
function* loop(
  t: Thread,
  run: Run,
  id: number,
  rng: Rng,
  first: number,
  end: number,
  counts: boolean,
): Steps {
  const { directories, threads } = run.what;
  const { targets } = run;
  for (let i = first; i < end; i++) {
    charge(t, LOOP_INSTRUCTIONS);
    const isLookup = rng.below(READDIR_EVERY) !== 0;
    if (isLookup) {
      yield* check_stat(t, targets[(id + i * threads) % targets.length]);
    } else yield* check_dir(t, run, rng.below(directories.length));
    if (need_resched(t)) yield* cond_resched(t);
    if (counts && !book(t, run, isLookup)) break;
  }
}

/** Counts an operation. @returns Whether more are wanted. */
function book(t: Thread, run: Run, isLookup: boolean): boolean {
  if (run.done === run.total) return false; // under way when the last one was booked
  run.done++;
  if (isLookup) run.lookups++;
  if (run.done < run.total) {
    if (run.done % PROGRESS_OPS === 0) run.what.onProgress?.(run.done);
    return true;
  }
  run.endedAt = t.cpu.clock;
  run.what.onWindow?.("end");
  return false;
}

/** Stats a name. @throws {KernelBug} If something else is there. */
export function* check_stat(t: Thread, { path, ino, mode }: Target): Steps {
  const found: Kstat | Errno = yield* sys_newstat(t, path);
  if (typeof found === "number") {
    const what = `stat("${text(path)}") is ${found}, but it is inode ${ino}`;
    failed_call(t, found, what);
  } else if (found.ino !== ino || found.mode !== mode) {
    BUG(
      t,
      `stat("${text(path)}") is inode ${found.ino}, mode ${
        found.mode.toString(8)
      }, but it is inode ${ino}, mode ${mode.toString(8)}`,
    );
  }
}

/** A call came back with `error`: want of memory, or of what could not be read for it, if that was injected. */
function failed_call(t: Thread, error: Errno, what: string): void {
  const expected = error === err(ENOMEM) || error === err(EIO);
  if (!expected || !faultsInjected(t.k)) BUG(t, what);
  failedOp(t, what);
}

/** Reads the directory number `index`. */
function* check_dir(t: Thread, run: Run, index: number): Steps {
  const { path } = run.what.directories[index];
  const inodes = run.inodes[index];
  const found: DirEntry[] | Errno = yield* read_dir(t, path);
  if (typeof found === "number") {
    return failed_call(t, found, `readdir("${text(path)}") is ${found}`);
  }
  let names = 0;
  for (const { name, ino } of found) {
    if (isDot(name)) continue;
    names++;
    const listed = inodes.get(text(name));
    if (listed === ino) continue;
    BUG(
      t,
      `readdir("${text(path)}") has inode ${ino} as "${
        text(name)
      }", but it is ${listed === undefined ? "not there" : `inode ${listed}`}`,
    );
  }
  if (names !== inodes.size) {
    BUG(
      t,
      `readdir("${
        text(path)
      }") has ${names} names, but there are ${inodes.size}`,
    );
  }
}

/** Whether names of that mode are looked up: links lead elsewhere, directories are always in use. */
export function isTarget({ mode }: ListedEntry): boolean {
  return !S_ISDIR(mode) && !S_ISLNK(mode);
}

/** The names of a directory that are looked up. */
export function targetsOf({ path, entries }: ListedDirectory): Target[] {
  return entries.filter(isTarget)
    .map(({ name, ino, mode }) => ({ path: join(path, name), ino, mode }));
}
