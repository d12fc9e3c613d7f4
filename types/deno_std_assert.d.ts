/**
 * Types of `@std/assert`, as far as the tests use it.
 *
 * `deno.json` maps the name to npm:deno-std, which is plain JavaScript; without
 * this file every import from it is `any`, and `assert(x)` narrows nothing.
 * TypeScript prefers an ambient module to the resolved file, and
 * `compilerOptions.types` in `deno.json` loads this one for every importer, so
 * no import needs a pragma. Keep to what the package really exports: nothing
 * checks these lines against it but `types/deno_std_test.ts`.
 */
declare module "@std/assert" {
  // deno-lint-ignore no-explicit-any -- a class is matched whatever its constructor takes
  type AnyClass<T> = abstract new (...args: any[]) => T;

  /** Thrown by every assertion below. */
  export class AssertionError extends Error {
    constructor(message: string, options?: ErrorOptions);
  }

  /** Throws unless `expr` is truthy; narrows it. */
  export function assert(expr: unknown, msg?: string): asserts expr;
  /** Throws unless `expr` is falsy. */
  export function assertFalse(expr: unknown, msg?: string): void;
  /** Throws always. */
  export function fail(msg?: string): never;
  /** Throws always: marks a branch that cannot be reached. */
  export function unreachable(msg?: string): never;

  /** Deep equality, without an assertion. */
  export function equal(a: unknown, b: unknown): boolean;
  /** Throws unless both are deeply equal. */
  export function assertEquals<T>(actual: T, expected: T, msg?: string): void;
  /** Throws when both are deeply equal. */
  export function assertNotEquals<T>(
    actual: T,
    expected: T,
    msg?: string,
  ): void;
  /** Throws unless `Object.is(actual, expected)`; narrows `actual`. */
  export function assertStrictEquals<T>(
    actual: unknown,
    expected: T,
    msg?: string,
  ): asserts actual is T;
  /** Throws when `Object.is(actual, expected)`. */
  export function assertNotStrictEquals<T>(
    actual: T,
    expected: T,
    msg?: string,
  ): void;
  /** Throws unless both differ by at most `tolerance`, by default 1e-7 of `expected`. */
  export function assertAlmostEquals(
    actual: number,
    expected: number,
    tolerance?: number,
    msg?: string,
  ): void;

  /** Throws on `null` and `undefined`; narrows. */
  export function assertExists<T>(
    actual: T,
    msg?: string,
  ): asserts actual is NonNullable<T>;
  /** Throws unless `actual` is an instance of `expectedType`; narrows. */
  export function assertInstanceOf<T>(
    actual: unknown,
    expectedType: AnyClass<T>,
    msg?: string,
  ): asserts actual is T;

  /** Throws unless `actual > expected`. */
  export function assertGreater<T>(actual: T, expected: T, msg?: string): void;
  /** Throws unless `actual >= expected`. */
  export function assertGreaterOrEqual<T>(
    actual: T,
    expected: T,
    msg?: string,
  ): void;
  /** Throws unless `actual < expected`. */
  export function assertLess<T>(actual: T, expected: T, msg?: string): void;
  /** Throws unless `actual <= expected`. */
  export function assertLessOrEqual<T>(
    actual: T,
    expected: T,
    msg?: string,
  ): void;

  /** Throws unless `actual` contains every item of `expected`. */
  export function assertArrayIncludes<T>(
    actual: ArrayLike<T>,
    expected: ArrayLike<T>,
    msg?: string,
  ): void;
  /** Throws unless `actual` has at least the properties of `expected`, deeply. */
  export function assertObjectMatch(
    actual: object,
    expected: object,
    msg?: string,
  ): void;
  /** Throws unless `actual` matches `expected`. */
  export function assertMatch(
    actual: string,
    expected: RegExp,
    msg?: string,
  ): void;
  /** Throws when `actual` matches `expected`. */
  export function assertNotMatch(
    actual: string,
    expected: RegExp,
    msg?: string,
  ): void;
  /** Throws unless `actual` contains `expected`. */
  export function assertStringIncludes(
    actual: string,
    expected: string,
    msg?: string,
  ): void;

  /** Throws unless `fn` throws; returns what it threw. */
  export function assertThrows(fn: () => unknown, msg?: string): unknown;
  /** As above, and the error must be an `errorClass` whose message contains `msgIncludes`. */
  export function assertThrows<E extends Error>(
    fn: () => unknown,
    errorClass: AnyClass<E>,
    msgIncludes?: string,
    msg?: string,
  ): E;
  /** Rejects unless the promise of `fn` does; resolves to what it rejected with. */
  export function assertRejects(
    fn: () => PromiseLike<unknown>,
    msg?: string,
  ): Promise<unknown>;
  /** As above, and the error must be an `errorClass` whose message contains `msgIncludes`. */
  export function assertRejects<E extends Error>(
    fn: () => PromiseLike<unknown>,
    errorClass: AnyClass<E>,
    msgIncludes?: string,
    msg?: string,
  ): Promise<E>;
}
