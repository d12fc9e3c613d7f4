import { assert } from "@std/assert";
import { load } from "../../arch/asm.ts";
import { Cell } from "../../arch/hw/cell.ts";
import { Sanitizers } from "../../kernel/sanitizers/sanitizers.ts";
import { vm_unmap_aliases } from "../../kernel/mm/vmap.ts";
import { ExploreMachine } from "./machine.ts";
import { RuleChooser } from "./rule.ts";

Deno.test("sanitizers are told of operations as soon as there are some: in early calls and the rest of the boot", () => {
  let early = true;
  const counts = { early: 0, boot: 0, round: 0 };
  let round = false;
  const m = new ExploreMachine({
    *early(t) {
      t.k.sanitizers = new Sanitizers([{
        operation: () =>
          void counts[early ? "early" : round ? "round" : "boot"]++,
      }]);
      yield* load(t, new Cell("cell", 0));
      early = false;
    },
  });
  round = true;
  m.run([vm_unmap_aliases], new RuleChooser());
  assert(counts.early > 0 && counts.boot > 0 && counts.round > 0);
});
