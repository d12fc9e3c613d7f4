import { assert, assertEquals } from "@std/assert";
import { type MachineContext, read_line, write_line } from "../asm.ts";
import { bareMachine, startOn } from "../testing.ts";
import { CacheLine } from "./line.ts";
import { findPreset } from "./presets/index.ts";

/** Cycles at which CPUs 1 to 7 have a copy of a line that CPU 0 has written. */
function copies(homeBusyCycles: number | undefined): number[] {
  const { cache } = findPreset("opteron-2x4");
  const machine = bareMachine({
    cache: { ...cache, jitterCycles: 0, homeBusyCycles },
  }, { runAheadCycles: 0 });
  const line = new CacheLine(0);
  const done: number[] = [];
  startOn(machine, 0, function* (t) {
    yield* write_line(t, line);
  });
  for (let id = 1; id < 8; id++) {
    startOn(machine, id, function* (t: MachineContext) {
      t.spend(10_000 + id);
      yield* read_line(t, line);
      done[id - 1] = t.cpu.clock - 10_000;
    });
  }
  machine.engine.run();
  assertEquals(line.nrSharers, 7);
  return done;
}

Deno.test("a directory hands out copies of a shared line without the owner", () => {
  const { cache } = findPreset("opteron-2x4");
  const apart = (at: number[]) => at.slice(2).map((x, i) => x - at[i + 1]);
  const busy = 20;
  const home = copies(busy);
  // The first comes from the owner, and is waited for; what is left of the
  // way from memory then differs between the line's node and the other.
  const back = [cache.memoryLocalCycles, cache.memoryRemoteCycles]
    .map((cycles) => Math.round(cycles * cache.queuedShare));
  const step = busy + back[1] - back[0];
  assertEquals(apart(home), [busy, step, busy, busy, busy]);
  const owner = copies(undefined);
  assert(owner[6] - owner[0] > 2 * (home[6] - home[0]), `${owner} ${home}`);
  for (const gap of apart(owner)) assert(gap > 2 * busy, `${owner}`);
});

Deno.test("a writer waits for the copies that a directory sends", () => {
  const { cache } = findPreset("opteron-2x4");
  const machine = bareMachine({
    cache: { ...cache, jitterCycles: 0, homeBusyCycles: 50 },
  }, { runAheadCycles: 0 });
  const line = new CacheLine(0);
  let wrote = 0;
  startOn(machine, 0, function* (t) {
    yield* write_line(t, line);
  });
  for (let id = 1; id < 8; id++) {
    startOn(machine, id, function* (t) {
      t.spend(10_000);
      yield* read_line(t, line);
      if (id !== 1) return;
      yield* write_line(t, line);
      wrote = t.cpu.clock;
    });
  }
  machine.engine.run();
  assertEquals([line.owner, line.nrSharers], [1, 0]);
  // Six copies after its own, which took as long as CPU 0 is away.
  assert(wrote > 10_000 + cache.sameSocketCycles + 6 * 50, `${wrote}`);
});
