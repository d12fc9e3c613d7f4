/**
 * Data races: two accesses to a cell from two CPUs, at least one a write, at
 * least one plain, that nothing orders. In KCSAN's words and layout, but by
 * happens-before instead of watchpoints: a race is found in every schedule that
 * leaves the two unordered, whether or not they came close.
 *
 * Reported: a plain write (`store()`) against anything, a plain read (`load()`)
 * against a plain write. Not reported: a plain read against a marked write,
 * which on x86 reads the old value or the new one and no third. Marked are
 * READ_ONCE(), WRITE_ONCE(), xchg(), cmpxchg(), the atomics and spin_until().
 * A lock's own word is not looked at.
 *
 * What orders: letting go of a lock, then taking it (readers after writers and
 * writers after all); a marked write, then a marked read of its value (x86 keeps
 * stores in order and loads in order, so publishing by WRITE_ONCE() and looking
 * by READ_ONCE() is enough; on a weaker machine it would not be); a locked
 * operation, both ways; an interrupt from another CPU; a new CPU's start. All
 * else comes of these: wake-ups and completions of their queues' locks, a
 * grace period of its lock and its cells. call_rcu()'s callback runs on the CPU
 * that asked.
 *
 * The clocks are one a CPU, not one a thread: what one CPU does is ordered, by
 * switches and by interrupts, which begin and end on top of what they interrupt.
 * A thread that moves takes along what it knew when it left.
 */
import { OpKind } from "../../arch/op.ts";
import type { Context } from "../../arch/sim/context.ts";
import type { Cpu } from "../../arch/sim/cpu.ts";
import type { Cell } from "../../arch/hw/cell.ts";
import { NR_VECTORS } from "../irq_vectors.ts";
import type { Kernel } from "../kernel.ts";
import type { LockOwner } from "../locking/lock_stat.ts";
import type { Thread } from "../thread.ts";
import { raceReport } from "./race_report.ts";
import {
  Access,
  CellShadow,
  copy,
  join,
  LockShadow,
  newClock,
  Publication,
  ThreadShadow,
  type VectorClock,
} from "./race_shadow.ts";
import { LockMode, type Sanitizer } from "./sanitizer.ts";

/** See the file's head. */
export class RaceSanitizer implements Sanitizer {
  readonly #nrCpus: number;
  /** What each CPU knows of all. */
  readonly #clocks: VectorClock[] = [];
  /** The thread that each CPU runs; `null` = its idle thread, which never moves. */
  readonly #running: (Thread | null)[];
  /** By target and vector: what senders knew whose interrupts are on their way. */
  readonly #sent: (VectorClock | undefined)[];
  readonly #underWay: Uint8Array;
  /** Accesses to be filled in again. */
  readonly #free: Access[] = [];

  constructor(readonly k: Kernel) {
    const cpus = k.machine.engine.cpus;
    const n = cpus.length;
    this.#nrCpus = n;
    for (let i = 0; i < n; i++) {
      const clock = newClock(n);
      clock[i] = 1;
      this.#clocks.push(clock);
    }
    this.#running = cpus.map(threadOf);
    this.#sent = new Array(n * NR_VECTORS).fill(undefined);
    this.#underWay = new Uint8Array(n * NR_VECTORS);
  }

  operation(t: Thread, kind: number, place: unknown): void {
    switch (kind) {
      case OpKind.LOAD:
      case OpKind.STORE: {
        const cell = place as Cell<unknown>;
        this.#access(t, kind, cell, kind === OpKind.STORE);
        break;
      }
      case OpKind.READ_ONCE:
      case OpKind.SPIN: {
        const cell = place as Cell<unknown>;
        if (cell.holder !== null) break;
        const shadow = this.#shadow(cell);
        if (shadow.published !== null) this.#see(t.cpu, shadow.published);
        this.#access(t, kind, cell, false);
        break;
      }
      case OpKind.WRITE_ONCE: {
        const cell = place as Cell<unknown>;
        if (cell.holder !== null) break;
        this.#access(t, kind, cell, false);
        this.#publish(t.cpu, this.#shadow(cell));
        break;
      }
      case OpKind.XCHG:
      case OpKind.CMPXCHG:
      case OpKind.SPIN_CMPXCHG:
      case OpKind.ADD:
      case OpKind.ADD_UNLESS: {
        const cell = place as Cell<unknown>;
        if (cell.holder !== null) break;
        const shadow = this.#shadow(cell);
        if (shadow.published !== null) this.#see(t.cpu, shadow.published);
        this.#access(t, kind, cell, false);
        this.#publish(t.cpu, shadow);
        break;
      }
      case OpKind.TICKET_LOCK: { // the kernel's are known by their hooks
        const cell = place as Cell<unknown>;
        if (cell.holder !== null) break;
        const { published } = this.#shadow(cell);
        if (published !== null) this.#see(t.cpu, published);
        break;
      }
      case OpKind.TICKET_UNLOCK: {
        const cell = place as Cell<unknown>;
        if (cell.holder === null) this.#publish(t.cpu, this.#shadow(cell));
        break;
      }
    }
  }

  ipi(cpu: Cpu, target: number, vector: number): void {
    const slot = target * NR_VECTORS + vector;
    let sent = this.#sent[slot];
    if (sent === undefined) {
      sent = this.#sent[slot] = newClock(this.#nrCpus);
    }
    const mine = this.#clocks[cpu.id];
    if (this.#underWay[slot] === 0) copy(sent, mine);
    else join(sent, mine);
    this.#underWay[slot] = 1;
    mine[cpu.id]++;
  }

  interrupt(cpu: Cpu, vector: number): void {
    const slot = cpu.id * NR_VECTORS + vector;
    if (this.#underWay[slot] === 0) return;
    this.#underWay[slot] = 0;
    join(this.#clocks[cpu.id], this.#sent[slot]!);
  }

  cpuStarted(t: Thread, cpu: number): void {
    const mine = this.#clocks[t.cpu.id];
    join(this.#clocks[cpu], mine);
    mine[t.cpu.id]++;
  }

  exchanged(a: Cpu, b: Cpu): void {
    const [ca, cb] = [this.#clocks[a.id], this.#clocks[b.id]];
    join(ca, cb);
    copy(cb, ca);
    ca[a.id]++;
    cb[b.id]++;
    const thread = this.#running[a.id];
    this.#running[a.id] = this.#running[b.id];
    this.#running[b.id] = thread;
  }

  switchTo(cpu: Cpu, next: Thread): void {
    const mine = this.#clocks[cpu.id];
    const prev = this.#running[cpu.id];
    if (prev !== null) {
      const left = this.#thread(prev);
      left.cpu = cpu.id;
      copy(left.clock, mine);
      mine[cpu.id]++;
    }
    if (next.pid === 0) {
      this.#running[cpu.id] = null;
      return;
    }
    this.#running[cpu.id] = next;
    const left = next.shadow as ThreadShadow | null;
    if (left === null || left.of !== this) return;
    if (left.cpu !== -1 && left.cpu !== cpu.id) join(mine, left.clock);
  }

  lockTaken(t: Thread, lock: LockOwner, mode: LockMode): void {
    const shadow = lock.shadow as LockShadow | null;
    if (shadow === null || shadow.of !== this) return;
    this.#see(t.cpu, shadow.writer);
    const { readers } = shadow;
    if (readers === null || isShared(mode)) return;
    join(this.#clocks[t.cpu.id], readers);
    shadow.readers = null;
  }

  lockReleased(t: Thread, lock: LockOwner, mode: LockMode): void {
    let shadow = lock.shadow as LockShadow | null;
    if (shadow === null || shadow.of !== this) {
      lock.shadow = shadow = new LockShadow(this, this.#nrCpus);
    }
    const mine = this.#clocks[t.cpu.id];
    if (isShared(mode)) {
      if (shadow.readers === null) shadow.readers = mine.slice();
      else join(shadow.readers, mine);
      mine[t.cpu.id]++;
    } else this.#let(t.cpu, shadow.writer);
  }

  /** What comes after all were done comes after what all did. */
  quiet(): void {
    const clocks = this.#clocks;
    for (let i = 1; i < clocks.length; i++) join(clocks[0], clocks[i]);
    for (let i = 1; i < clocks.length; i++) copy(clocks[i], clocks[0]);
    for (let i = 0; i < clocks.length; i++) clocks[i][i]++;
  }

  #thread(t: Thread): ThreadShadow {
    const shadow = t.shadow as ThreadShadow | null;
    if (shadow !== null && shadow.of === this) return shadow;
    const fresh = new ThreadShadow(this, this.#nrCpus);
    t.shadow = fresh;
    return fresh;
  }

  #shadow(cell: Cell<unknown>): CellShadow {
    const shadow = cell.shadow as CellShadow | null;
    if (shadow !== null && shadow.of === this) return shadow;
    const fresh = new CellShadow(this);
    cell.shadow = fresh;
    return fresh;
  }

  /** `cpu` lets others see what it knows, by a value in `shadow`'s cell. */
  #publish(cpu: Cpu, shadow: CellShadow): void {
    shadow.published ??= new Publication(this.#nrCpus);
    this.#let(cpu, shadow.published);
  }

  #let(cpu: Cpu, publication: Publication): void {
    const mine = this.#clocks[cpu.id];
    copy(publication.clock, mine);
    publication.cpu = cpu.id;
    publication.epoch = mine[cpu.id]++;
  }

  /** `cpu` knows from here on what `publication` says. */
  #see(cpu: Cpu, publication: Publication): void {
    const mine = this.#clocks[cpu.id];
    const by = publication.cpu;
    if (by === -1 || by === cpu.id || mine[by] >= publication.epoch) return;
    join(mine, publication.clock);
  }

  /** Compares an access with those before, and remembers it. */
  #access(
    t: Thread,
    kind: number,
    cell: Cell<unknown>,
    plainWrite: boolean,
  ): void {
    if (cell.holder !== null) return;
    const { accesses } = this.#shadow(cell);
    const cpu = t.cpu.id;
    const clock = this.#clocks[cpu];
    const epoch = clock[cpu];
    let known = false;
    let kept = 0;
    for (let i = 0; i < accesses.length; i++) {
      const a = accesses[i];
      const before = a.cpu === cpu || a.epoch <= clock[a.cpu];
      if (!before && (plainWrite || a.plainWrite)) {
        throw raceReport(t, kind, cell, a);
      }
      if (a.cpu === cpu && a.epoch === epoch && (a.plainWrite || !plainWrite)) {
        known = true;
      } else if (before && (plainWrite || !a.plainWrite)) {
        this.#free.push(a); // whatever races with it races with this one too
        continue;
      }
      accesses[kept++] = a;
    }
    accesses.length = kept;
    if (known) return;
    const access = this.#free.pop() ?? new Access();
    access.note(t, epoch, plainWrite, kind);
    accesses.push(access);
  }
}

/** What `cpu` runs below its interrupts; `null` = its idle thread, or nothing. */
function threadOf(cpu: Cpu): Thread | null {
  let context: Context | null = cpu.top;
  while (context !== null && context.below !== null) context = context.below;
  const thread = context as Thread | null;
  return thread === null || thread.pid === 0 ? null : thread;
}

function isShared(mode: LockMode): boolean {
  return mode === LockMode.SPIN_READ || mode === LockMode.SLEEP_READ;
}
