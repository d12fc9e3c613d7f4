/**
 * What running ahead changes on machines larger than that of 2008: the rewrite,
 * all CPUs busy, in the usual order and in the strict one.
 */
import { generic } from "../../arch/hw/presets/generic.ts";
import { closeups } from "./calibrate_cells.ts";
import { markdownTable } from "../../docs/boot_steps.ts";

/** CPUs, and operations of each. */
const SIZES: readonly (readonly [cpus: number, ops: number])[] = [
  [16, 8000],
  [64, 4000],
  [256, 1500],
];
const CORES_PER_SOCKET = 4;
const SEEDS: readonly number[] = [1, 2, 3, 4];

/** Time of one operation for each seed, ns. */
function timesOf(cpus: number, ops: number, runAheadCycles?: number): number[] {
  const spec = generic(cpus / CORES_PER_SOCKET, CORES_PER_SOCKET);
  const amount = { vmlistOps: 0, rewriteOps: cpus * ops };
  return SEEDS.map((seed) => {
    const options = { amount, seed, runAheadCycles };
    const [{ nsPerOp }] = closeups(spec, "rewrite", [cpus], options);
    return nsPerOp;
  });
}

function mean(all: readonly number[]): number {
  return all.reduce((a, b) => a + b, 0) / all.length;
}

/** Half the spread of `all`, percent of their mean. */
function spread(all: readonly number[]): string {
  const half = (Math.max(...all) - Math.min(...all)) / 2;
  return `±${(half / mean(all) * 100).toFixed(1)}`;
}

/** A row a machine. `onPart` is told before each. */
export function largerTable(onPart: (what: string) => void): string {
  return markdownTable(
    ["CPUs", "strict, ns", "Seeds, %", "usual, ns", "Seeds, %", "Change, %"],
    SIZES.map(([cpus, ops]) => {
      onPart(`${cpus} CPUs`);
      const strict = timesOf(cpus, ops, 0);
      const usual = timesOf(cpus, ops);
      const change = (mean(usual) / mean(strict) - 1) * 100;
      return [
        String(cpus),
        mean(strict).toFixed(0),
        spread(strict),
        mean(usual).toFixed(0),
        spread(usual),
        `${change > 0 ? "+" : ""}${change.toFixed(1)}`,
      ];
    }),
  );
}

/** How many parts {@linkcode largerTable} announces. */
export const LARGER_PARTS: number = SIZES.length;
