/** The locks that one thread, or one interrupt handler, holds. */
import type { LockOwner } from "../locking/lock_stat.ts";
import type { DepClass } from "./lockdep_class.ts";
import type { LockMode } from "./sanitizer.ts";

/** In the order in which they were taken; parallel arrays, reused. */
export class HeldLocks {
  depth = 0;
  readonly locks: LockOwner[] = [];
  readonly classes: DepClass[] = [];
  readonly modes: LockMode[] = [];
  /** Whether interrupts were on at the time. */
  readonly irqsOn: boolean[] = [];
  /** Symbol of who took it. */
  readonly callers: number[] = [];

  /** `of`: the sanitizer whose it is. */
  constructor(readonly of: unknown) {}

  push(
    lock: LockOwner,
    cls: DepClass,
    mode: LockMode,
    irqsOn: boolean,
    caller: number,
  ): void {
    const i = this.depth++;
    this.locks[i] = lock;
    this.classes[i] = cls;
    this.modes[i] = mode;
    this.irqsOn[i] = irqsOn;
    this.callers[i] = caller;
  }

  /** Where `lock`, taken in `mode`, is: the latest of several; -1 = not held. */
  find(lock: LockOwner, mode: LockMode): number {
    let i = this.depth - 1;
    while (i >= 0 && (this.locks[i] !== lock || this.modes[i] !== mode)) i--;
    return i;
  }

  /** Takes the one at `index` out. */
  remove(index: number): void {
    const last = --this.depth;
    for (let i = index; i < last; i++) {
      this.locks[i] = this.locks[i + 1];
      this.classes[i] = this.classes[i + 1];
      this.modes[i] = this.modes[i + 1];
      this.irqsOn[i] = this.irqsOn[i + 1];
      this.callers[i] = this.callers[i + 1];
    }
  }
}
