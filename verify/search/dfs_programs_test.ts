/** The exhaustive search on programs of API calls: what sleep sets leave out is nothing new. */
import { assert, assertEquals } from "@std/assert";
import { Rng } from "../../arch/sim/random.ts";
import { SANITIZERS } from "../../kernel/sanitizers/index.ts";
import { Dfs } from "../explore/dfs.ts";
import { generate } from "../programs/generate.ts";
import { type CaseMachine, exploreOptions, Lab } from "./case.ts";

const MACHINE: CaseMachine = {
  cpus: 2,
  nrCpus: 2,
  pages: 64,
  lazyMax: 2,
  vmap: "rewrite",
  quirks: [],
  sanitize: SANITIZERS.map(({ name }) => name),
  faults: [],
};

/** Where everything is when a run has ended. */
function stateOf({ machine, world }: Lab): string {
  const tlbs = machine.machine.mmu.tlbs.map((tlb) => {
    const pages: number[] = [];
    tlb.forEach((vpn) => void pages.push(vpn));
    return pages.sort((a, b) => a - b);
  });
  return JSON.stringify([
    world.slots.map(({ mappings }) => mappings.map(({ addr }) => addr)),
    world.pool.map(({ mapped }) => mapped),
    machine.k.vmap.counters(),
    tlbs,
  ]);
}

/** All final states of a program's schedules with one preemption; an oops is one too. */
function search(seed: number, quirks: readonly string[], reduce: boolean) {
  const machine = { ...MACHINE, quirks };
  const { early, tasks } = generate(new Rng(seed), 2, true);
  const program = { early, tasks: tasks.map((ops) => ops.slice(0, 2)) };
  const dfs = new Dfs({ preemptions: 1, reduce });
  const states = new Set<string>();
  let lab: Lab | null = null;
  let runs = 0;
  for (let more = true; more; runs++) {
    try {
      more = dfs.run(exploreOptions(machine, program), (m) => {
        lab = new Lab(m, []);
        return lab.world.functions(program);
      }, () => states.add(stateOf(lab!)));
    } catch (error) {
      const { headline } = error as { headline?: string };
      if (headline === undefined) throw error;
      states.add(headline);
    }
  }
  return { states: [...states].sort(), runs };
}

Deno.test("programs of API calls end in the same states, findings among them, with and without reduction", () => {
  let full = 0;
  let reduced = 0;
  let findings = 0;
  for (const quirks of [[], ["insert-overlap"], ["lazy-counter-after-flag"]]) {
    for (const seed of [1, 2, 9, 11]) {
      const all = search(seed, quirks, false);
      const few = search(seed, quirks, true);
      assertEquals(few.states, all.states);
      full += all.runs;
      reduced += few.runs;
      if (all.states.some((state) => !state.startsWith("["))) findings++;
    }
  }
  assert(findings > 0);
  assert(reduced * 1.5 < full, `${reduced} of ${full}`);
});
