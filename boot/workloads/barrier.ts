/**
 * A starting line for threads: none passes before the last has come. They sleep
 * there; spinning on every CPU would keep whoever is to bring the last one from
 * running.
 */
import { atomic_add_return, type Steps } from "../../arch/asm.ts";
import { Cell } from "../../arch/hw/cell.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import {
  complete_all,
  Completion,
  wait_for_completion,
} from "../../kernel/locking/completion.ts";
import type { Thread } from "../../kernel/thread.ts";

/** The line; for `count` threads, once. */
export class Barrier {
  readonly #arrived = new Cell("barrier.arrived", 0);
  readonly #open: Completion;

  constructor(k: Kernel, readonly count: number) {
    this.#open = new Completion(k, "barrier.open");
  }

  /** @param whenLast Called by the last to come, before anybody passes. */
  *wait(t: Thread, whenLast: () => void): Steps {
    const n = yield* atomic_add_return(t, this.#arrived, 1);
    if (n < this.count) {
      yield* wait_for_completion(t, this.#open);
      return;
    }
    whenLast();
    yield* complete_all(t, this.#open);
  }
}
