import { assert, assertEquals } from "@std/assert";
import type { Steps } from "../../arch/asm.ts";
import { Rng } from "../../arch/sim/random.ts";
import { vfree } from "../../kernel/mm/vfree.ts";
import { vmalloc } from "../../kernel/mm/vmalloc.ts";
import { vm_unmap_aliases } from "../../kernel/mm/vmap.ts";
import type { Thread } from "../../kernel/thread.ts";
import type { Chooser } from "./chooser.ts";
import { EventKind, formatEvents, parseEvents } from "./event.ts";
import { ExploreMachine } from "./machine.ts";
import { Pct } from "./pct.ts";
import { RandomWalk } from "./random_walk.ts";
import { Replay } from "./replay.ts";

function* program(t: Thread): Steps {
  for (let n = 0; n < 3; n++) {
    const addr = yield* vmalloc(t, 4096 * (1 + n));
    if (addr !== 0) yield* vfree(t, addr);
    yield* vm_unmap_aliases(t);
  }
}

/** What happens in a round, and its decisions. */
function record(cpus: number, chooser: Chooser, faults = false) {
  const m = new ExploreMachine({ cpus, params: { vmap: "rewrite" } });
  const log: string[] = [];
  m.driver.watcher = {
    operation: (t, kind) =>
      void log.push(`${m.driver.step} CPU ${t.cpu.id} ${t.name} ${kind}`),
    interrupt: (cpu, vector) => void log.push(`CPU ${cpu.id}: ${vector}`),
  };
  const { driver, k } = m;
  if (faults) {
    k.faults.decide = (t) => {
      const fails = driver.allocationFails();
      log.push(`CPU ${t.cpu.id} ${fails ? "fails" : "asks"}`);
      return fails;
    };
  }
  m.run(new Array(cpus).fill(program), chooser);
  const clocks = m.machine.engine.cpus.map(({ clock }) => clock);
  assert(
    Math.max(...clocks) < 1e9,
    "interrupts on their way are not waited for",
  );
  return { log, clocks, events: m.driver.events.slice() };
}

Deno.test("a replayed schedule takes each operation at its place, on up to four CPUs", () => {
  for (let seed = 1; seed <= 60; seed++) {
    const cpus = 2 + seed % 3;
    const rng = new Rng(seed);
    const first = record(
      cpus,
      seed % 2 === 0 ? new RandomWalk(rng) : new Pct(rng, 3),
    );
    const events = parseEvents(formatEvents(first.events));
    assertEquals(events, first.events);
    const again = record(cpus, new Replay(events));
    assertEquals(again.log, first.log);
    assertEquals(again.clocks, first.clocks);
  }
});

Deno.test("a failure is replayed at the request that failed, though others are made in the same step", () => {
  let failures = 0;
  let later = 0;
  for (let seed = 1; seed <= 60; seed++) {
    const cpus = 1 + seed % 3;
    const rng = new Rng(seed);
    const first = record(
      cpus,
      seed % 2 === 0 ? new RandomWalk(rng, 20) : new Pct(rng, 3, 20),
      true,
    );
    const events = parseEvents(formatEvents(first.events));
    assertEquals(events, first.events);
    const again = record(cpus, new Replay(events), true);
    assertEquals(again.log, first.log);
    failures += events.filter(({ kind }) => kind === EventKind.FAIL).length;
    // Requests of one step stand next to each other.
    const asked = first.log.filter((line) =>
      /^CPU \d (asks|fails)$/.test(line)
    );
    if (
      first.log.some((line, i) =>
        line.endsWith("fails") && asked.includes(first.log[i - 1])
      )
    ) later++;
  }
  assert(failures > 60 && later > 0);
});
