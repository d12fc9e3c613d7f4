/** Turns what a run threw into the report of an oops. */
import { PageFault } from "../arch/hw/mmu.ts";
import { type Context, StackOverflow } from "../arch/sim/context.ts";
import type { Cpu } from "../arch/sim/cpu.ts";
import { Deadlock } from "../arch/sim/engine.ts";
import { KernelBug } from "../kernel/bug.ts";
import { SanitizerReport } from "../kernel/sanitizers/report.ts";
import { Thread } from "../kernel/thread.ts";
import type { OopsReport, WaitingCpu } from "./oops.ts";

/**
 * What happened to the emulated kernel; `null` if `error` is none of its
 * failures but a mistake in vmaplab itself.
 *
 * @param clockHz Clock of the machine, hertz.
 */
export function oopsOf(
  error: unknown,
  clockHz: number,
  seed: number | null,
): OopsReport | null {
  const ns = (cycles: number) => cycles * 1e9 / clockHz;
  if (error instanceof KernelBug) {
    const { headline, cpu, comm, pid, trace } = error;
    const atNs = ns(error.atCycles);
    return {
      headline,
      atNs,
      where: { cpu, comm, pid, trace },
      waiting: [],
      ...(error instanceof SanitizerReport
        ? { sections: error.sections }
        : null),
      seed,
    };
  }
  if (error instanceof Deadlock) {
    const clocks = error.waiting.map((cpu) => cpu.clock);
    return {
      headline: error.headline,
      atNs: clocks.length === 0 ? null : ns(Math.max(...clocks)),
      where: null,
      waiting: error.waiting.map(waitingCpu),
      seed,
    };
  }
  if (error instanceof StackOverflow || error instanceof PageFault) {
    return {
      headline: error.message,
      atNs: null,
      where: null,
      waiting: [],
      seed,
    };
  }
  return null;
}

function waitingCpu(cpu: Cpu): WaitingCpu {
  const top: Context | null = cpu.top;
  return {
    cpu: cpu.id,
    comm: top?.name ?? "?",
    pid: top instanceof Thread ? top.task.pid : 0,
    what: top?.op?.describe() ?? "nothing",
    trace: top?.backtrace() ?? [],
  };
}
