/** What fault injection did in each run, a line a run. */
import type { AnyRun, BootResult, InjectedFaults } from "../boot/results.ts";

/** The lines; empty if nothing was to be injected. */
export function formatInjected(
  { mixed, runs }: BootResult<AnyRun>,
): string {
  const all = mixed === undefined ? runs : [mixed, ...runs];
  return all.flatMap((run) =>
    run.injected === undefined
      ? []
      : [`${nameOf(run)}: ${injectedText(run.injected)}\n`]
  ).join("");
}

function nameOf(run: AnyRun): string {
  const threads = "threads" in run ? `, threads=${run.threads}` : "";
  return `${run.workload}, vmap=${run.vmap}${threads}`;
}

/** Such as `3 operations failed (injected: 2 slab objects, 4 pages, 0 page tables; 0 late IPIs)`. */
function injectedText(injected: InjectedFaults): string {
  return `${counted(injected.failed_ops, "operation")} failed (injected: ${
    [
      counted(injected.failslab, "slab object"),
      counted(injected.fail_page_alloc, "block", " of pages"),
      counted(injected.fail_page_table, "page table"),
    ].join(", ")
  }; ${counted(injected.late_ipis, "late IPI")})`;
}

function counted(n: number, what: string, rest = ""): string {
  return `${n} ${what}${n === 1 ? "" : "s"}${rest}`;
}
