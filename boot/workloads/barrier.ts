/** A starting line for threads: none passes before the last has come. */
import {
  atomic_add_return,
  spin_until,
  type Steps,
  store,
} from "../../arch/asm.ts";
import { Cell } from "../../arch/hw/cell.ts";
import type { Thread } from "../../kernel/thread.ts";

/** The line; for `count` threads, once. */
export class Barrier {
  readonly #arrived = new Cell("barrier.arrived", 0);
  readonly #open = new Cell("barrier.open", 0);

  constructor(readonly count: number) {}

  /** @returns Whether this thread was the last, which finds all others waiting. */
  *wait(t: Thread, whenLast: () => void): Steps<boolean> {
    const n = yield* atomic_add_return(t, this.#arrived, 1);
    if (n < this.count) {
      yield* spin_until(t, this.#open, -1, 1);
      return false;
    }
    whenLast();
    yield* store(t, this.#open, 1);
    return true;
  }
}
