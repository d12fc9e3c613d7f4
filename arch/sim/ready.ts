/**
 * Results that need no waiting, in the shape that `yield*` wants: what a plain
 * fast path returns so that no generator is made for it.
 */
import type { Steps } from "./steps.ts";

/** Holds one result between a fast path's return and the caller's `yield*`. */
export class Ready<T> {
  readonly #result: { done: true; value: T };

  constructor(value: T) {
    this.#result = { done: true, value };
  }

  /** Sets the result. Spend it before the next one is set. */
  give(value: T): Steps<T> {
    this.#result.value = value;
    return this;
  }

  /** The result, for those who need no `yield*` to see it. */
  get value(): T {
    return this.#result.value;
  }

  next(): IteratorResult<void, T> {
    return this.#result;
  }

  [Symbol.iterator](): this {
    return this;
  }
}

/** Nothing to wait for, nothing to say. */
export const DONE: Steps = new Ready<void>(undefined);
