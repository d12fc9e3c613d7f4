import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { EEXIST } from "./errno.ts";
import {
  radix_tree_delete,
  radix_tree_gang_lookup,
  radix_tree_insert,
  radix_tree_lookup,
  radix_tree_nodes_needed,
  type RadixTreeNode,
  RadixTreeRoot,
} from "./radix_tree.ts";

/** Counts nodes by walking, and checks each one's count and height. */
function countNodes(slot: unknown, height: number): number {
  if (height === 0 || slot === null) return 0;
  const node = slot as RadixTreeNode<unknown>;
  assertEquals(node.height, height);
  const used = node.slots.filter((s) => s !== null);
  assertEquals(node.count, used.length);
  return 1 +
    used.reduce((sum: number, s) => sum + countNodes(s, height - 1), 0);
}

const BOUNDARIES = [
  0,
  1,
  63,
  64,
  65,
  4095,
  4096,
  2 ** 30 - 1,
  2 ** 30,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 36,
  2 ** 47,
  2 ** 48,
];

Deno.test("a tree under random operations equals a Map, and counts its nodes", () => {
  const index = fc.oneof(
    fc.nat({ max: 200 }),
    fc.constantFrom(...BOUNDARIES),
    fc.tuple(fc.nat({ max: 2 ** 31 - 1 }), fc.nat({ max: 2 ** 17 - 1 })).map((
      [lo, hi],
    ) => hi * 2 ** 31 + lo),
  );
  const op = fc.record({
    kind: fc.constantFrom("insert", "insert", "delete", "delete-at"),
    index,
  });
  fc.assert(
    fc.property(fc.array(op, { maxLength: 80, size: "max" }), (ops) => {
      const root = new RadixTreeRoot<string>();
      const model = new Map<number, string>();
      for (const { kind, index } of ops) {
        if (kind === "insert") {
          const needed = radix_tree_nodes_needed(root, index);
          const before = root.nr_nodes;
          const status = radix_tree_insert(root, index, `item ${index}`);
          assertEquals(root.nr_nodes - before, needed);
          assertEquals(status, model.has(index) ? -EEXIST : 0);
          model.set(index, `item ${index}`);
        } else {
          const keys = [...model.keys()];
          const at = kind === "delete-at" && keys.length > 0
            ? keys[index % keys.length]
            : index;
          assertEquals(radix_tree_delete(root, at), model.get(at) ?? null);
          model.delete(at);
        }
        assertEquals(countNodes(root.rnode, root.height), root.nr_nodes);
        assertEquals(radix_tree_lookup(root, index), model.get(index) ?? null);
      }
      const sorted = [...model.keys()].sort((a, b) => a - b);
      for (const i of sorted) {
        assertEquals(radix_tree_lookup(root, i), model.get(i));
      }
      for (const first of [0, ...ops.map((o) => o.index)]) {
        const expected = sorted.filter((i) => i >= first).map((i) =>
          model.get(i) as string
        );
        assertEquals(radix_tree_gang_lookup(root, first, 1000), expected);
        assertEquals(
          radix_tree_gang_lookup(root, first, 3),
          expected.slice(0, 3),
        );
      }
      for (const i of sorted) {
        assertEquals(radix_tree_delete(root, i), model.get(i));
      }
      assertEquals([root.rnode, root.height, root.nr_nodes], [null, 0, 0]);
    }),
    { numRuns: 300 },
  );
});

Deno.test("radix_tree_insert() keeps boundary indices apart", () => {
  const root = new RadixTreeRoot<number>();
  for (const index of BOUNDARIES) {
    assertEquals(radix_tree_insert(root, index, index), 0);
  }
  for (const index of BOUNDARIES) {
    assertEquals(radix_tree_insert(root, index, -1), -EEXIST);
    assertEquals(radix_tree_lookup(root, index), index);
  }
  for (
    const index of [
      2,
      62,
      66,
      4094,
      2 ** 31,
      2 ** 32 + 1,
      2 ** 33,
      2 ** 46,
      2 ** 47 - 1,
      2 ** 52,
    ]
  ) {
    assertEquals(radix_tree_lookup(root, index), null);
    assertEquals(radix_tree_delete(root, index), null);
  }
  assertEquals(radix_tree_gang_lookup(root, 0, 100), BOUNDARIES);
});

Deno.test("radix_tree_insert() grows to the height that an index needs", () => {
  const heights: [number, number][] = [
    [0, 0],
    [1, 1],
    [63, 1],
    [64, 2],
    [4095, 2],
    [4096, 3],
    [2 ** 32, 6],
    [2 ** 36 - 1, 6],
    [2 ** 47, 8],
    [2 ** 48 - 1, 8],
    [2 ** 48, 9],
    [Number.MAX_SAFE_INTEGER, 9],
  ];
  for (const [index, height] of heights) {
    const root = new RadixTreeRoot<string>();
    radix_tree_insert(root, index, "item");
    assertEquals([root.height, root.nr_nodes], [height, height]);
    assertEquals(radix_tree_lookup(root, index), "item");
  }
});

Deno.test("radix_tree_delete() shrinks the tree to what is left", () => {
  const root = new RadixTreeRoot<string>();
  radix_tree_insert(root, 0, "zero");
  radix_tree_insert(root, 5, "five");
  radix_tree_insert(root, 2 ** 32, "far");
  assertEquals([root.height, root.nr_nodes], [6, 6 + 5]);
  radix_tree_delete(root, 2 ** 32);
  assertEquals([root.height, root.nr_nodes], [1, 1]);
  radix_tree_delete(root, 5);
  assertEquals([root.height, root.rnode], [0, "zero"]);
  radix_tree_delete(root, 0);
  assertEquals([root.height, root.rnode], [0, null]);
});

Deno.test("radix_tree_delete() keeps the height while the only item is not at slot 0", () => {
  const root = new RadixTreeRoot<string>();
  radix_tree_insert(root, 64, "a");
  radix_tree_insert(root, 0, "b");
  radix_tree_delete(root, 0);
  assertEquals([root.height, root.nr_nodes], [2, 2]);
  assertEquals(radix_tree_lookup(root, 64), "a");
});
