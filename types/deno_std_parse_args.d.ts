/**
 * Types of `@std/cli/parse-args`, as far as the command line uses it: see
 * `deno_std_assert.d.ts` for how this file is found.
 *
 * Narrower than the package: names in `boolean`, `string`, `collect` and
 * `negatable` give typed fields, any other flag is `unknown`; dotted names and
 * the forms that are a lone string or `boolean: true` are not declared.
 */
declare module "@std/cli/parse-args" {
  /** How flags are read. A name stands in `boolean` or in `string`, not in both. */
  export interface ParseOptions<
    B extends string = string,
    S extends string = string,
    C extends string = string,
    N extends string = string,
    D extends object = object,
  > {
    /** Flags that take no value; `false` when absent. */
    boolean?: readonly B[];
    /** Flags whose value stays text; `undefined` when absent. */
    string?: readonly S[];
    /** Flags that may repeat: all their values, in order. */
    collect?: readonly C[];
    /** Flags that `--no-NAME` sets to `false`. */
    negatable?: readonly N[];
    /** Values of absent flags. */
    default?: D;
    /** Other names of a flag. */
    alias?: Readonly<Record<string, string | readonly string[]>>;
    /** Stop at the first argument that is no flag. */
    stopEarly?: boolean;
    /** Put what follows `--` in `"--"` of the result, not in `_`. */
    "--"?: boolean;
    /** Called on an undeclared argument; `false` drops it. */
    unknown?: (arg: string, key?: string, value?: unknown) => unknown;
  }

  /** One value, or all of them when `K` is collected. */
  type Collected<K, C, T, Absent> = K extends C ? T[] : T | Absent;
  type Negated<K, N> = K extends N ? false : never;
  /** `undefined` unless `default` gives a value. */
  type Missing<K, D> = K extends keyof D ? D[K] : undefined;

  /** What {@linkcode parseArgs} returns. */
  export type Args<
    B extends string,
    S extends string,
    C extends string,
    N extends string,
    D extends object,
  > =
    & { [K in B]: Collected<K, C, boolean, never> }
    & { [K in S]: Collected<K, C, string, Missing<K, D> | Negated<K, N>> }
    & { _: (string | number)[]; "--"?: string[] }
    & { [name: string]: unknown };

  /** Reads `args` into flags, and operands in `_`. Numbers among the operands are converted unless `string` has `"_"`. */
  export function parseArgs<
    const B extends string = never,
    const S extends string = never,
    const C extends string = never,
    const N extends string = never,
    D extends object = Record<never, never>,
  >(
    args: readonly string[],
    options?: ParseOptions<B, S, C, N, D>,
  ): Args<B, S, C, N, D>;
}
