/**
 * Fits the two constants that sources leave open, each to one cell of the
 * one-thread row: cycles per instruction to the rewrite's, which touches no
 * clock; then the clock device's read to vanilla's.
 */
import type { MachineSpec } from "../../arch/hw/spec.ts";
import { cell, type CellOptions, MEASURED } from "./calibrate_cells.ts";
import { withConstants } from "./calibrate_constants.ts";

const CPI = "cyclesPerInstruction";
const READ = "clocksource.readCycles";

/** Where the fit looks. */
const CPI_RANGE: readonly [number, number] = [1, 4];
const CPI_STEP = 1 / 512;
const READ_RANGE: readonly [number, number] = [200, 5000];

/** What the sources give for one read of the device, ns; see the preset. */
export const READ_NS: readonly [number, number] = [500, 1500];

/** The fitted constants. */
export interface Fit {
  readonly cyclesPerInstruction: number;
  readonly readCycles: number;
}

/**
 * Where `f`, which grows, crosses `target` between `low` and `high`, to within
 * `step`.
 *
 * @throws {RangeError} If it crosses outside.
 */
export function bisect(
  f: (x: number) => number,
  target: number,
  [low, high]: readonly [number, number],
  step: number,
): number {
  if (f(low) > target || f(high) < target) {
    throw new RangeError(
      `Cannot fit as the target must lie between the values at ${low} and ${high}: current value is ${target}`,
    );
  }
  while (high - low > step) {
    const middle = low + Math.round((high - low) / 2 / step) * step;
    if (f(middle) < target) low = middle;
    else high = middle;
  }
  return target - f(low) < f(high) - target ? low : high;
}

/** Fits both. @throws {RangeError} If one has no place in its range. */
export function fit(spec: MachineSpec, options: CellOptions = {}): Fit {
  const cyclesPerInstruction = bisect(
    (cpi) => cell(withConstants(spec, { [CPI]: cpi }), "rewrite", 1, options),
    MEASURED.rewrite[0],
    CPI_RANGE,
    CPI_STEP,
  );
  const readCycles = bisect(
    (read) =>
      cell(
        withConstants(spec, { [CPI]: cyclesPerInstruction, [READ]: read }),
        "vmlist",
        1,
        options,
      ),
    MEASURED.vmlist[0],
    READ_RANGE,
    1,
  );
  return { cyclesPerInstruction, readCycles };
}

/** `spec` with the constants of `fitted`. */
export function withFit(spec: MachineSpec, fitted: Fit): MachineSpec {
  return withConstants(spec, {
    [CPI]: fitted.cyclesPerInstruction,
    [READ]: fitted.readCycles,
  });
}

/** `fitted` as the preset states it. */
export function rounded(fitted: Fit): Fit {
  return {
    cyclesPerInstruction: Math.round(fitted.cyclesPerInstruction * 20) / 20,
    readCycles: Math.round(fitted.readCycles / 10) * 10,
  };
}
