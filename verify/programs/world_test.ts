import { assert, assertEquals, assertThrows } from "@std/assert";
import { Rng } from "../../arch/sim/random.ts";
import { KernelBug } from "../../kernel/bug.ts";
import { vunmap_page_range } from "../../kernel/mm/pgtable.ts";
import { SANITIZERS } from "../../kernel/sanitizers/index.ts";
import { SanitizerReport } from "../../kernel/sanitizers/report.ts";
import type { Chooser } from "../explore/chooser.ts";
import { ExploreMachine, type ExploreOptions } from "../explore/machine.ts";
import { Pct } from "../explore/pct.ts";
import { RandomWalk } from "../explore/random_walk.ts";
import { RuleChooser } from "../explore/rule.ts";
import { generate } from "./generate.ts";
import { earlyFunction, isRefusal } from "./interpret.ts";
import { formatProgram, parseProgram } from "./program.ts";
import { World } from "./world.ts";

const RULE = new RuleChooser();

function newWorld(text = "", options: ExploreOptions = {}): World {
  const early = earlyFunction(parseProgram(text));
  return new World(new ExploreMachine({ ...options, early }));
}

/** Runs one program after another on the machine of `w`. */
function run(w: World, ...texts: string[]): void {
  for (const text of texts) {
    w.machine.run(w.functions(parseProgram(text)), RULE);
  }
}

/** Gives everything back. @returns What is lost. */
function clean(w: World): string[] {
  w.machine.run(w.cleanup(), RULE);
  w.machine.settle(RULE);
  assert(w.empty);
  return w.leaks();
}

function quirk(name: string): ExploreOptions {
  return { params: { vmap_quirk: new Set([name]) } };
}

/** Addresses of what slot `n` holds, pages from the start of vmalloc space. */
function held(w: World, n: number): number[] {
  const { start, page_size } = w.k.vmalloc;
  return w.slots[n].mappings.map(({ addr }) => (addr - start) / page_size);
}

/** Runs random programs, and what `chooser` makes of them. */
function runMany(seed: number, rounds: number, chooser: (r: Rng) => Chooser) {
  const rng = new Rng(seed);
  const chosen = chooser(rng);
  let w: World | null = null;
  let refusals = 0;
  for (let i = 0; i < rounds; i++) {
    const program = generate(rng, 2, w === null);
    w ??= newWorld(formatProgram(program));
    try {
      w.machine.run(w.functions(program), chosen);
      if (i % 16 === 15) assertEquals(clean(w), [], `${seed}: round ${i}`);
    } catch (error) {
      if (!isRefusal(error, w)) throw error;
      refusals++;
      w = null;
    }
  }
  return refusals;
}

for (const seed of [1, 2, 3]) {
  Deno.test(`generated programs find nothing in the default kernel: random walk, seed ${seed}`, () => {
    const refusals = runMany(seed, 2000, (rng) => new RandomWalk(rng));
    assert(refusals < 20, `${refusals}`);
  });

  Deno.test(`generated programs find nothing in the default kernel: PCT, seed ${seed}`, () => {
    const refusals = runMany(seed, 2000, (rng) => new Pct(rng, 3));
    assert(refusals < 20, `${refusals}`);
  });
}

Deno.test("generated programs find nothing on one CPU, nor on four", () => {
  for (const cpus of [1, 4]) {
    const rng = new Rng(1);
    const w = newWorld("", { cpus });
    const walk = new RandomWalk(rng);
    for (let i = 0; i < 400; i++) {
      const program = generate(rng, cpus);
      if (formatProgram(program).includes("D")) continue;
      w.machine.run(w.functions(program), walk);
      if (i % 16 === 15) assertEquals(clean(w), []);
    }
  }
});

Deno.test("generated programs lose nothing when allocations fail", () => {
  const rng = new Rng(1);
  const w = newWorld();
  const { driver, k } = w.machine;
  k.faults.decide = () => driver.allocationFails();
  const walk = new RandomWalk(rng, 20);
  for (let i = 0; i < 500; i++) {
    const program = generate(rng, 2);
    const text = formatProgram(program);
    if (text.includes("D")) continue;
    w.machine.run(w.functions(program), walk);
    if (i % 16 === 15) assertEquals(clean(w), [], text);
  }
});

Deno.test("generated programs run on the old layer too", () => {
  const rng = new Rng(1);
  const w = newWorld("", { params: { vmap: "vmlist" } });
  const walk = new RandomWalk(rng);
  for (let i = 0; i < 300; i++) {
    const program = generate(rng, 2);
    if (formatProgram(program).includes("D")) continue;
    w.machine.run(w.functions(program), walk);
  }
  assertEquals(clean(w), []);
});

Deno.test("a mapping call fills an empty slot and empties a full one", () => {
  const w = newWorld();
  run(w, "R12M21");
  assertEquals([held(w, 1).length, held(w, 2).length], [1, 1]);
  assertEquals([...w.inUse().keys()], [1, 2]);
  run(w, "V13");
  assertEquals(held(w, 1), []);
  assertEquals(w.empty, false);
  assertEquals(clean(w), []);
});

Deno.test("calls on what holds nothing do nothing", () => {
  const w = newWorld();
  run(w, ".");
  const { step } = w.machine.driver;
  run(w, "F1D1T13L1K1.");
  assertEquals(w.machine.driver.step, step);
});

Deno.test("a burst maps many, and they go one by one", () => {
  const w = newWorld();
  run(w, "B17");
  assertEquals(held(w, 1), [0, 1, 2, 3, 4, 5, 6, 7]); // a block
  run(w, "F13");
  assertEquals(held(w, 1), [3, 4, 5, 6, 7]);
  run(w, "F1");
  assertEquals(clean(w), []);
});

Deno.test("a range is looked for where it is wanted", () => {
  const w = newWorld();
  run(w, "N11", "N2a"); // one page from eighth 0 on, two from eighth 1 on
  assertEquals([held(w, 1), held(w, 2)], [[0], [8]]);
});

Deno.test("sizes of nothing, and sizes that wrap, are refused", () => {
  const w = newWorld();
  run(w, "M0V1R2A3N4"); // 0 pages
  for (let n = 64; n < 96; n++) {
    const size = n.toString(36);
    run(w, `M0${size}V1${size}R2${size}A3${size}`);
  }
  assert(w.empty);
  assertEquals(clean(w), []);
});

Deno.test("what is written is read through every mapping of a page", () => {
  const w = newWorld();
  run(w, "V0gR1g"); // 16 pages each: the whole pool twice
  run(w, "T01T13T05", "T0T1T12T02T04T14");
  const [page] = w.slots[0].mappings[0].pages;
  assert(page.value > 0);
  const { memory } = w.machine.machine;
  memory.write32(page.page.pfn * memory.pageBytes, 12345);
  assertThrows(
    () => run(w, "T0"),
    SanitizerReport,
    "data: wrong data through a mapping",
  );
});

Deno.test("several tasks use one mapping at a time", () => {
  const w = newWorld("", { sanitize: SANITIZERS.map(({ name }) => name) });
  run(w, "R02");
  const [slot] = w.slots;
  const [page] = slot.mappings[0].pages;
  let [users, readers] = [0, 0];
  w.machine.driver.watcher = {
    operation() {
      users = Math.max(users, slot.users);
      readers = Math.max(readers, page.readers);
    },
  };
  const functions = w.functions(parseProgram("T0T0T03.T0T0L0"));
  const walk = new RandomWalk(new Rng(1));
  for (let i = 0; i < 100; i++) w.machine.run(functions, walk);
  assertEquals([users, readers], [2, 2]);
  // Both have it in their TLBs now.
  const vpn = slot.mappings[0].addr / w.k.vmalloc.page_size;
  const entries = w.machine.machine.mmu.tlbs.map((tlb) => {
    let count = 0;
    tlb.forEach((n) => count += n === vpn ? 1 : 0);
    return count;
  });
  assertEquals(entries, [1, 1]);
  assertEquals(clean(w), []);
});

Deno.test("what somebody uses nobody empties; what somebody reads nobody writes", () => {
  const w = newWorld();
  run(w, "R01");
  const [slot] = w.slots;
  slot.users = 1;
  for (const text of ["F", "D", "M01", "V01"]) run(w, text);
  assertEquals(slot.mappings.length, 1);
  const [page] = slot.mappings[0].pages;
  page.readers = 1;
  run(w, "T01");
  assertEquals(page.value, -1);
  page.readers = 0;
  run(w, "T01");
  assert(page.value > 0);
  slot.users = 0;
  run(w, "F");
  assertEquals(clean(w), []);
});

Deno.test("what a call maps does not depend on rounds that have left nothing", () => {
  const pages = ["M01F", "R01B13F0F1", ""].map((before) => {
    const w = newWorld();
    run(w, before, "B02R13");
    const { pool } = w;
    return w.slots.flatMap(({ mappings }) =>
      mappings.flatMap((m) => m.pages.map((page) => pool.indexOf(page)))
    );
  });
  assertEquals(pages[0].length, 6);
  assertEquals(pages[1], pages[0]);
  assertEquals(pages[2], pages[0]);
});

Deno.test("a mapping that loses its pages is reported", () => {
  const w = newWorld();
  run(w, "V02");
  const [{ addr }] = w.slots[0].mappings;
  w.machine.run([(t) => vunmap_page_range(t, addr, addr + 4096)], RULE);
  assertThrows(
    () => run(w, "F"),
    SanitizerReport,
    "data: a live mapping has lost its page",
  );
});

Deno.test("early areas keep their addresses", () => {
  const w = newWorld("E03E07E12U-");
  assertEquals(w.early.length, 2); // one at a place
  run(w, "A01A11A21A31A41");
  assertEquals([0, 1, 2, 3, 4].map((n) => held(w, n)[0]), [5, 12, 15, 18, 21]);
  assertEquals(clean(w), []);
});

Deno.test("addresses of an early area that are given out are reported", () => {
  const w = newWorld("E03-", quirk("no-vmlist-import"));
  assertThrows(
    () => run(w, "A01"),
    KernelBug,
    "addresses were given out that are in use",
  );
});

Deno.test("a second vm_unmap_ram() is refused with a BUG, which is no finding: each of them", () => {
  const cases = [
    "R02D", // its block is alive
    "B07F07D", // its block is gone
    "R0cD", // an area of its own
  ];
  const headlines = cases.map((text) => {
    const w = newWorld();
    const error = assertThrows(() => run(w, text), KernelBug);
    // If this fails, a BUG's text has changed: misuse.ts has the new one to know.
    assert(isRefusal(error, w), error.message);
    return error.headline;
  });
  assertEquals(new Set(headlines).size, cases.length, `${headlines}`);
});

Deno.test("a second vfree(), vunmap() or remove_vm_area() is survived", () => {
  const w = newWorld();
  run(w, "M01D", "V01D", "A01D", "N01D");
  assertEquals(w.k.printk.warnings, 2);
  assertEquals(clean(w), []);
});

Deno.test("a second vfree() that is not survived is a finding", () => {
  const w = newWorld("", quirk("double-free-accepted"));
  const error = assertThrows(() => run(w, "M01D"), KernelBug);
  assert(!isRefusal(error, w));
});

Deno.test("another oops in the middle of a misuse is a finding", () => {
  const w = newWorld();
  const [a, b] = w.machine.tasks;
  const bug = new KernelBug(
    a,
    "kernel BUG at vb_free: address lies in no block",
  );
  assert(!isRefusal(bug, w), "there is no misuse");
  w.misuse = { pid: b.task.pid, kind: 2 };
  assert(!isRefusal(bug, w), "it is another task's");
  w.misuse = { pid: a.task.pid, kind: 0 };
  assert(!isRefusal(bug, w), "vfree() has no such oops");
  w.misuse = { pid: a.task.pid, kind: 2 };
  assert(isRefusal(bug, w));
  assert(!isRefusal(new KernelBug(a, "kernel BUG at x: y"), w));
  assert(!isRefusal(new SanitizerReport(a, "areas", bug.headline), w));
});

Deno.test("leaks() tells what has been lost", () => {
  const w = newWorld("", quirk("leak-on-failure"));
  run(w, "A1m", "A0s"); // 22 and 28 pages fit
  run(w, "A2s");
  const lost = clean(w);
  assertEquals(lost.length, 1);
  assert(lost[0].includes("of vmap_area are in use"), lost[0]);
});

Deno.test("equal programs under equal schedules make equal worlds", () => {
  const clocks = [0, 1].map(() => {
    const rng = new Rng(5);
    const w = newWorld();
    const walk = new RandomWalk(rng);
    for (let i = 0; i < 50; i++) {
      const program = generate(rng, 2);
      if (formatProgram(program).includes("D")) continue;
      w.machine.run(w.functions(program), walk);
    }
    const { cpus } = w.machine.machine.engine;
    return [...cpus.map(({ clock }) => clock), ...w.inUse()];
  });
  assertEquals(clocks[0], clocks[1]);
});
