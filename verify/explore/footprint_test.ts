import { assert, assertEquals } from "@std/assert";
import type { Steps } from "../../arch/asm.ts";
import { vfree } from "../../kernel/mm/vfree.ts";
import { vmalloc } from "../../kernel/mm/vmalloc.ts";
import { RcuHead } from "../../kernel/rcu_state.ts";
import type { Thread } from "../../kernel/thread.ts";
import { dependent, type Footprint } from "./footprint.ts";
import { FootprintRecorder } from "./footprint_recorder.ts";
import { ExploreMachine } from "./machine.ts";
import { RuleChooser } from "./rule.ts";

const NOTHING: Footprint = {
  reads: [],
  writes: [],
  known: 100,
  readsNew: false,
  writesNew: false,
  thingsRead: 0,
  thingsWritten: 0,
  universal: false,
};

function footprint(some: Partial<Footprint>): Footprint {
  return { ...NOTHING, ...some };
}

/** Whether both orders of asking say so. */
function depend(a: Partial<Footprint>, b: Partial<Footprint>): boolean {
  const [x, y] = [footprint(a), footprint(b)];
  const answer = dependent(x, y);
  assertEquals(dependent(y, x), answer);
  return answer;
}

Deno.test("transitions depend on each other if one writes what the other touches", () => {
  assert(!depend({ reads: [1, 2] }, { reads: [2, 1] }));
  assert(depend({ reads: [1, 2] }, { writes: [2] }));
  assert(depend({ writes: [2] }, { writes: [2] }));
  assert(!depend({ writes: [1] }, { reads: [2], writes: [3] }));
  assert(!depend({ thingsRead: 6 }, { thingsRead: 6 }));
  assert(depend({ thingsRead: 6 }, { thingsWritten: 2 }));
  assert(depend({ thingsWritten: 2 }, { thingsWritten: 2 }));
  assert(depend({ universal: true }, {}));
});

Deno.test("a line that was new to one may be any line that was new to the other", () => {
  assert(!depend({ readsNew: true }, { readsNew: true }));
  assert(depend({ readsNew: true }, { writesNew: true }));
  // Line 120 was new when the first was recorded, and has a number by now.
  const later = { known: 150, writes: [120] };
  assert(depend({ readsNew: true }, later));
  assert(!depend({ reads: [99] }, later));
  assert(depend({ writesNew: true }, { known: 150, reads: [120] }));
  assert(!depend({ readsNew: true }, { known: 150, reads: [120] }));
  assert(!depend({ writesNew: true }, { known: 150, writes: [99] }));
});

Deno.test("whatever sanitizers are told and judge by its order is in the footprint, if there are some", () => {
  const names = [
    "pageAllocated",
    "pageFreed",
    "mapped",
    "ramMapped",
    "unmapped",
    "unmapDone",
    "aliasesBegin",
    "aliasesEnd",
    "ptesSet",
    "ptesCleared",
    "roomWanted",
    "roomRefused",
    "areaInserted",
    "areaLazy",
    "areaTaken",
    "areaRemoved",
    "vmListed",
    "vmUnlisted",
    "blockMade",
  ] as const;
  const recorder = new FootprintRecorder();
  const m = new ExploreMachine({
    coherence: recorder.coherence,
    sanitize: ["tlb"],
  });
  recorder.attach(m);
  const told = names.map((name) => {
    recorder[name]();
    return recorder.take(0);
  });
  for (const a of told) for (const b of told) assert(dependent(a, b));
  recorder.rcuReadLock();
  const reader = recorder.take(0);
  recorder.rcuReadUnlock();
  const ended = recorder.take(1);
  recorder.rcuCalled(m.tasks[0], new RcuHead<unknown>(null));
  const callback = recorder.take(2);
  assert(!dependent(reader, ended));
  assert(dependent(reader, callback) && dependent(ended, callback));
});

Deno.test("watching changes no clock, and sees the same each time", () => {
  const program = function* (t: Thread): Steps {
    const addr = yield* vmalloc(t, 4096);
    yield* vfree(t, addr);
  };
  const run = (recorder: FootprintRecorder | null) => {
    const m = new ExploreMachine({ coherence: recorder?.coherence });
    recorder?.attach(m);
    m.run([program, program], new RuleChooser());
    return m.machine.engine.cpus.map(({ clock }) => clock);
  };
  const [a, b] = [new FootprintRecorder(), new FootprintRecorder()];
  const clocks = run(null);
  assertEquals(run(a), clocks);
  assertEquals(run(b), clocks);
  const taken = a.take(0);
  assertEquals(taken, b.take(0));
  assert(taken.writes.length > 0 && taken.writesNew);
  assertEquals(a.take(1).writes, []);
});
