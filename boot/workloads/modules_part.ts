/** Modules loaded and unloaded, as a part of the mixed run (mixed.ts); see modules.ts. */
import type { Steps } from "../../arch/asm.ts";
import { Rng } from "../../arch/sim/random.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import type { Thread } from "../../kernel/thread.ts";
import { type ModuleFiles, ModuleTrial } from "./modules.ts";
import type { Part, PartMaker } from "./part.ts";

/** Threads that load, compare and unload modules. */
export class ModulesPart implements Part {
  readonly name = "modules";
  readonly unit = "modules loaded and unloaded";
  readonly #trial: ModuleTrial;
  readonly #rngs: readonly Rng[];
  #begun = false;

  constructor(k: Kernel, readonly tasks: number, files: ModuleFiles) {
    this.#trial = new ModuleTrial(files);
    const seeds = new Rng(k.params.seed);
    this.#rngs = Array.from(
      { length: tasks },
      () => new Rng(seeds.nextU32()),
    );
  }

  *prepare(t: Thread): Steps<string | null> {
    if (t.machine.mmu.format.name !== "x86-64") {
      return "the modules are x86-64 objects";
    }
    if (!this.#begun) yield* this.#trial.begin(t);
    this.#begun = true;
    return null;
  }

  step(t: Thread, id: number): Steps {
    return this.#trial.load_and_unload(t, id, this.#rngs[id]);
  }

  *finish(t: Thread): Steps {
    if (this.#begun) yield* this.#trial.end(t);
    this.#begun = false;
  }
}

/** A part with `tasks` threads that load and unload the modules in `files`. */
export function modulesPart(files: ModuleFiles, tasks: number): PartMaker {
  return { initcalls: [], make: (k) => new ModulesPart(k, tasks, files) };
}
