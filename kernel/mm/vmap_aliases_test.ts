import { assertEquals } from "@std/assert";
import { charge_cycles, read_line, type Steps } from "../../arch/asm.ts";
import { CacheLine } from "../../arch/hw/line.ts";
import type { Cpu } from "../../arch/sim/cpu.ts";
import type { Engine } from "../../arch/sim/engine.ts";
import type { Policy } from "../../arch/sim/policy.ts";
import { kthread_join, kthread_run } from "../kthread.ts";
import { Sanitizers } from "../sanitizers/sanitizers.ts";
import type { Thread } from "../thread.ts";
import { count_ptes } from "./pgtable.ts";
import type { RewriteLayer } from "./rewrite_layer.ts";
import { vm_map_ram, vm_unmap_aliases, vm_unmap_ram } from "./vmalloc.ts";
import { PAGE_SIZE, PROT, runVm, take_pages } from "./vm_testing.ts";

/** Lowest clock first, but for one CPU that waits as long as another is due. */
class HoldBack implements Policy {
  /** CPU number; -1 = none. */
  held = -1;

  pick(engine: Engine): Cpu | null {
    const { queue, cpus } = engine;
    const key = (cpu: Cpu) => queue.keyOf(cpu.id);
    const soon = queue.keyOf(queue.first()) + 200_000; // ticks are later
    const due = cpus.filter((cpu) => key(cpu) < soon);
    due.sort((a, b) => key(a) - key(b));
    return due.find(({ id }) => id !== this.held) ?? due[0] ?? null;
  }

  horizon(): number {
    return -Infinity;
  }
}

/**
 * 1. CPU 1 unmaps page 0 of a block of two, then page 1, which retires the block.
 * 2. The block has left the lookup tree; CPU 1 is held there.
 * 3. CPU 0 calls vm_unmap_aliases(): page 0 had been unmapped before.
 */
Deno.test("vm_unmap_aliases() misses no block that is being retired", () => {
  const policy = new HoldBack();
  const params = { vmap_max_alloc: 1, vmap_space: 0 };
  const engine = { policy, runAheadCycles: 0 };
  const left = runVm({ cpus: 2, params, engine }, function* (t) {
    const { vmap_block_tree_lock } = (t.k.vmap as RewriteLayer).state;
    const line = new CacheLine(0);
    let page0 = 0;
    let retiring = false;
    t.k.sanitizers = new Sanitizers([{
      lockReleased(t, lock) {
        if (page0 === 0 || lock !== vmap_block_tree_lock) return;
        retiring = true;
        policy.held = 1;
        charge_cycles(t, 100_000); // CPU 0's interrupts find it here
      },
    }]);
    const use_up_block = function* (t: Thread): Steps {
      const pages = yield* take_pages(t, 1);
      const a = yield* vm_map_ram(t, pages, 1, -1, PROT);
      const b = yield* vm_map_ram(t, pages, 1, -1, PROT);
      yield* vm_unmap_ram(t, a, 1);
      page0 = a;
      yield* vm_unmap_ram(t, b, 1);
    };
    const freer = yield* kthread_run(t, use_up_block, "freer");
    while (!retiring) yield* read_line(t, line);
    yield* vm_unmap_aliases(t);
    const left = count_ptes(t.k, page0, page0 + PAGE_SIZE);
    policy.held = -1;
    yield* kthread_join(t, freer);
    return left;
  }).result;
  assertEquals(left, 0);
});
