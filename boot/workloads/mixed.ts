/**
 * The mixed run: several subsystems that map and unmap, side by side on one
 * machine for a stretch of virtual time.
 *
 * A first, short round makes whatever is made at first use and stays; after the
 * second one, everything must be back as it was after the first.
 */
import { charge, enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import {
  kthread_bind,
  kthread_create,
  kthread_join,
} from "../../kernel/kthread.ts";
import { keep_alias_log } from "../../kernel/mm/alias_log.ts";
import {
  cond_resched,
  need_resched,
  yield_cpu,
} from "../../kernel/sched/sched.ts";
import { wake_up_process } from "../../kernel/sched/wakeup.ts";
import type { Thread } from "../../kernel/thread.ts";
import { armFaults, holdFaults } from "../injected.ts";
import { Barrier } from "./barrier.ts";
import { type Inventory, inventory, settle } from "./inventory.ts";
import type { Part } from "./part.ts";
import { spread } from "./spread.ts";

const TASK = ksym("mixed_run");

/** What to run. */
export interface Mixed {
  readonly parts: readonly Part[];
  /** Time after which no operation is begun, cycles. */
  readonly windowCycles: number;
  /** Called when the second round is about to get ready, and when all is given back. */
  readonly onRound?: (edge: "start" | "end") => void;
  /** Called now and then with the share of the time that is over, 0 to 1. */
  readonly onProgress?: (share: number) => void;
}

/** What one part did. */
export interface PartDone {
  readonly part: Part;
  readonly ops: number;
  /** Why it did not run; `null` = it did. */
  readonly skipped: string | null;
}

/** What came out. */
export interface MixedDone {
  readonly parts: readonly PartDone[];
  /** From the line to the end of the last task's last operation, cycles. */
  readonly windowCycles: number;
  /** Most areas at one time, as seen between operations. */
  readonly peakAreas: number;
  /** Most pages that waited for a purge, likewise. */
  readonly peakLazyPages: number;
  readonly before: Inventory;
  readonly after: Inventory;
}

/** Test and jump of the loop. */
const LOOP_INSTRUCTIONS = 20;
/** Operations between two looks at the layer's counters. */
const SAMPLE_OPS = 8;

/** What the tasks share. */
class Run {
  readonly line: Barrier;
  /** By part. */
  readonly ops: number[];
  /** More tasks than CPUs: each lets the others have their turn after an operation. */
  readonly crowded: boolean;
  startedAt = 0;
  endedAt = 0;
  peakAreas = 0;
  peakLazyPages = 0;
  #samples = 0;

  constructor(k: Kernel, readonly what: Mixed, tasks: number) {
    this.line = new Barrier(k, tasks);
    this.ops = what.parts.map(() => 0);
    this.crowded = tasks > k.cpu_online.weight;
  }

  book(t: Thread, part: number): void {
    this.ops[part]++;
    this.#samples++;
    if (this.#samples % SAMPLE_OPS !== 0) return;
    const { areas, lazy_nr } = t.k.vmap.counters();
    this.peakAreas = Math.max(this.peakAreas, areas);
    this.peakLazyPages = Math.max(this.peakLazyPages, lazy_nr);
    const { windowCycles, onProgress } = this.what;
    onProgress?.(Math.min(1, (t.cpu.clock - this.startedAt) / windowCycles));
  }
}

/** Runs the parts. Context: process. */
export function* mixed_run(t: Thread, what: Mixed): Steps<MixedDone> {
  holdFaults(t.k);
  keep_alias_log(t.k);
  const skipped: (string | null)[] = [];
  for (const part of what.parts) {
    const reason = yield* part.prepare(t);
    skipped.push(reason);
    if (reason !== null) continue;
    for (let id = 0; id < part.tasks; id++) yield* part.step(t, id);
    yield* part.finish(t);
  }
  yield* settle(t);
  const before = inventory(t.k);

  what.onRound?.("start");
  const runs = what.parts.map((_, i) => skipped[i] === null);
  for (const [i, part] of what.parts.entries()) {
    if (!runs[i]) continue;
    skipped[i] = yield* part.prepare(t);
    runs[i] = skipped[i] === null;
  }
  const run = yield* start_tasks(t, what, runs);
  for (const [i, part] of what.parts.entries()) {
    if (runs[i]) yield* part.finish(t);
  }
  what.onRound?.("end");
  yield* settle(t);
  return {
    parts: what.parts.map((part, i) => ({
      part,
      ops: run.ops[i],
      skipped: skipped[i],
    })),
    windowCycles: run.endedAt - run.startedAt,
    peakAreas: run.peakAreas,
    peakLazyPages: run.peakLazyPages,
    before,
    after: inventory(t.k),
  };
}

/** The second round: every task on a CPU of its own as far as there are enough. */
function* start_tasks(
  t: Thread,
  what: Mixed,
  runs: readonly boolean[],
): Steps<Run> {
  const total = what.parts.reduce(
    (sum, part, i) => runs[i] ? sum + part.tasks : sum,
    0,
  );
  const run = new Run(t.k, what, total);
  const cpus = spread(t);
  const tasks: Thread[] = [];
  for (const [i, part] of what.parts.entries()) {
    for (let id = 0; runs[i] && id < part.tasks; id++) {
      const p = yield* kthread_create(
        t,
        (self) => task(self, run, i, id),
        `${part.name}/${id}`,
      );
      kthread_bind(p, cpus[tasks.length % cpus.length]);
      yield* wake_up_process(t, p);
      tasks.push(p);
    }
  }
  for (let i = 0; i < tasks.length; i++) yield* kthread_join(t, tasks[i]);
  return run;
}

function* task(t: Thread, run: Run, part: number, id: number): Steps {
  enter(t, TASK);
  yield* run.line.wait(t, () => {
    run.startedAt = t.cpu.clock;
    armFaults(t.k);
  });
  const until = run.startedAt + run.what.windowCycles;
  while (t.cpu.clock < until) {
    charge(t, LOOP_INSTRUCTIONS);
    yield* run.what.parts[part].step(t, id);
    run.book(t, part);
    if (run.crowded) yield* yield_cpu(t);
    else if (need_resched(t)) yield* cond_resched(t);
  }
  run.endedAt = Math.max(run.endedAt, t.cpu.clock);
  leave(t);
}
