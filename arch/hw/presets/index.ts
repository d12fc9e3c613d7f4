/** The machines that `--machine=NAME` knows. */

import { nearest } from "../../sim/nearest.ts";
import type { MachineSpec } from "../spec.ts";
import { altix64 } from "./altix_64.ts";
import { generic } from "./generic.ts";
import { i386_4 } from "./i386_4.ts";
import { opteron2x4 } from "./opteron_2x4.ts";
import { xenPv } from "./xen_pv.ts";
import { xeon2s } from "./xeon_2s.ts";

/** Every preset by name, the default first. `generic` is 16 CPUs until `withCpus()` or `generic()` says otherwise. */
export const PRESETS: Readonly<Record<string, MachineSpec>> = Object.freeze({
  "opteron-2x4": opteron2x4,
  "generic": generic(),
  "i386-4": i386_4,
  "xeon-2s": xeon2s,
  "altix-64": altix64,
  "xen-pv": xenPv,
});

/** Name of the machine used when none is asked for. */
export const DEFAULT_PRESET = "opteron-2x4";

/**
 * The preset called `name`.
 *
 * @throws {RangeError} If there is none; the message names the nearest.
 *
 * @example
 * ```ts
 * import { findPreset } from "@vmaplab/vmaplab";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * assertEquals(findPreset("i386-4").paging.format, "i386-pae");
 * assertThrows(() => findPreset("opteron"), RangeError, "opteron-2x4");
 * ```
 */
export function findPreset(name: string): MachineSpec {
  if (Object.hasOwn(PRESETS, name)) return PRESETS[name];
  const names = Object.keys(PRESETS);
  throw new RangeError(
    `Cannot find a machine as it must be one of ${
      names.join(", ")
    } (nearest is "${nearest(name, names)}"): current value is "${name}"`,
  );
}
