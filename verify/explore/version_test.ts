/** What schedules mean, as of one version: whoever changes it raises the version. */
import { assertEquals } from "@std/assert";
import { type Steps, vload, vstore } from "../../arch/asm.ts";
import { symName } from "../../arch/sim/symbol.ts";
import { PAGE_KERNEL } from "../../arch/hw/pte.ts";
import { GFP_KERNEL } from "../../kernel/mm/gfp.ts";
import { __free_page, alloc_page } from "../../kernel/mm/page_alloc.ts";
import { vfree } from "../../kernel/mm/vfree.ts";
import { vmalloc } from "../../kernel/mm/vmalloc.ts";
import {
  vm_map_ram,
  vm_unmap_aliases,
  vm_unmap_ram,
} from "../../kernel/mm/vmap.ts";
import type { Thread } from "../../kernel/thread.ts";
import { parseEvents } from "./event.ts";
import { ExploreMachine, type TaskFunction } from "./machine.ts";
import { Replay } from "./replay.ts";
import { RuleChooser } from "./rule.ts";
import { SCHEDULE_VERSION } from "./version.ts";

function* areas(t: Thread): Steps {
  for (let pages = 1; pages <= 3; pages++) {
    const addr = yield* vmalloc(t, pages * 4096);
    if (addr === 0) continue;
    yield* vstore(t, addr, 8, pages);
    yield* vfree(t, addr);
  }
}

function* blocks(t: Thread): Steps {
  const page = yield* alloc_page(t, GFP_KERNEL);
  if (page === null) return;
  for (let n = 0; n < 2; n++) {
    const addr = yield* vm_map_ram(t, [page], 1, -1, PAGE_KERNEL);
    if (addr === 0) continue;
    yield* vload(t, addr, 8);
    yield* vm_unmap_ram(t, addr, 1);
  }
  yield* vm_unmap_aliases(t);
  yield* __free_page(t, page);
}

/** A schedule, and what it came to. */
interface Golden {
  readonly functions: readonly TaskFunction[];
  readonly events: string;
  /** Of the operations. */
  readonly hash: string;
}

const VERSION = 2;
const GOLDEN: readonly Golden[] = [
  {
    functions: [areas, areas],
    events: "8h0_1Bs0_Qt0_Qh1_1Gf0.A_2Mm0.1_7t1",
    hash: "ae35fa95",
  },
  {
    functions: [areas, blocks, blocks],
    events: "s1_Cs0_14xG_Bh0_Bs1_1Ut0_As0_17e1.8_Ys1_10s2",
    hash: "8a36ff39",
  },
  {
    functions: [blocks, blocks],
    events: "s1_Hs1_Ax5_7s0_Zs0_Kt0_Ps1_Ch0_Et0",
    hash: "5b9506f1",
  },
];

/** FNV-1a, 32 bits. */
function hashOf(text: string): string {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193) >>> 0;
  }
  return hash.toString(16).padStart(8, "0");
}

/** Runs `events`, and what comes after. @returns How many decisions were taken; the hash of the operations. */
function run({ functions, events }: Golden) {
  const m = new ExploreMachine({
    cpus: functions.length,
    params: { vmap: "rewrite", lazy_max: 2 },
  });
  const { driver, k } = m;
  k.faults.decide = () => driver.allocationFails();
  const lines: string[] = [];
  driver.watcher = {
    operation: (t, kind) =>
      void lines.push(
        `${kind} ${t.cpu.id} ${symName(t.stack[t.depth - 1])}`,
      ),
  };
  m.run(functions, new Replay(parseEvents(events)));
  const decisions = driver.events.length;
  m.settle(new RuleChooser());
  return { decisions, hash: hashOf(lines.join("\n")) };
}

Deno.test("schedules mean what they have meant since their version", () => {
  const hint =
    "an old schedule is another run now: raise SCHEDULE_VERSION and update this hash";
  const found = GOLDEN.map(run);
  GOLDEN.forEach(({ events }, i) => {
    assertEquals(found[i].decisions, parseEvents(events).length, hint);
  });
  assertEquals(
    { version: SCHEDULE_VERSION, hashes: found.map(({ hash }) => hash) },
    { version: VERSION, hashes: GOLDEN.map(({ hash }) => hash) },
    hint,
  );
});
