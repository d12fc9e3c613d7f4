import {
  assert,
  assertEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  charge_cycles,
  read_line,
  type Steps,
  vstore,
} from "../../arch/asm.ts";
import { CacheLine } from "../../arch/hw/line.ts";
import type { Cpu } from "../../arch/sim/cpu.ts";
import type { Engine } from "../../arch/sim/engine.ts";
import type { Policy } from "../../arch/sim/policy.ts";
import { Rng } from "../../arch/sim/random.ts";
import { list_entries } from "../lib/list.ts";
import { check_areas } from "./vmap_layer.ts";
import type { RewriteLayer } from "./rewrite_layer.ts";
import { KernelBug } from "../bug.ts";
import { kthread_join, kthread_run } from "../kthread.ts";
import { Sanitizers } from "../sanitizers/sanitizers.ts";
import { testSpec } from "../testing.ts";
import type { Thread } from "../thread.ts";
import type { Page } from "./page.ts";
import { count_ptes } from "./pgtable.ts";
import { QUIRKS, quirkYears, VmapQuirks } from "./quirks.ts";
import {
  get_vm_area,
  vfree,
  vm_area_add_early,
  vm_map_ram,
  vm_unmap_aliases,
  vm_unmap_ram,
  vmalloc,
  vmap,
  vunmap,
} from "./vmalloc.ts";
import { VM_ALLOC, VM_MAP, VmStruct } from "./vm_struct.ts";
import {
  PAGE_SIZE,
  pageOf,
  PROT,
  runVm,
  take_pages,
  VMALLOC_START,
  type VmOptions,
} from "./vm_testing.ts";

/** Runs `main` with and without quirk `name`. */
function both<T>(
  name: string,
  options: VmOptions,
  main: (t: Thread) => Steps<T>,
): { repaired: T; quirky: T } {
  const params = { ...options.params, vmap_quirk: new Set([name]) };
  return {
    repaired: runVm(options, main).result,
    quirky: runVm({ ...options, params }, main).result,
  };
}

/** What `main` returns, or the headline of the oops that ends it. */
function outcome<T>(run: () => T): T | string {
  try {
    return run();
  } catch (e) {
    if (e instanceof KernelBug) return e.headline;
    throw e;
  }
}

Deno.test("QUIRKS has a boolean for each name, and no name twice", () => {
  const names = QUIRKS.map(({ name }) => name);
  assertEquals(new Set(names).size, names.length);
  const none = Object.values(new VmapQuirks(new Set()));
  assert(none.every((on) => on === false));
  for (const name of names) {
    if (name === "no-init-check") continue; // asked before there is a VmapQuirks
    const on = Object.values(new VmapQuirks(new Set([name])));
    assert(on.some((o) => o === true), name);
  }
});

Deno.test("VmapQuirks takes no name that is no quirk", () => {
  assertThrows(
    () => new VmapQuirks(new Set(["posted-search", "postedsearch"])),
    RangeError,
    'Cannot switch on the quirk "postedsearch" as there is no such quirk: did you mean "posted-search"?',
  );
});

Deno.test("posted-search: a larger area is laid over what follows the first hole (A1)", () => {
  const { repaired, quirky } = both("posted-search", {}, function* (t) {
    const pages = yield* take_pages(t, 4);
    const a = yield* vmap(t, pages, 1, VM_MAP, PROT);
    const b = yield* vmap(t, pages, 4, VM_MAP, PROT);
    yield* vunmap(t, a);
    yield* vm_unmap_aliases(t);
    const c = yield* vmap(t, pages, 4, VM_MAP, PROT);
    yield* vm_unmap_aliases(t);
    const left = count_ptes(t.k, b, b + 4 * PAGE_SIZE);
    return [pageOf(b), pageOf(c), t.k.vmalloc.pte_not_none, left];
  });
  assertEquals(repaired, [3, 9, 0, 4]);
  assertEquals(quirky, [3, -1, 1, 2]); // two of b's pages are gone
});

Deno.test("retry-from-failure: an allocation that purges fails all the same (A5)", () => {
  const { repaired, quirky } = both(
    "retry-from-failure",
    { pages: 16 },
    function* (t) {
      const pages = yield* take_pages(t, 8);
      const a = yield* vmap(t, pages, 8, VM_MAP, PROT);
      yield* vunmap(t, a);
      const b = yield* vmap(t, pages, 8, VM_MAP, PROT);
      const c = yield* vmap(t, pages, 8, VM_MAP, PROT);
      return [pageOf(a), pageOf(b), pageOf(c)];
    },
  );
  assertEquals(repaired, [0, 0, -1]);
  assertEquals(quirky, [0, -1, 0]);
});

Deno.test("no-overflow-check: a size that wraps lands on top of others (A6)", () => {
  const { repaired, quirky } = both("no-overflow-check", {}, function* (t) {
    yield* get_vm_area(t, PAGE_SIZE, VM_ALLOC);
    const huge = yield* get_vm_area(t, 64 * 2 ** 40, VM_ALLOC);
    return huge === null ? -1 : pageOf(huge.addr);
  });
  assertEquals(repaired, -1);
  assertEquals(quirky, 0);
});

Deno.test("purge-without-flush: an address is handed out again that still leads to the old page (V1)", () => {
  const { repaired, quirky } = both("purge-without-flush", {}, function* (t) {
    const [old, fresh] = yield* take_pages(t, 2);
    const a = yield* vmap(t, [old], 1, VM_MAP, PROT);
    yield* vstore(t, a, 8, 1);
    yield* vunmap(t, a);
    yield* vm_unmap_aliases(t);
    const b = yield* vmap(t, [fresh], 1, VM_MAP, PROT);
    yield* vstore(t, b, 8, 2);
    const { memory } = t.machine;
    const word = ({ pfn }: Page) => memory.read32(pfn * PAGE_SIZE);
    return [a === b, word(old), word(fresh)];
  });
  assertEquals(repaired, [true, 1, 2]);
  assertEquals(quirky, [true, 2, 0]);
});

Deno.test("leak-on-failure: each failed allocation costs a descriptor (A10)", () => {
  const { repaired, quirky } = both(
    "leak-on-failure",
    { pages: 16 },
    function* (t) {
      for (let i = 0; i < 5; i++) yield* get_vm_area(t, 2 ** 20, VM_ALLOC);
      return t.k.slab.inUse().get("vmap_area") ?? 0;
    },
  );
  assertEquals(repaired, 0);
  assertEquals(quirky, 5);
});

Deno.test("double-free-accepted: the second vfree() follows a freed vm_struct (A12)", () => {
  const run = (quirks: string[]) =>
    outcome(() =>
      runVm({ params: { vmap_quirk: new Set(quirks) } }, function* (t) {
        const addr = yield* vmalloc(t, PAGE_SIZE);
        yield* vfree(t, addr);
        yield* vfree(t, addr);
        assertEquals(t.k.vmap.check(), []);
        return t.k.printk.warnings;
      }).result
    );
  assertEquals(run([]), 1);
  assertStringIncludes(
    String(run(["double-free-accepted"])),
    "not on vmlist",
  );
});

Deno.test("no-vmlist-import: what was mapped before vmalloc_init() is handed out again (A14)", () => {
  const options: VmOptions = {
    before: (t) => {
      const vm = new VmStruct();
      vm.reset(VM_ALLOC, 8 * PAGE_SIZE, 0);
      vm.addr = VMALLOC_START;
      vm_area_add_early(t, vm);
    },
  };
  const { repaired, quirky } = both(
    "no-vmlist-import",
    options,
    function* (t) {
      const pages = yield* take_pages(t, 2);
      return pageOf(yield* vmap(t, pages, 2, VM_MAP, PROT));
    },
  );
  assertEquals(repaired, 9); // a page is kept free behind the other
  assertEquals(quirky, 0);
});

Deno.test("no-init-check: vm_unmap_aliases() before vmalloc_init() oopses (A15)", () => {
  const run = (quirks: string[]) =>
    outcome(() => {
      const params = { vmap_quirk: new Set(quirks) };
      const before = (t: Thread) => [...vm_unmap_aliases(t)];
      // deno-lint-ignore require-yield
      return runVm({ params, before }, function* () {
        return "booted";
      }).result;
    });
  assertEquals(run([]), "booted");
  assertStringIncludes(run(["no-init-check"]), "before vmalloc_init()");
});

Deno.test("full-blocks-skipped: pages of a block that is all handed out stay mapped (B1)", () => {
  const { repaired, quirky } = both(
    "full-blocks-skipped",
    {},
    function* (t) {
      const pages = yield* take_pages(t, 64);
      const at: number[] = [];
      for (let i = 0; i < 16; i++) {
        at.push(yield* vm_map_ram(t, pages, 64, -1, PROT));
      }
      yield* vm_unmap_ram(t, at[5], 64);
      yield* vm_unmap_aliases(t);
      const left = count_ptes(t.k, at[5], at[5] + 64 * PAGE_SIZE);
      return [left, t.k.vmalloc.flushes];
    },
  );
  assertEquals(repaired, [0, 1]);
  assertEquals(quirky, [64, 0]);
});

Deno.test("odd-block-size: 3000 CPUs make blocks of 699 pages, and the twelfth map traps (B6)", () => {
  const spec = testSpec(1);
  const run = (quirks: string[]) =>
    outcome(() =>
      runVm({
        spec: { ...spec, kernel: { ...spec.kernel, nrCpus: 3000 } },
        params: { vmap_quirk: new Set(quirks) },
      }, function* (t) {
        const pages = yield* take_pages(t, 64);
        for (let i = 0; i < 12; i++) {
          yield* vm_map_ram(t, pages, 64, -1, PROT);
        }
        return t.k.vmap.counters().blocks;
      }).result
    );
  assertEquals(run([]), 2); // of 512 pages
  assertStringIncludes(String(run(["odd-block-size"])), "another block");
});

Deno.test("size-in-32-bits: 0x100041 pages are taken for 65, and none for some (B13)", () => {
  const run = (quirks: string[], count: number) =>
    outcome(() =>
      runVm({ params: { vmap_quirk: new Set(quirks) } }, function* (t) {
        const pages = yield* take_pages(t, 65);
        const addr = yield* vm_map_ram(t, pages, count, -1, PROT);
        return addr === 0 ? 0 : count_ptes(t.k, addr, addr + 2 ** 20);
      }).result
    );
  assertEquals(run([], 0), 0);
  assertEquals(run(["size-in-32-bits"], 0x100041), 65);
  assertStringIncludes(String(run(["size-in-32-bits"], 0)), "vb_alloc");
});

Deno.test("unchecked-dirty: a second vm_unmap_ram() goes unnoticed and the block leaks (B15)", () => {
  const run = (quirks: string[], twice: boolean) =>
    outcome(() =>
      runVm({ params: { vmap_quirk: new Set(quirks) } }, function* (t) {
        const pages = yield* take_pages(t, 64);
        const sizes = [
          ...new Array<number>(64).fill(1),
          ...new Array<number>(15).fill(64),
        ];
        const at: number[] = [];
        for (const n of sizes) {
          at.push(yield* vm_map_ram(t, pages, n, -1, PROT));
        }
        if (twice) yield* vm_unmap_ram(t, at[0], 1);
        for (let i = 0; i < sizes.length; i++) {
          yield* vm_unmap_ram(t, at[i], sizes[i]);
        }
        return t.k.vmap.counters().blocks;
      }).result
    );
  assertEquals(run([], false), 0);
  assertStringIncludes(String(run([], true)), "not mapped");
  assertEquals(run(["unchecked-dirty"], true), 1);
});

Deno.test("quirkYears() counts from 2.6.28 to the first release without", () => {
  const years = new Map(QUIRKS.map((q) => [q.name, quirkYears(q)]));
  assertEquals(years.get("no-overflow-check"), 0.25); // three months
  assertEquals(years.get("retry-from-failure"), 0);
  assertEquals(years.get("posted-search"), null);
  assertEquals(years.get("size-in-32-bits"), null);
  assertEquals(Math.floor(years.get("full-blocks-skipped")!), 14);
  for (const { name, since, fixedIn } of QUIRKS) {
    if (since !== "-" && fixedIn !== "-") {
      assert(years.get(name)! >= 0, name); // every release has its month
    }
  }
});

/**
 * Any CPU that is due soon, by seed, but for one that is held back for a while:
 * orders that exact time never gives.
 */
class Jitter implements Policy {
  readonly #random: Rng;
  /** This CPU waits as long as any other is due; -1 = none. */
  heldBack = -1;

  /**
   * @param window Cycles that count as soon.
   * @param turns After so many the run is taken to have no end.
   * @param changes Another CPU is held back now and then.
   */
  constructor(
    seed: number,
    readonly window = 20_000,
    private turns = Infinity,
    readonly changes = true,
  ) {
    this.#random = new Rng(seed);
  }

  pick(engine: Engine): Cpu | null {
    if (this.turns-- <= 0) throw new Error("the run has no end");
    const first = engine.queue.keyOf(engine.queue.first());
    if (first === Infinity) return null;
    const random = this.#random;
    if (this.changes && random.below(100) === 0) {
      this.heldBack = random.below(engine.cpus.length);
    }
    const soon = engine.cpus.filter((c) =>
      engine.queue.keyOf(c.id) < first + this.window
    );
    const due = soon.filter((c) => c.id !== this.heldBack);
    const among = due.length > 0 ? due : soon;
    return among[random.below(among.length)];
  }

  horizon(): number {
    return -Infinity;
  }
}

/**
 * Two CPUs that vmap and vunmap and one that purges and looks, in many orders.
 *
 * @returns What it saw, what the checks say at the end, or the oops.
 */
function race(...quirks: string[]): string | string[] {
  const params = { vmap_quirk: new Set(quirks), lazy_max: 10 };
  let found: string | string[] = [];
  for (let seed = 1; seed <= 60 && found.length === 0; seed++) {
    const engine = { policy: new Jitter(seed), runAheadCycles: 0 };
    found = outcome(() =>
      runVm({ cpus: 3, params, engine, pages: 200 }, function* (t) {
        const seen: string[] = [];
        const watch = (t: Thread) => watcher(t, seen);
        const threads: Thread[] = [];
        for (const fn of [mapper, mapper, watch]) {
          threads.push(yield* kthread_run(t, fn, "race"));
        }
        for (const p of threads) yield* kthread_join(t, p);
        return [...seen, ...t.k.vmap.check()];
      }).result
    );
  }
  return found;
}

function* mapper(t: Thread): Steps {
  const pages = yield* take_pages(t, 4);
  for (let i = 0; i < 20; i++) {
    const addr = yield* vmap(t, pages, 1 + i % 4, VM_MAP, PROT);
    if (addr !== 0) yield* vunmap(t, addr);
  }
}

/** Areas, entries in use and vmlist agree at every moment. */
function* watcher(t: Thread, seen: string[]): Steps {
  const layer = t.k.vmap as RewriteLayer;
  for (let i = 0; i < 40; i++) {
    yield* vm_unmap_aliases(t);
    const areas = list_entries(layer.state.vmap_area_list);
    seen.push(...check_areas(t.k, areas));
  }
}

Deno.test("no order of three CPUs upsets the default", () => {
  assertEquals(race(), []);
});

for (
  const [quirk, id, what] of [
    ["lazy-counter-after-flag", "A8", "vmap_lazy_nr"],
    ["free-before-unlink", "A11", "has no area"],
    ["static-vmap-area", "A13", ""],
  ]
) {
  Deno.test(`${quirk}: some order of three CPUs shows it (${id})`, () => {
    const found = race(quirk);
    assert(found.length > 0);
    assertStringIncludes(String(found), what);
  });
}

/** Blocks of two pages, so that one is soon used up and retired. */
const TINY = { vmap_max_alloc: 1, vmap_space: 0, lazy_max: 4 };
/** Turns of the engine after which a run is taken to have no end. */
const TURNS = 200_000;

/**
 * Two CPUs that map and unmap a page and two that call vm_unmap_aliases(), in
 * many orders.
 *
 * @returns What the checks say at the end, or what ended the run.
 */
function blockRace(...quirks: string[]): string {
  const params = { ...TINY, vmap_quirk: new Set(quirks) };
  let found = "";
  for (let seed = 1; seed <= 200 && found === ""; seed++) {
    const policy = new Jitter(seed, 200_000, TURNS);
    try {
      found = runVm({
        cpus: 4,
        params,
        engine: { policy, runAheadCycles: 0 },
        pages: 400,
      }, function* (t) {
        const threads: Thread[] = [];
        for (const fn of [block_mapper, block_mapper, flusher, flusher]) {
          threads.push(yield* kthread_run(t, fn, "race"));
        }
        for (const p of threads) yield* kthread_join(t, p);
        return t.k.vmap.check().join("; ");
      }).result;
    } catch (error) {
      if (error instanceof RangeError) throw error;
      found = (error as Error).message;
    }
  }
  return found;
}

/** Fills a block, so that it leaves its queue, and empties it, so that it is retired. */
function* use_up_block(t: Thread): Steps {
  const pages = yield* take_pages(t, 1);
  const a = yield* vm_map_ram(t, pages, 1, -1, PROT);
  const b = yield* vm_map_ram(t, pages, 1, -1, PROT);
  if (a !== 0) yield* vm_unmap_ram(t, a, 1);
  if (b !== 0) yield* vm_unmap_ram(t, b, 1);
}

function* block_mapper(t: Thread): Steps {
  for (let i = 0; i < 20; i++) yield* use_up_block(t);
}

function* flusher(t: Thread): Steps {
  for (let i = 0; i < 20; i++) yield* vm_unmap_aliases(t);
}

Deno.test("no order of four CPUs upsets the default's blocks", () => {
  assertEquals(blockRace(), "");
});

for (
  const [quirk, id, what] of [
    ["block-list-rcu-union", "B2", "deleted list entry"],
    ["block-list-del-init", "B2", "no end"],
    ["purge-lock-irqs-off", "A9", "no end"],
  ]
) {
  Deno.test(`${quirk}: some order of four CPUs shows it (${id})`, () => {
    assertStringIncludes(blockRace(quirk), what);
  });
}

/**
 * Held up in vm_unmap_ram() at the wrong moment:
 *
 * 1. CPU 1 gives up the last page of its block.
 * 2. CPU 0 purges the block, and gets the same addresses, of both pages.
 * 3. CPU 1 goes on.
 *
 * @returns The page that CPU 0 got, and whether it is mapped in the end.
 */
function heldUpInFree(...quirks: string[]): { page: number; ptes: number } {
  const policy = new Jitter(1, 200_000, TURNS, false);
  const params = { ...TINY, vmap_quirk: new Set(quirks) };
  const engine = { policy, runAheadCycles: 0 };
  return runVm({ cpus: 2, params, engine }, function* (t) {
    let given = false;
    t.k.sanitizers = new Sanitizers([{
      rcuQueued(t) { // vm_unmap_ram() has let go of the block
        if (t.task.name !== "freer") return;
        given = true;
        policy.heldBack = 1;
        charge_cycles(t, 100_000); // CPU 0's interrupts find it here
      },
    }]);
    const line = new CacheLine(0);
    const freer = yield* kthread_run(t, use_up_block, "freer");
    while (!given) yield* read_line(t, line);
    yield* vm_unmap_aliases(t);
    const pages = yield* take_pages(t, 1);
    yield* vm_map_ram(t, pages, 1, -1, PROT);
    const addr = yield* vm_map_ram(t, pages, 1, -1, PROT);
    policy.heldBack = -1;
    yield* kthread_join(t, freer);
    return {
      page: pageOf(addr),
      ptes: count_ptes(t.k, addr, addr + PAGE_SIZE),
    };
  }).result;
}

Deno.test("clear-after-dirty: vm_unmap_ram() unmaps who has the addresses next (A18)", () => {
  assertEquals(heldUpInFree(), { page: 1, ptes: 1 });
  assertEquals(heldUpInFree("clear-after-dirty"), { page: 1, ptes: 0 });
});
