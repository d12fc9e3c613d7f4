import { assert, assertEquals } from "@std/assert";
import { findPreset } from "../../arch/hw/presets/index.ts";
import { withCpus } from "../../arch/hw/validate.ts";
import { charge, type Steps } from "../../arch/asm.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import { vfree, vmalloc } from "../../kernel/mm/vmalloc.ts";
import type { Thread } from "../../kernel/thread.ts";
import { boot } from "../boot.ts";
import { mixed_run, type MixedDone } from "./mixed.ts";
import type { Part } from "./part.ts";

/** Allocates and frees; forgets every `leakEvery`th. */
class Churn implements Part {
  readonly name = "churn";
  readonly unit = "allocations";
  readonly calls: string[] = [];
  #count = 0;

  constructor(
    readonly tasks: number,
    readonly leakEvery: number,
    readonly reason: string | null = null,
  ) {}

  // deno-lint-ignore require-yield -- nothing to wait for
  *prepare(): Steps<string | null> {
    this.calls.push("prepare");
    return this.reason;
  }

  *step(t: Thread): Steps {
    charge(t, 2000);
    const addr = yield* vmalloc(t, 4096);
    this.#count++;
    // Never in the first round, which makes what stays.
    if (this.#count > this.tasks && this.#count % this.leakEvery === 0) return;
    yield* vfree(t, addr);
  }

  // deno-lint-ignore require-yield -- nothing to wait for
  *finish(): Steps {
    this.calls.push("finish");
  }
}

function runOf(cpus: number, parts: readonly Part[]): [MixedDone, Kernel] {
  const booted = boot({ spec: withCpus(findPreset("opteron-2x4"), cpus) });
  const windowCycles = booted.machine.toCycles(2e6);
  const done = booted.run((t) => mixed_run(t, { parts, windowCycles }));
  return [done, booted.kernel];
}

Deno.test("mixed_run() gets ready twice, and finds everything returned", () => {
  const part = new Churn(3, Infinity);
  const [{ parts, before, after, windowCycles }] = runOf(4, [part]);
  assertEquals(part.calls, ["prepare", "finish", "prepare", "finish"]);
  assert(parts[0].ops > 30);
  assertEquals(after, before);
  assert(windowCycles >= 2e6 * 2.3);
});

Deno.test("mixed_run() finds what is not returned", () => {
  const [{ before, after, parts }] = runOf(4, [new Churn(2, 10)]);
  const lost = after.areas - before.areas;
  assert(lost >= Math.floor(parts[0].ops / 10) - 1 && lost > 0, `${lost}`);
  assertEquals(after.pages - before.pages, lost);
});

Deno.test("mixed_run() lets every task have its turn where CPUs are few", () => {
  const many = [new Churn(2, Infinity), new Churn(2, Infinity)];
  const [{ parts }] = runOf(1, many);
  const [a, b] = parts.map(({ ops }) => ops);
  assert(a > 10 && Math.abs(a - b) <= 2, `${a}, ${b}`);
});

Deno.test("mixed_run() leaves out a part that cannot run", () => {
  const out = new Churn(2, Infinity, "no reason");
  const [{ parts }] = runOf(2, [out, new Churn(1, Infinity)]);
  assertEquals(out.calls, ["prepare"]);
  assertEquals([parts[0].ops, parts[0].skipped], [0, "no reason"]);
  assertEquals(parts[1].skipped, null);
});
