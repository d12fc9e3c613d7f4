/** The exhaustive search with sanitizers on: it disturbs none, and leaves out no order that one judges by. */
import { assert, assertEquals } from "@std/assert";
import type { Steps } from "../../arch/asm.ts";
import { Cell } from "../../arch/hw/cell.ts";
import { PAGE_KERNEL } from "../../arch/hw/pte.ts";
import { GFP_KERNEL } from "../../kernel/mm/gfp.ts";
import { alloc_page } from "../../kernel/mm/page_alloc.ts";
import { vfree } from "../../kernel/mm/vfree.ts";
import { vmalloc } from "../../kernel/mm/vmalloc.ts";
import {
  vm_map_ram,
  vm_unmap_aliases,
  vm_unmap_ram,
} from "../../kernel/mm/vmap.ts";
import type { VmapRange } from "../../kernel/mm/vmap_layer.ts";
import { SANITIZERS } from "../../kernel/sanitizers/index.ts";
import { Sanitizers } from "../../kernel/sanitizers/sanitizers.ts";
import type { Thread } from "../../kernel/thread.ts";
import { Dfs } from "./dfs.ts";
import { compare, increment, type Program } from "./dfs_testing.ts";
import type { ExploreMachine, TaskFunction } from "./machine.ts";
import { RuleChooser } from "./rule.ts";

const ALL = SANITIZERS.map(({ name }) => name);

Deno.test("objects that wait for RCU are none of the recorder's: all sanitizers find nothing, in ticks and after", () => {
  const dfs = new Dfs({ preemptions: 1, ticks: 1 });
  const rule = new RuleChooser();
  let waited = 0;
  const program = function* (t: Thread): Steps {
    const addr = yield* vmalloc(t, 4096);
    yield* vfree(t, addr);
  };
  const after = (m: ExploreMachine) => {
    waited = Math.max(waited, m.k.rcu.backlog);
    m.settle(rule);
    assertEquals(m.k.rcu.backlog, 0);
    m.check();
  };
  const options = { sanitize: ALL, params: { lazy_max: 1 } };
  let runs = 0;
  while (runs < 300 && dfs.run(options, () => [program, program], after)) {
    runs++;
  }
  assert(waited > 0 && runs > 100);
});

/** What sanitizers are told of mappings, readers and grace periods, by CPU, is the outcome. */
function toldProgram(
  functions: readonly TaskFunction[],
  before: (m: ExploreMachine) => void = () => {},
) {
  return (m: ExploreMachine): Program => {
    before(m);
    const told: string[] = [];
    const tell = (what: string) => (t: Thread) =>
      void told.push(`${t.cpu.id} ${what}`);
    const { k } = m;
    k.sanitizers = new Sanitizers([...k.sanitizers!.all, {
      unmapped: tell("unmapped"),
      unmapDone: tell("unmapDone"),
      aliasesBegin: tell("aliasesBegin"),
      aliasesEnd: tell("aliasesEnd"),
      vmListed: tell("vmListed"),
      vmUnlisted: tell("vmUnlisted"),
      roomWanted: tell("roomWanted"),
      areaTaken: tell("areaTaken"),
    }]);
    return { functions, outcome: () => told.join() };
  };
}

Deno.test("what sanitizers are told comes in every order, with and without reduction", () => {
  const addrs: number[] = [];
  /** Each on its own CPU, so in blocks that have nothing in common. */
  const mapTwo = (m: ExploreMachine) => {
    const map = (slot: number) =>
      function* (t: Thread): Steps {
        const page = yield* alloc_page(t, GFP_KERNEL);
        addrs[slot] = yield* vm_map_ram(t, [page!], 1, -1, PAGE_KERNEL);
      };
    m.run([map(0), map(1)], new RuleChooser());
  };
  const unmap = (slot: number): TaskFunction => (t) =>
    vm_unmap_ram(t, addrs[slot], 1);
  const both: TaskFunction = function* (t) {
    yield* vm_unmap_ram(t, addrs[1], 1);
    yield* vm_unmap_aliases(t);
  };
  for (
    const functions of [
      [unmap(0), vm_unmap_aliases],
      [unmap(0), both],
      [unmap(0), unmap(1)],
    ]
  ) {
    for (const ticks of [0, 1]) {
      const { runs: [full, reduced], all } = compare(
        toldProgram(functions, mapTwo),
        2,
        { preemptions: 1, ticks },
        ALL,
      );
      assert(all.length > 3);
      assert(reduced < full, `${reduced} of ${full}`);
    }
  }
});

Deno.test("CPUs that share nothing but what sanitizers are told have all its orders", () => {
  const cells = [new Cell("a", 0), new Cell("b", 0)];
  const calls: ((t: Thread) => void)[] = [
    (t) => t.k.sanitizers!.unmapDone(t, 0, true),
    (t) =>
      t.k.sanitizers!.areaTaken(t, { va_start: 0, va_end: 0 } as VmapRange),
  ];
  const functions = calls.map((call, i) =>
    function* (t: Thread): Steps {
      yield* increment(t, cells[i]);
      call(t);
      yield* increment(t, cells[i]);
    }
  );
  // Before the search: of lines that are new it knows little.
  const useAll = (m: ExploreMachine) => {
    const use = (cell: Cell): TaskFunction => (t) => increment(t, cell);
    m.run(cells.map(use), new RuleChooser());
  };
  const { all } = compare(
    toldProgram(functions, useAll),
    2,
    { preemptions: Infinity },
    ["tlb"],
  );
  assertEquals(all, ["0 unmapDone,1 areaTaken", "1 areaTaken,0 unmapDone"]);
});
