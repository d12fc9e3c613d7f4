import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { findPreset } from "../../arch/hw/presets/index.ts";
import { withCpus } from "../../arch/hw/validate.ts";
import { boot } from "../../boot/boot.ts";
import type { RewriteLayer } from "./rewrite_layer.ts";
import { GFP_KERNEL } from "./gfp.ts";
import { alloc_vmap_area } from "./vmap_area.ts";
import { vfree, vmalloc } from "./vmalloc.ts";
import { vm_unmap_aliases } from "./vmap.ts";

/** Pages to allocate; 0 = purge; below = free the area of that number. */
type Op = number;

/** Does `ops`; `forgets` = no search knows of the one before. */
function run(ops: readonly Op[], forgets: boolean) {
  const booted = boot({
    spec: withCpus(findPreset("opteron-2x4"), 1),
    params: { vmap: "rewrite" },
  });
  const { state } = booted.kernel.vmap as RewriteLayer;
  const { page_size } = state;
  let remembered = 0;
  const addrs = booted.run(function* (t) {
    const live: number[] = [];
    const addrs: number[] = [];
    for (const op of ops) {
      if (forgets) state.walk_memo.forget();
      remembered += state.walk_memo.lines.length;
      if (op > 0) {
        const addr = yield* vmalloc(t, op * page_size);
        addrs.push(addr);
        live.push(addr);
      } else if (op === 0) yield* vm_unmap_aliases(t);
      else if (live.length > 0) {
        yield* vfree(t, live.splice(-op % live.length, 1)[0]);
      }
    }
    return addrs;
  });
  return {
    remembered,
    seen: {
      addrs,
      steps: [state.walk_steps, state.descent_steps],
      clock: booted.machine.engine.cpus[0].clock,
      check: booted.kernel.vmap.check(),
    },
  };
}

Deno.test("a search that goes on from the one before finds the same, in the same time", () => {
  let remembered = 0;
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          { weight: 5, arbitrary: fc.integer({ min: 1, max: 3 }) },
          { weight: 3, arbitrary: fc.integer({ min: -40, max: -1 }) },
          { weight: 1, arbitrary: fc.constant(0) },
        ),
        { maxLength: 120, size: "max" },
      ),
      (ops) => {
        const with_memo = run(ops, false);
        assertEquals(with_memo.seen, run(ops, true).seen);
        assertEquals(with_memo.seen.check, []);
        remembered += with_memo.remembered;
      },
    ),
    { numRuns: 40 },
  );
  assert(remembered > 0);
});

Deno.test("an area that lands in a hole which was passed is passed by the next search", () => {
  const booted = boot({ params: { vmap: "rewrite" } });
  const { state } = booted.kernel.vmap as RewriteLayer;
  const { page_size } = state;
  const { start, end } = booted.kernel.vmalloc;
  const base = start + 2 ** 32; // above what the boot has left
  const steps = booted.run(function* (t) {
    /** @returns Areas passed on the way. */
    const take = function* (from: number, pages: number) {
      const before = state.walk_steps;
      yield* alloc_vmap_area(
        t,
        state,
        pages * page_size,
        page_size,
        base + from * page_size,
        end,
        -1,
        GFP_KERNEL,
      );
      return state.walk_steps - before;
    };
    yield* take(0, 1);
    yield* take(10, 1); // leaves a hole of eight pages
    const first = yield* take(0, 20);
    const inHole = yield* take(5, 1);
    return [first, inHole, yield* take(0, 20)];
  });
  assertEquals(steps, [2, 0, 4]);
});
