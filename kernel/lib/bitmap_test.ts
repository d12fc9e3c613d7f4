import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import * as bm from "./bitmap.ts";
import { EBUSY, ENOMEM } from "./errno.ts";

/** The slow model: an array of booleans, and the naive scan. */
function naiveFind(
  model: boolean[],
  order: number,
): { pos: number; steps: number } {
  const size = 2 ** order;
  let steps = 0;
  for (let pos = 0; pos + size <= model.length; pos += size) {
    steps++;
    if (!model.slice(pos, pos + size).includes(true)) return { pos, steps };
  }
  return { pos: -ENOMEM, steps };
}

function fromModel(model: boolean[]): Uint32Array {
  const map = bm.bitmap_alloc(model.length);
  model.forEach((bit, nr) => bit && bm.set_bit(nr, map));
  return map;
}

function toModel(map: Uint32Array, bits: number): boolean[] {
  return Array.from({ length: bits }, (_, nr) => bm.test_bit(nr, map));
}

const bits = fc.integer({ min: 1, max: 300 });
/** Sparse and dense maps alike. */
const model = fc.tuple(bits, fc.integer({ min: 1, max: 60 })).chain((
  [length, rarity],
) =>
  fc.tuple(
    fc.boolean(),
    fc.array(fc.nat({ max: rarity }), { minLength: length, maxLength: length }),
  ).map(([mostly, dice]) => dice.map((d) => (d === 0) !== mostly))
);

Deno.test("bitmap_find_free_region() finds what the naive scan finds, at every order", () => {
  fc.assert(
    fc.property(model, fc.nat({ max: 9 }), (m, order) => {
      const map = fromModel(m);
      const want = naiveFind(m, order);
      const pos = bm.bitmap_find_free_region(map, m.length, order);
      assertEquals(pos, want.pos);
      if (pos < 0) {
        assertEquals(toModel(map, m.length), m);
        return;
      }
      assertEquals(bm.region_scan_steps(pos, order), want.steps);
      assertEquals(toModel(map, m.length), m.fill(true, pos, pos + 2 ** order));
    }),
    { numRuns: 3000 },
  );
});

Deno.test("bitmap_find_free_region() finds the same when told which words are full", () => {
  fc.assert(
    fc.property(
      model,
      fc.nat({ max: 9 }),
      fc.nat({ max: 9 }),
      (m, order, full) => {
        const map = fromModel(m.fill(true, 0, full * 32));
        const want = naiveFind(m, order);
        const from = Math.min(full, map.length);
        assertEquals(
          bm.bitmap_find_free_region(map, m.length, order, from),
          want.pos,
        );
      },
    ),
    { numRuns: 1000 },
  );
});

Deno.test("bitmap_find_free_region() fills a 1024-bit map exactly, at every order", () => {
  for (let order = 0; order <= 10; order++) {
    const map = bm.bitmap_alloc(1024);
    for (let pos = 0; pos < 1024; pos += 2 ** order) {
      assertEquals(bm.bitmap_find_free_region(map, 1024, order), pos);
    }
    assert(bm.bitmap_full(map, 1024));
    assertEquals(bm.bitmap_find_free_region(map, 1024, order), -ENOMEM);
    for (let pos = 1024 - 2 ** order; pos >= 0; pos -= 2 ** order) {
      bm.bitmap_release_region(map, pos, order);
      assertEquals(bm.bitmap_find_free_region(map, 1024, order), pos);
      bm.bitmap_release_region(map, pos, order);
    }
    assert(bm.bitmap_empty(map, 1024));
  }
});

Deno.test("bitmap_find_free_region() refuses orders larger than the map", () => {
  const map = bm.bitmap_alloc(64);
  assertEquals(bm.bitmap_find_free_region(map, 64, 7), -ENOMEM);
  assertEquals(bm.bitmap_find_free_region(map, 64, 37), -ENOMEM);
  assertEquals(bm.bitmap_find_free_region(map, 64, 52), -ENOMEM);
  assertEquals(bm.bitmap_find_free_region(map, 40, 6), -ENOMEM);
  assert(bm.bitmap_empty(map, 64));
});

Deno.test("bitmap_allocate_region() takes a free region and refuses a busy one", () => {
  const map = bm.bitmap_alloc(256);
  bm.__set_bit(70, map);
  assertEquals(bm.bitmap_allocate_region(map, 64, 3), -EBUSY);
  assertEquals(bm.bitmap_allocate_region(map, 64, 6), -EBUSY);
  assertEquals(bm.bitmap_weight(map, 256), 1);
  assertEquals(bm.bitmap_allocate_region(map, 72, 3), 0);
  assertEquals(bm.bitmap_allocate_region(map, 128, 7), 0);
  assertEquals(bm.bitmap_weight(map, 256), 1 + 8 + 128);
  bm.bitmap_release_region(map, 128, 6);
  assertEquals(bm.find_next_bit(map, 256, 80), 192);
});

Deno.test("bitmap_set() and bitmap_clear() touch their range and nothing else", () => {
  fc.assert(
    fc.property(model, fc.nat(), fc.nat(), fc.boolean(), (m, a, b, set) => {
      const start = a % m.length;
      const len = b % (m.length - start + 1);
      const map = fromModel(m);
      if (set) bm.bitmap_set(map, start, len);
      else bm.bitmap_clear(map, start, len);
      assertEquals(toModel(map, m.length), m.fill(set, start, start + len));
    }),
  );
});

Deno.test("searches and counts agree with an array, whatever lies beyond the last bit", () => {
  fc.assert(
    fc.property(
      model,
      fc.nat({ max: 310 }),
      fc.boolean(),
      (m, offset, junk) => {
        const n = m.length;
        const map = fromModel(m);
        if (junk) bm.bitmap_set(map, n, -n & 31);
        const next = (bit: boolean, from: number) => {
          const pos = m.indexOf(bit, from);
          return pos < 0 ? n : pos;
        };
        assertEquals(bm.find_next_bit(map, n, offset), next(true, offset));
        assertEquals(
          bm.find_next_zero_bit(map, n, offset),
          next(false, offset),
        );
        assertEquals(bm.find_first_bit(map, n), next(true, 0));
        assertEquals(bm.find_first_zero_bit(map, n), next(false, 0));
        assertEquals(bm.bitmap_weight(map, n), m.filter((bit) => bit).length);
        assertEquals(bm.bitmap_full(map, n), !m.includes(false));
        assertEquals(bm.bitmap_empty(map, n), !m.includes(true));
      },
    ),
  );
});

Deno.test("set_bit(), clear_bit() and bitmap_zero() work on the edges of words", () => {
  const map = bm.bitmap_alloc(96);
  for (const nr of [0, 31, 32, 63, 64, 95]) {
    bm.set_bit(nr, map);
    assert(bm.test_bit(nr, map));
    assertEquals(bm.bitmap_weight(map, 96), 1);
    bm.clear_bit(nr, map);
    assert(!bm.test_bit(nr, map));
    bm.__set_bit(nr, map);
    bm.__clear_bit(nr, map);
    assert(bm.bitmap_empty(map, 96));
  }
  bm.bitmap_set(map, 0, 96);
  bm.bitmap_zero(map, 64);
  assertEquals(toModel(map, 96).indexOf(true), 64);
});
