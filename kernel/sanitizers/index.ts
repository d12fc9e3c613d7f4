/** Every sanitizer there is, by the name that `--sanitize=` takes. */
import { nearest } from "../../arch/sim/nearest.ts";
import type { Kernel } from "../kernel.ts";
import { AreaSanitizer } from "./areas.ts";
import { KasanSanitizer } from "./kasan.ts";
import { LockdepSanitizer } from "./lockdep.ts";
import { RaceSanitizer } from "./race.ts";
import { RcuSanitizer } from "./rcu.ts";
import type { Sanitizer } from "./sanitizer.ts";
import { Sanitizers } from "./sanitizers.ts";
import { TlbSanitizer } from "./tlb.ts";

/** One sanitizer, for lists. */
export interface SanitizerEntry {
  /** What {@linkcode BootOptions.sanitize} and `--sanitize=` take. */
  readonly name: string;
  /** What it finds, in a line. */
  readonly summary: string;
  /**
   * Makes one for `k`.
   *
   * @internal
   */
  readonly make: (k: Kernel) => Sanitizer;
}

/**
 * All of them, in the order in which they are asked.
 *
 * @example
 * ```ts
 * import { boot, SANITIZERS, vfree, vmalloc } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const names = SANITIZERS.map(({ name }) => name);
 * const [plain, watched] = [[], names].map((sanitize) =>
 *   boot({ sanitize }).run(function* (t) {
 *     yield* vfree(t, yield* vmalloc(t, 4096));
 *     return t.cpu.clock;
 *   })
 * );
 * assertEquals(plain, watched); // they take no virtual time
 * ```
 */
export const SANITIZERS: readonly SanitizerEntry[] = [
  {
    name: "tlb",
    summary: "translations used, or alive, that must be gone",
    make: (k) => new TlbSanitizer(k),
  },
  {
    name: "areas",
    summary: "address ranges, blocks and counters that do not add up",
    make: (k) => new AreaSanitizer(k),
  },
  {
    name: "kasan",
    summary: "kernel objects used after they were freed, freed twice, leaked",
    make: (k) => new KasanSanitizer(k),
  },
  {
    name: "race",
    summary: "unlocked conflicting accesses to plain cells",
    make: (k) => new RaceSanitizer(k),
  },
  {
    name: "lockdep",
    summary: "lock order, interrupt safety, sleeping and waiting while atomic",
    make: (k) => new LockdepSanitizer(k),
  },
  {
    name: "rcu",
    summary: "readers and elements whose grace period is over",
    make: (k) => new RcuSanitizer(k),
  },
];

/**
 * Switches sanitizers on: from now on they see all that `k` does.
 *
 * @param names Of {@linkcode SANITIZERS}.
 * @throws {RangeError} If there is no sanitizer of a name.
 */
export function sanitize(k: Kernel, names: readonly string[]): Sanitizers {
  const entries = SANITIZERS.filter(({ name }) => names.includes(name));
  const unknown = names.find((name) =>
    !SANITIZERS.some((s) => s.name === name)
  );
  if (unknown !== undefined) {
    throw new RangeError(
      `Cannot switch on the sanitizer "${unknown}" as there is no such sanitizer: did you mean "${
        nearest(unknown, SANITIZERS.map(({ name }) => name))
      }"?`,
    );
  }
  const all = new Sanitizers(entries.map(({ make }) => make(k)));
  k.sanitizers = all;
  k.machine.engine.observer ??= all;
  return all;
}
