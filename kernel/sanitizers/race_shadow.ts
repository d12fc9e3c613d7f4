/**
 * What the race sanitizer remembers: of a cell, who has used it and when; of a
 * cell or a lock, what whoever let go of it last had seen.
 */
import type { Thread } from "../thread.ts";
import type { Spot } from "./report.ts";

/**
 * One entry for each CPU: how far it is known to have come. A plain array: V8
 * makes a small one much faster than a typed one, and many are made.
 */
export type VectorClock = number[];

/** A clock that knows nothing of anybody. */
export function newClock(nrCpus: number): VectorClock {
  const clock: VectorClock = [];
  for (let i = 0; i < nrCpus; i++) clock.push(0);
  return clock;
}

/** One access to a cell, kept for a report that may come later. Reused. */
export class Access {
  cpu = 0;
  /** The CPU's own entry of its clock at the time. */
  epoch = 0;
  /** Whether it was a plain write, which no other may come beside. */
  plainWrite = false;
  /** An `OpKind`. */
  kind = 0;
  #task: Thread | null = null;
  #atCycles = 0;
  #depth = 0;
  readonly #stack: number[] = [];

  /** Fills it in with what `t` does now. */
  note(t: Thread, epoch: number, plainWrite: boolean, kind: number): void {
    const { stack, depth } = t;
    this.cpu = t.cpu.id;
    this.epoch = epoch;
    this.plainWrite = plainWrite;
    this.kind = kind;
    this.#task = t.task;
    this.#atCycles = t.cpu.clock;
    this.#depth = depth;
    for (let i = 0; i < depth; i++) this.#stack[i] = stack[i];
  }

  spot(): Spot {
    return {
      comm: this.#task!.name,
      pid: this.#task!.pid,
      cpu: this.cpu,
      atCycles: this.#atCycles,
      stack: this.#stack.slice(0, this.#depth).reverse(),
    };
  }
}

/** What somebody knew when it published a value or let go of a lock. */
export class Publication {
  /** Who; -1 = nobody yet. */
  cpu = -1;
  /** Its epoch then: whoever has seen that has seen all of `clock`. */
  epoch = 0;
  readonly clock: VectorClock;

  constructor(nrCpus: number) {
    this.clock = newClock(nrCpus);
  }
}

/** Of one cell. Invariant: at most one plain write, and no two accesses of one CPU of one kind. */
export class CellShadow {
  /** Accesses that a later one may race with. */
  readonly accesses: Access[] = [];
  /** By whoever wrote a marked value last. */
  published: Publication | null = null;

  /** `of`: the sanitizer whose it is. */
  constructor(readonly of: unknown) {}
}

/** Of one lock. */
export class LockShadow {
  /** By its last exclusive holder. */
  readonly writer: Publication;
  /** By all readers since, together; `null` = none. */
  readers: VectorClock | null = null;

  /** `of`: the sanitizer whose it is. */
  constructor(readonly of: unknown, nrCpus: number) {
    this.writer = new Publication(nrCpus);
  }
}

/** Of one thread or interrupt handler. */
export class ThreadShadow {
  /** Where it ran when it was switched out; -1 = it has not been. */
  cpu = -1;
  /** What it knew then. */
  readonly clock: VectorClock;

  /** `of`: the sanitizer whose it is. */
  constructor(readonly of: unknown, nrCpus: number) {
    this.clock = newClock(nrCpus);
  }
}

/** Takes into `clock` what `other` knows. */
export function join(clock: VectorClock, other: VectorClock): void {
  for (let i = 0; i < clock.length; i++) {
    if (other[i] > clock[i]) clock[i] = other[i];
  }
}

/** Makes `to` equal to `from`. A loop: `set()` costs more on so few numbers. */
export function copy(to: VectorClock, from: VectorClock): void {
  for (let i = 0; i < to.length; i++) to[i] = from[i];
}
