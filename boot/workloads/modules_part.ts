/** Modules loaded and unloaded, as a part of the mixed run (mixed.ts); see modules.ts. */
import type { Steps } from "../../arch/asm.ts";
import { Rng } from "../../arch/sim/random.ts";
import type { Thread } from "../../kernel/thread.ts";
import { type ModuleFiles, ModuleTrial } from "./modules.ts";
import type { Part, PartMaker } from "./part.ts";

/** A part with `tasks` threads that load and unload the modules in `files`. */
export function modulesPart(files: ModuleFiles, tasks: number): PartMaker {
  return {
    initcalls: [],
    make(k): Part {
      const trial = new ModuleTrial(files);
      const seeds = new Rng(k.params.seed);
      const rngs = Array.from(
        { length: tasks },
        () => new Rng(seeds.nextU32()),
      );
      let begun = false;
      return {
        name: "modules",
        unit: "modules loaded and unloaded",
        tasks,
        *prepare(t: Thread): Steps<string | null> {
          if (t.machine.mmu.format.name !== "x86-64") {
            return "modules are x86-64 objects";
          }
          if (!begun) yield* trial.begin(t);
          begun = true;
          return null;
        },
        step: (t: Thread, id: number): Steps =>
          trial.load_and_unload(t, id, rngs[id]),
        *finish(t: Thread): Steps {
          if (begun) yield* trial.end(t);
          begun = false;
        },
      };
    },
  };
}
