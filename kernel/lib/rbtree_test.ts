import {
  assert,
  assertEquals,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import fc from "fast-check";
import { Rng } from "../../arch/sim/random.ts";
import {
  check_rbtree,
  RB_CLEAR_NODE,
  RB_EMPTY_NODE,
  RB_EMPTY_ROOT,
  rb_erase,
  rb_first,
  rb_insert_color,
  rb_last,
  rb_link_node,
  rb_next,
  rb_prev,
  rb_replace_node,
  RbNode,
  RbRoot,
  type RbSide,
} from "./rbtree.ts";

class Area extends RbNode {
  constructor(readonly start: number) {
    super();
  }
}

const byStart = (a: Area, b: Area) => a.start - b.start;

function insert(root: RbRoot<Area>, area: Area): void {
  let parent: Area | null = null;
  let link: RbSide = "left";
  for (let p = root.rb_node; p !== null;) {
    parent = p;
    link = area.start < p.start ? "left" : "right";
    p = link === "left" ? p.rb_left : p.rb_right;
  }
  rb_link_node(area, parent, root, link);
  rb_insert_color(area, root);
}

function forwards(root: RbRoot<Area>): number[] {
  const starts: number[] = [];
  for (let p = rb_first(root); p !== null; p = rb_next(p)) starts.push(p.start);
  return starts;
}

function backwards(root: RbRoot<Area>): number[] {
  const starts: number[] = [];
  for (let p = rb_last(root); p !== null; p = rb_prev(p)) starts.push(p.start);
  return starts;
}

Deno.test("a tree under random operations equals a sorted array, and stays red-black", () => {
  const op = fc.record({
    kind: fc.constantFrom("insert", "insert", "erase", "replace"),
    at: fc.nat({ max: 40 }),
  });
  fc.assert(
    fc.property(fc.array(op, { maxLength: 120, size: "max" }), (ops) => {
      const root = new RbRoot<Area>();
      const model: Area[] = [];
      for (const { kind, at } of ops) {
        if (kind === "insert") {
          const area = new Area(at);
          insert(root, area);
          const above = model.findIndex((a) => a.start > at);
          model.splice(above < 0 ? model.length : above, 0, area); // after its equals, as insert() walks
        } else if (model.length > 0) {
          const i = at % model.length;
          if (kind === "erase") {
            rb_erase(model[i], root);
            model.splice(i, 1);
          } else {
            const area = new Area(model[i].start);
            rb_replace_node(model[i], area, root);
            model[i] = area;
          }
        }
        assertEquals(check_rbtree(root, byStart), model.length);
      }
      let p = rb_first(root);
      for (const area of model) {
        assertStrictEquals(p, area);
        p = rb_next(area);
      }
      assertStrictEquals(p, null);
      assertEquals(backwards(root), model.map((a) => a.start).reverse());
    }),
    { numRuns: 500 },
  );
});

Deno.test("rb_erase() keeps a tree of 10,000 nodes red-black down to the last one", () => {
  const rng = new Rng(1);
  const root = new RbRoot<Area>();
  const areas = rng.shuffle(
    Array.from({ length: 10_000 }, (_, i) => new Area(i)),
  );
  for (const area of areas) insert(root, area);
  assertEquals(check_rbtree(root, byStart), 10_000);
  assertEquals(forwards(root), Array.from({ length: 10_000 }, (_, i) => i));
  rng.shuffle(areas);
  areas.forEach((area, n) => {
    rb_erase(area, root);
    if (n % 100 === 0) assertEquals(check_rbtree(root, byStart), 9_999 - n);
  });
  assert(RB_EMPTY_ROOT(root));
});

Deno.test("rb_insert_color() keeps ascending and descending insertion balanced", () => {
  for (const step of [1, -1]) {
    const root = new RbRoot<Area>();
    for (let i = 0; i < 1023; i++) {
      insert(root, new Area(step * i));
      check_rbtree(root, byStart);
    }
    let height = 0;
    const depth = (p: Area | null, d: number): void => {
      if (p === null) return void (height = Math.max(height, d));
      depth(p.rb_left, d + 1);
      depth(p.rb_right, d + 1);
    };
    depth(root.rb_node, 0);
    assert(height <= 20, `height is ${height}, and 2 log2(1024) is 20`);
  }
});

Deno.test("rb_first() and rb_last() of an empty tree are null", () => {
  const root = new RbRoot<Area>();
  assertEquals([rb_first(root), rb_last(root)], [null, null]);
  assertEquals(check_rbtree(root, byStart), 0);
});

Deno.test("RB_CLEAR_NODE() marks an erased node, which has no neighbours then", () => {
  const root = new RbRoot<Area>();
  const areas = [1, 2, 3].map((start) => new Area(start));
  for (const area of areas) insert(root, area);
  rb_erase(areas[1], root);
  assert(!RB_EMPTY_NODE(areas[1]));
  RB_CLEAR_NODE(areas[1]);
  assert(RB_EMPTY_NODE(areas[1]));
  assertEquals([rb_next(areas[1]), rb_prev(areas[1])], [null, null]);
  insert(root, areas[1]);
  assert(!RB_EMPTY_NODE(areas[1]));
  assertEquals(forwards(root), [1, 2, 3]);
});

Deno.test("check_rbtree() finds each kind of damage", () => {
  const build = () => {
    const root = new RbRoot<Area>();
    for (let i = 0; i < 20; i++) insert(root, new Area(i));
    return root;
  };
  const damage: [string, (root: Area) => void][] = [
    ["root is red", (root) => root.red = true],
    ["black heights differ", (root) => root.rb_left = null],
    ["rb_parent", (root) => (root.rb_left as Area).rb_parent = null],
    ["sorts before", (root) => Object.assign(root, { start: 99 })],
  ];
  for (const [message, hit] of damage) {
    const root = build();
    hit(root.rb_node as Area);
    assertThrows(() => check_rbtree(root, byStart), Error, message);
  }
  const root = new RbRoot<Area>();
  for (let i = 0; i < 4; i++) insert(root, new Area(i)); // 1 over 0 and 2, over a red 3
  (root.rb_node as Area).rb_right!.red = true;
  assertThrows(() => check_rbtree(root, byStart), Error, "red child");
});
