/**
 * What a transition has touched: all that another CPU could notice of it, or
 * that it could notice of another CPU. Two transitions whose footprints do not
 * meet can change places, and nobody can tell.
 *
 * A footprint consists of cache lines, read or written, and of *things* that
 * have no line:
 *
 *     IRQ + cpu   interrupts on their way to a CPU, and its need_resched: read
 *                 by each transition of that CPU, written by who sends one
 *     TLB + cpu   a CPU's translations: written when it fills or flushes, read
 *                 by what sanitizers are told (they look at all TLBs)
 *     EVENTS      what sanitizers are told of pages, areas, mappings, and judge
 *                 by its order; contents of page frames that are zeroed without
 *                 their lines. Written by whoever tells, read by each access to
 *                 memory
 *     RCU         which readers and grace periods overlap, as sanitizers are
 *                 told: read where a reader begins or ends, written by
 *                 call_rcu() and where a callback is called
 *     SHARED      variables of JavaScript that functions of several CPUs share
 *                 and say so: `ExploreMachine.shared`
 *
 * The lines are those that the coherence model is asked for, by operations and
 * by touch_read() and touch_write() alike. A freed object counts as written:
 * its line, whether the allocator touches it or not.
 *
 * No thing stands for what sanitizers are told of locks, operations, interrupts:
 * they keep that by thread, by CPU, or by what has a line. lockdep's graph of all
 * locks only grows, and is judged as a whole: two orders come to the same graph,
 * though the report may name another of its edges first.
 *
 * Lines are numbered in the order of their first use since power-on. That is
 * the same number in every run that has begun in the same way, and only in
 * those: of lines that a transition is the first to use it is known only that
 * they are new.
 */

/** What one transition has touched. */
export interface Footprint {
  /** Lines that were in use before it: their numbers. */
  readonly reads: readonly number[];
  /** Lines that it may have written; not in {@linkcode Footprint.reads}. */
  readonly writes: readonly number[];
  /** How many lines had been in use before it: those from here on are new. */
  readonly known: number;
  /** Whether it has read, or written, lines that were new. */
  readonly readsNew: boolean;
  readonly writesNew: boolean;
  /** Things, as bits. */
  readonly thingsRead: number;
  readonly thingsWritten: number;
  /** Depends on everything: a tick, a migration. */
  readonly universal: boolean;
}

/** Whether `a` and `b` may not change places. */
export function dependent(a: Footprint, b: Footprint): boolean {
  if (a.universal || b.universal) return true;
  const things = (a.thingsWritten & (b.thingsRead | b.thingsWritten)) |
    (a.thingsRead & b.thingsWritten);
  if (things !== 0) return true;
  // Beyond what both know by number, any line may be any other.
  const known = Math.min(a.known, b.known);
  const writesA = a.writesNew || beyond(a.writes, known);
  const writesB = b.writesNew || beyond(b.writes, known);
  if (writesA && (writesB || b.readsNew || beyond(b.reads, known))) return true;
  if (writesB && (a.readsNew || beyond(a.reads, known))) return true;
  return meet(a.writes, b.writes) || meet(a.writes, b.reads) ||
    meet(a.reads, b.writes);
}

function beyond(lines: readonly number[], known: number): boolean {
  for (let i = 0; i < lines.length; i++) if (lines[i] >= known) return true;
  return false;
}

function meet(a: readonly number[], b: readonly number[]): boolean {
  for (let i = 0; i < a.length; i++) if (b.includes(a[i])) return true;
  return false;
}
