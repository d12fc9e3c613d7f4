import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { PAGE_KERNEL, PROT_GLOBAL, PROT_TABLE } from "./pte.ts";
import type { TlbLevelSpec } from "./spec.ts";
import { Tlb } from "./tlb.ts";

const LOCAL = PROT_TABLE; // not global
const NONE: TlbLevelSpec = { entries: 0, ways: 1 };

function tlb(l1: number, l1Ways = l1, l2 = 0, l2Ways = 4, large = 8): Tlb {
  return new Tlb({
    l1: { entries: l1, ways: l1Ways },
    l2: l2 === 0 ? NONE : { entries: l2, ways: l2Ways },
    large: large === 0 ? NONE : { entries: large, ways: Math.min(large, 2) },
  });
}

const held = (t: Tlb) => {
  const vpns: number[] = [];
  t.forEach((vpn) => vpns.push(vpn));
  return vpns.sort((a, b) => a - b);
};

Deno.test("Tlb serves what was inserted, stale or not, until a flush", () => {
  const t = tlb(48, 48, 512);
  const vpn = 0xc20000000; // above 2^32
  assertEquals(t.lookup(vpn), -1);
  assertEquals(t.lastLevel, 0);
  t.insert(vpn, 2 ** 39 + 5, PAGE_KERNEL);
  const slot = t.lookup(vpn);
  assertEquals(t.lastLevel, 1);
  assertEquals(t.pfnAt(slot), 2 ** 39 + 5);
  assertEquals(t.translate(slot, vpn), 2 ** 39 + 5);
  assertEquals(t.flagsAt(slot), PAGE_KERNEL);
  assertEquals(t.lookup(vpn - 2 ** 32), -1);
  t.flush(); // global: survives
  assertEquals(t.holds(vpn), true);
  t.flushAll();
  assertEquals(t.holds(vpn), false);
  assertEquals([t.hitsL1, t.misses, t.flushes, t.flushesGlobal], [1, 2, 1, 1]);
});

Deno.test("Tlb.insert() over an entry replaces it", () => {
  const t = tlb(4, 4, 8);
  t.insert(1, 10, LOCAL);
  t.insert(1, 11, PAGE_KERNEL);
  assertEquals(t.size, 1);
  assertEquals(t.pfnAt(t.lookup(1)), 11);
  t.flush();
  assertEquals(t.size, 1);
});

Deno.test("Tlb replaces round robin", () => {
  const t = tlb(3, 3, 0);
  for (const vpn of [1, 2, 3]) t.insert(vpn, vpn, LOCAL);
  t.lookup(1); // use does not matter
  t.insert(4, 4, LOCAL);
  assertEquals(held(t), [2, 3, 4]);
  t.insert(5, 5, LOCAL);
  assertEquals(held(t), [3, 4, 5]);
  assertEquals(t.evictions, 2);
});

Deno.test("Tlb moves L1 victims to L2 and L2 hits back to L1", () => {
  const t = tlb(2, 2, 8, 4);
  for (const vpn of [1, 2, 3]) t.insert(vpn, vpn + 100, LOCAL);
  assertEquals(held(t), [1, 2, 3]);
  assertEquals(t.pfnAt(t.lookup(1)), 101);
  assertEquals(t.lastLevel, 2);
  assertEquals(t.pfnAt(t.lookup(1)), 101);
  assertEquals(t.lastLevel, 1);
  assertEquals(t.pfnAt(t.lookup(2)), 102); // the refill displaced it
  assertEquals(t.lastLevel, 2);
  assertEquals([t.hitsL1, t.hitsL2, t.evictions], [1, 2, 0]);
  assertEquals(held(t), [1, 2, 3]);
});

Deno.test("Tlb serves every base page of a large page", () => {
  const t = tlb(4);
  t.insertLarge(1024 + 17, 0x200, PAGE_KERNEL);
  const slot = t.lookup(1024 + 511);
  assertEquals(t.translate(slot, 1024 + 511), 0x200 + 511);
  assertEquals(t.pfnAt(slot), 0x200);
  assertEquals(t.flagsAt(slot), PAGE_KERNEL);
  assertEquals(t.lookup(1024 + 512), -1);
  assertEquals(t.lookupLarge(1024), slot);
  assertEquals(t.hitsLarge, 2);
  assertEquals(t.invalidate(1030), 1);
  assertEquals(t.lookup(1024), -1);
  assertEquals(tlb(4, 4, 0, 4, 0).insertLarge(0, 0, LOCAL), -1);
});

Deno.test("Tlb.peek() finds what lookup() would, and moves and counts nothing", () => {
  const t = tlb(2, 2, 8, 4);
  for (const vpn of [1, 2, 3]) t.insert(vpn, vpn + 100, LOCAL);
  t.insertLarge(1024, 0x200, PAGE_KERNEL);
  assertEquals([1, 2, 3, 4].map((vpn) => t.peek(vpn)), [101, 102, 103, -1]);
  assertEquals(t.peek(1024 + 17), 0x200 + 17);
  assertEquals([t.hitsL1, t.hitsL2, t.hitsLarge, t.misses], [0, 0, 0, 0]);
  t.lookup(1);
  assertEquals(t.lastLevel, 2); // still there
});

Deno.test("Tlb.invalidate() drops base and large, global or not", () => {
  const t = tlb(2, 2, 8);
  t.insertLarge(0, 0x200, PAGE_KERNEL);
  for (const vpn of [1, 2, 3]) t.insert(vpn, vpn, PAGE_KERNEL);
  assertEquals(t.invalidate(1), 2); // 1 went to L2
  assertEquals(held(t), [2, 3]);
  assertEquals(t.invalidate(1), 0);
  assertEquals(t.invalidations, 2);
});

Deno.test("Tlb refuses a geometry that it cannot index", () => {
  assertThrows(() => tlb(0), RangeError, "l1 must have >= 1 entry");
  assertThrows(() => tlb(48, 7), RangeError, "48 entries, 7 ways");
  assertThrows(() => tlb(12, 4), RangeError, "power of two"); // 3 sets
});

/** One level as plain slots: what EntryArray must amount to. */
class SlowLevel {
  readonly slots: ([number, number, number] | null)[];
  readonly turns: number[];
  constructor(readonly entries: number, readonly ways: number) {
    this.slots = new Array(entries).fill(null);
    this.turns = new Array(entries / ways || 0).fill(0);
  }
  find(vpn: number): number {
    return this.slots.findIndex((e) => e !== null && e[0] === vpn);
  }
  /** Puts an entry in; returns the one it displaces. */
  put(e: [number, number, number]): [number, number, number] | null {
    if (this.entries === 0) return e;
    const set = e[0] % this.turns.length;
    const slot = set * this.ways + this.turns[set];
    this.turns[set] = (this.turns[set] + 1) % this.ways;
    const old = this.slots[slot];
    this.slots[slot] = e;
    return old;
  }
  take(vpn: number): [number, number, number] | null {
    const slot = this.find(vpn);
    if (slot < 0) return null;
    const e = this.slots[slot];
    this.slots[slot] = null;
    return e;
  }
  keep(test: (e: [number, number, number]) => boolean): void {
    this.slots.forEach((e, i) => {
      if (e !== null && !test(e)) this.slots[i] = null;
    });
  }
}

class SlowTlb {
  readonly l1: SlowLevel;
  readonly l2: SlowLevel;
  readonly large = new SlowLevel(8, 2);
  evictions = 0;
  constructor(l1: number, w1: number, l2: number, w2: number) {
    this.l1 = new SlowLevel(l1, w1);
    this.l2 = new SlowLevel(l2, w2);
  }
  fill(e: [number, number, number]): void {
    const down = this.l1.put(e);
    if (down !== null && this.l2.put(down) !== null) this.evictions++;
  }
  lookup(vpn: number): [level: number, pfn: number, flags: number] {
    const at = this.l1.find(vpn);
    if (at >= 0) return [1, this.l1.slots[at]![1], this.l1.slots[at]![2]];
    const e = this.l2.take(vpn);
    if (e !== null) {
      this.fill(e);
      return [2, e[1], e[2]];
    }
    const big = this.large.find(Math.floor(vpn / 512));
    if (big < 0) return [0, -1, -1];
    const [, pfn, flags] = this.large.slots[big]!;
    return [1, pfn + vpn % 512, flags];
  }
  insert(e: [number, number, number]): void {
    const at = this.l1.find(e[0]);
    if (at >= 0) this.l1.slots[at] = e;
    else {
      this.l2.take(e[0]);
      this.fill(e);
    }
  }
  insertLarge(e: [number, number, number]): void {
    const at = this.large.find(e[0]);
    if (at >= 0) this.large.slots[at] = e;
    else if (this.large.put(e) !== null) this.evictions++;
  }
}

Deno.test("Tlb agrees with a slow model, entry by entry", () => {
  // Few pages, and pages 2^10 apart, so that sets and hash chains collide.
  const vpn = fc.oneof(
    fc.nat(40),
    fc.nat(30).map((n) => n * 1024),
    fc.nat(20).map((n) => 0xc20000000 + n * 32),
  );
  const flags = fc.constantFrom(LOCAL, PAGE_KERNEL);
  const what = fc.oneof(
    { weight: 12, arbitrary: fc.constantFrom("touch" as const) },
    { weight: 3, arbitrary: fc.constantFrom("invlpg" as const) },
    { weight: 2, arbitrary: fc.constantFrom("large" as const) },
    { weight: 1, arbitrary: fc.constantFrom("flush", "flushAll") },
  );
  const steps = fc.array(fc.tuple(what, vpn, flags), {
    minLength: 20,
    maxLength: 200,
  });
  const shape = fc.constantFrom(
    [12, 12, 32, 4],
    [16, 4, 64, 8],
    [3, 3, 0, 1],
    [48, 48, 64, 64],
    [16, 16, 16, 1],
  );
  fc.assert(
    fc.property(shape, steps, ([n1, w1, n2, w2], list) => {
      const t = tlb(n1, w1, n2, w2), slow = new SlowTlb(n1, w1, n2, w2);
      let pfn = 0;
      for (const [kind, page, prot] of list) {
        pfn++;
        const big = Math.floor(page / 512);
        if (kind === "touch") {
          const slot = t.lookup(page);
          assertEquals([
            t.lastLevel,
            slot < 0 ? -1 : t.translate(slot, page),
            slot < 0 ? -1 : t.flagsAt(slot),
          ], slow.lookup(page));
          if (slot < 0) {
            t.insert(page, pfn, prot);
            slow.insert([page, pfn, prot]);
          }
        } else if (kind === "large") {
          t.insertLarge(page, pfn * 512, prot);
          slow.insertLarge([big, pfn * 512, prot]);
        } else if (kind === "invlpg") {
          t.invalidate(page);
          slow.l1.take(page);
          slow.l2.take(page);
          slow.large.take(big);
        } else {
          if (kind === "flush") t.flush();
          else t.flushAll();
          for (const level of [slow.l1, slow.l2, slow.large]) {
            level.keep((e) => kind === "flush" && (e[2] & PROT_GLOBAL) !== 0);
          }
        }
        const want = [
          ...slow.l1.slots.filter((e) => e !== null),
          ...slow.l2.slots.filter((e) => e !== null),
          ...slow.large.slots.filter((e) => e !== null)
            .map(([n, p, f]) => [n * 512, p, f]),
        ];
        const got: number[][] = [];
        t.forEach((v, p, f) => got.push([v, p, f]));
        assertEquals(got, want);
        assertEquals(t.size, want.length);
        assertEquals(t.evictions, slow.evictions);
      }
    }),
    { seed: 1, numRuns: 300 },
  );
});
