/**
 * The order of start_kernel() is a table, so it can be broken. This one swaps
 * vmalloc_init() and its first user: on a NUMA machine vfs_caches_init() takes
 * the hash tables of dentries and inodes from vmalloc space (hashdist=1). The
 * kernel oopses as on a machine, and the oops names what is missing.
 *
 *     deno run examples/broken_boot_order.ts
 */
import { boot, type BootStep, KernelBug, START_KERNEL_STEPS } from "../mod.ts";

const INIT = "vmalloc_init";
const USER = "vfs_caches_init";

/** The usual steps, but INIT comes right after USER. */
function swapped(): BootStep[] {
  const init = START_KERNEL_STEPS.find(({ name }) => name === INIT)!;
  return START_KERNEL_STEPS.filter((step) => step !== init)
    .flatMap((step) => step.name === USER ? [step, init] : [step]);
}

/** @returns The lines to print. */
export function main(): string[] {
  const log: string[] = [];
  try {
    boot({ steps: swapped(), onLog: (line) => log.push(line) });
  } catch (error) {
    if (!(error instanceof KernelBug)) throw error;
    return [
      ...log,
      error.headline,
      `CPU ${error.cpu}, pid ${error.pid}, comm: ${error.comm}`,
      "Call Trace:",
      ...error.trace.map((symbol) => ` ${symbol}`),
    ];
  }
  return [...log, "It has booted nevertheless"];
}

if (import.meta.main) console.log(main().join("\n"));
