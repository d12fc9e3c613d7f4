/**
 * What a function that other CPUs may run inside of returns.
 *
 * A generator function satisfies it, and so does one pending operation of
 * `arch/asm.ts`; both are used as `const v = yield* f(t)`.
 */
export type Steps<T = void> = Iterable<void, T, void>;

/** A started {@linkcode Steps}: what the engine resumes. */
export type StepIterator = Iterator<void, unknown, void>;
