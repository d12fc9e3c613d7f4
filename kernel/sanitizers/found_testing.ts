/** Small kernels under sanitizers, and what those find, for tests. */
import type { Steps } from "../../arch/asm.ts";
import { runVm, type VmOptions } from "../mm/vm_testing.ts";
import type { KernelRun } from "../testing.ts";
import type { Thread } from "../thread.ts";
import { sanitize } from "./index.ts";
import { SanitizerReport } from "./report.ts";

/** {@linkcode runVm} under the sanitizer `name`, switched on before `options.before`. */
export function runUnder<T>(
  name: string,
  main: (t: Thread) => Steps<T>,
  options: VmOptions = {},
): KernelRun<T> {
  const before = (t: Thread) => {
    sanitize(t.k, [name]);
    return options.before?.(t);
  };
  return runVm({ ...options, before }, main);
}

/** What `name` finds in `main`; `null` = nothing. */
export function foundIn(
  name: string,
  main: (t: Thread) => Steps<unknown>,
  options: VmOptions = {},
): SanitizerReport | null {
  try {
    runUnder(name, main, options);
    return null;
  } catch (error) {
    if (error instanceof SanitizerReport) return error;
    throw error;
  }
}
