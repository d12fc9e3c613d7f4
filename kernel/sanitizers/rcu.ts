/**
 * rcu: readers and elements whose grace period is over.
 *
 * - A callback is called while a reader runs that began before call_rcu(): the
 *   grace period was too short. Readers of every CPU count, the idle thread's
 *   too, whom classic RCU does not wait for (a tick that finds a CPU idle is a
 *   quiescent state): such a reader is a bug of its own.
 * - call_rcu() of a head that waits already.
 * - A read-side section that is not ended before schedule(), a thread's end or
 *   an interrupt handler's, or ended and never begun.
 * - An endless walk: an element unlinked with its link reset to itself, under
 *   readers, or a list that has become a ring without its head. Seen by what it
 *   does: more reads of lines and acquisitions of locks in one section than
 *   there are CPUs and slab objects to walk, with room to spare. A loop that
 *   does neither hangs the host, as it would a CPU.
 *
 * What readers do with elements once freed is kasan's to see.
 */
import { OpKind } from "../../arch/asm.ts";
import { MAX_FRAMES } from "../../arch/sim/context.ts";
import { symName } from "../../arch/sim/symbol.ts";
import type { Kernel } from "../kernel.ts";
import type { RcuHead } from "../rcu_state.ts";
import type { Thread } from "../thread.ts";
import {
  type ReportSection,
  SanitizerReport,
  type Spot,
  spotOf,
  spotSection,
} from "./report.ts";
import type { Sanitizer } from "./sanitizer.ts";

/** Steps that a section may always make. */
const LEAST = 512;
/** Steps for each CPU more: walks of per-CPU structures make two or three, those of calls between CPUs up to four. */
const PER_CPU = 8;
/**
 * Steps for each slab object more. A walk of the areas makes two an element, one
 * of the blocks four, and elements are one object or two.
 */
const PER_OBJECT = 8;

/** A read-side section that runs; reused. */
class Section {
  t!: Thread;
  /** Order among sections and calls of call_rcu(). */
  serial = 0;
  /** Reads of lines and acquisitions of locks. */
  steps = 0;
  /** Steps after which the bound is worked out. */
  due = LEAST;
  cpu = 0;
  atCycles = 0;
  /** Where it began. */
  readonly stack = new Int32Array(MAX_FRAMES);
  depth = 0;
}

/** A head that waits. */
interface Waiting {
  readonly serial: number;
  readonly spot: Spot;
}

/** See the file's head. */
export class RcuSanitizer implements Sanitizer {
  #serial = 0;
  /** The first `#running` run, others are spare. */
  readonly #sections: Section[] = [];
  #running = 0;
  readonly #waiting = new Map<RcuHead, Waiting>();

  constructor(readonly k: Kernel) {}

  rcuReadLock(t: Thread): void {
    if (t.rcu_read_depth !== 1) return;
    const s = this.#sections[this.#running] ??= new Section();
    this.#running++;
    s.t = t;
    s.serial = ++this.#serial;
    s.steps = 0;
    s.due = LEAST;
    s.cpu = t.cpu.id;
    s.atCycles = t.cpu.clock;
    s.depth = t.depth;
    for (let i = 0; i < t.depth; i++) s.stack[i] = t.stack[t.depth - 1 - i];
  }

  rcuReadUnlock(t: Thread): void {
    if (t.rcu_read_depth > 1) return;
    if (t.rcu_read_depth <= 0) {
      this.#fail(t, "rcu_read_unlock() without rcu_read_lock()", null);
    }
    const sections = this.#sections;
    for (let i = 0; i < this.#running; i++) {
      if (sections[i].t !== t) continue;
      const ended = sections[i];
      const last = --this.#running;
      sections[i] = sections[last];
      sections[last] = ended;
      return;
    }
  }

  scheduling(t: Thread): void {
    if (t.rcu_read_depth > 0) {
      this.#fail(t, "schedule() in an RCU read-side section", this.#find(t));
    }
  }

  threadExit(t: Thread): void {
    if (t.rcu_read_depth === 0) return;
    const who = t.isInterrupt ? "interrupt handler" : "thread";
    this.#fail(t, `${who} ended in an RCU read-side section`, this.#find(t));
  }

  rcuQueued(t: Thread, head: RcuHead): void {
    const before = this.#waiting.get(head);
    if (before !== undefined) {
      this.#fail(t, "call_rcu() of a head that waits already", null, [
        spotSection(this.k, "first call_rcu()", before.spot),
      ]);
    }
    this.#waiting.set(head, { serial: ++this.#serial, spot: spotOf(t) });
  }

  rcuCalled(t: Thread, head: RcuHead): void {
    const queued = this.#waiting.get(head);
    if (queued === undefined) return; // since before anybody looked
    this.#waiting.delete(head);
    for (let i = 0; i < this.#running; i++) {
      const s = this.#sections[i];
      if (s.serial > queued.serial) continue;
      this.#fail(t, "grace period too short: an earlier reader still runs", s, [
        spotSection(this.k, "call_rcu()", queued.spot),
      ]);
    }
  }

  operation(t: Thread, kind: number): void {
    if (t.rcu_read_depth > 0 && kind === OpKind.LINE_READ) this.#step(t);
  }

  lockTaken(t: Thread): void {
    if (t.rcu_read_depth > 0) this.#step(t);
  }

  #step(t: Thread): void {
    const s = this.#find(t);
    if (s !== null && ++s.steps >= s.due) this.#look(t, s);
  }

  /** Whether `s` has made more steps than there are elements to walk. */
  #look(t: Thread, s: Section): void {
    const { slab } = this.k;
    let objects = 0;
    if (slab !== undefined) {
      for (const { active } of slab.caches) objects += active;
    }
    const { nrCpus } = this.k.machine;
    s.due = LEAST + PER_CPU * nrCpus + PER_OBJECT * objects;
    if (s.steps < s.due) return;
    this.#fail(t, "endless walk in an RCU read-side section", s);
  }

  /** The section of `t`, which has none if it began before anybody looked. */
  #find(t: Thread): Section | null {
    for (let i = 0; i < this.#running; i++) {
      if (this.#sections[i].t === t) return this.#sections[i];
    }
    return null;
  }

  #fail(
    t: Thread,
    /** The headline says `in` and the function where the section began, or that runs. */
    what: string,
    s: Section | null,
    more: readonly ReportSection[] = [],
  ): never {
    const sections = [...more];
    let where = t.backtrace()[0];
    if (s !== null) {
      const begun = begin(s);
      sections.unshift(spotSection(this.k, "section begun", begun));
      where = symName(begun.stack[0]);
    }
    throw new SanitizerReport(
      t,
      "rcu",
      `BUG: RCU: ${what} in ${where}`,
      sections,
    );
  }
}

function begin({ t, cpu, atCycles, stack, depth }: Section): Spot {
  const { name, pid } = t.task;
  return {
    comm: name,
    pid,
    cpu,
    atCycles,
    stack: [...stack.subarray(0, depth)],
  };
}
