import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import * as h from "./hlist.ts";
import { HlistHead, HlistNode } from "./hlist.ts";
import { ListPoisonError } from "./list.ts";

class Item {
  readonly node: HlistNode<Item> = new HlistNode<Item>(this);
  constructor(readonly id: number) {}
}

const ids = (head: HlistHead<Item>) =>
  h.hlist_entries(head).map((item) => item.id);

Deno.test("two buckets under random operations equal two arrays", () => {
  const op = fc.record({
    kind: fc.constantFrom(
      "add",
      "add_rcu",
      "del",
      "del_init",
      "del_rcu",
      "del_init_rcu",
      "move",
    ),
    on: fc.nat({ max: 1 }),
    at: fc.nat(),
  });
  fc.assert(
    fc.property(fc.array(op, { maxLength: 100, size: "max" }), (ops) => {
      const heads = [new HlistHead<Item>(), new HlistHead<Item>()];
      const models: Item[][] = [[], []];
      let serial = 0;
      for (const { kind, on, at } of ops) {
        const model = models[on];
        if (kind === "add" || kind === "add_rcu") {
          const item = new Item(serial++);
          if (kind === "add") h.hlist_add_head(item.node, heads[on]);
          else h.hlist_add_head_rcu(item.node, heads[on]);
          model.unshift(item);
        } else if (model.length > 0) {
          const [item] = model.splice(at % model.length, 1);
          const next = item.node.next;
          if (kind === "del") h.hlist_del(item.node);
          else if (kind === "del_rcu") h.hlist_del_rcu(item.node);
          else if (kind === "del_init_rcu") h.hlist_del_init_rcu(item.node);
          else h.hlist_del_init(item.node);
          if (kind.endsWith("rcu")) assert(item.node.next === next);
          assertEquals(
            h.hlist_unhashed(item.node),
            kind !== "del" && kind !== "del_rcu",
          );
          if (kind === "move") {
            h.hlist_add_head(item.node, heads[1 - on]);
            models[1 - on].unshift(item);
          }
        }
        heads.forEach((head, n) => {
          assertEquals(ids(head), models[n].map((item) => item.id));
          assertEquals(h.hlist_empty(head), models[n].length === 0);
          models[n].forEach((item, i) => {
            assert(item.node.prev === (models[n][i - 1]?.node ?? null));
            assert(item.node.head === head);
          });
        });
      }
    }),
    { numRuns: 300 },
  );
});

Deno.test("hlist_del() poisons the node, so that a second deletion throws", () => {
  const head = new HlistHead<Item>();
  const [a, b] = [new Item(1), new Item(2)];
  h.hlist_add_head(a.node, head);
  h.hlist_add_head(b.node, head);
  h.hlist_del(a.node);
  assertThrows(() => h.hlist_del(a.node), ListPoisonError, "00200200");
  assertThrows(() => h.hlist_del_init(a.node), ListPoisonError);
  h.hlist_del_rcu(b.node);
  assertThrows(() => h.hlist_del_rcu(b.node), ListPoisonError);
  assert(h.hlist_empty(head));
});

Deno.test("hlist_del_init() of a node in no bucket does nothing", () => {
  const item = new Item(1);
  h.hlist_del_init(item.node);
  h.hlist_del_init_rcu(item.node);
  assert(h.hlist_unhashed(item.node));
});
