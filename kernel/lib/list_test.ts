import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import * as list from "./list.ts";
import { ListHead, ListPoisonError } from "./list.ts";

class Item {
  readonly link: ListHead<Item> = new ListHead<Item>(this);
  constructor(readonly id: number) {}
}

const ids = (head: ListHead<Item>) =>
  list.list_entries(head).map((item) => item.id);

Deno.test("two lists under random operations equal two arrays", () => {
  const op = fc.record({
    kind: fc.constantFrom(
      "add",
      "add_tail",
      "del",
      "del_init",
      "move",
      "move_tail",
      "replace",
      "splice_init",
      "splice_tail_init",
    ),
    on: fc.nat({ max: 1 }),
    at: fc.nat(),
  });
  fc.assert(
    fc.property(fc.array(op, { maxLength: 100, size: "max" }), (ops) => {
      const heads = [new ListHead<Item>(), new ListHead<Item>()];
      const models: Item[][] = [[], []];
      let serial = 0;
      for (const { kind, on, at } of ops) {
        const [head, model, other, otherModel] = [
          heads[on],
          models[on],
          heads[1 - on],
          models[1 - on],
        ];
        const item = model.length > 0 ? model[at % model.length] : null;
        if (kind === "add") {
          const added = new Item(serial++);
          list.list_add(added.link, head);
          model.unshift(added);
        } else if (kind === "add_tail") {
          const added = new Item(serial++);
          list.list_add_tail(added.link, head);
          model.push(added);
        } else if (kind === "splice_init") {
          list.list_splice_init(other, head);
          model.unshift(...otherModel.splice(0));
        } else if (kind === "splice_tail_init") {
          list.list_splice_tail_init(other, head);
          model.push(...otherModel.splice(0));
        } else if (item !== null) {
          const i = model.indexOf(item);
          if (kind === "replace") {
            model[i] = new Item(serial++);
            list.list_replace(item.link, model[i].link);
          } else {
            model.splice(i, 1);
            if (kind === "del") list.list_del(item.link);
            if (kind === "del_init") {
              list.list_del_init(item.link);
              assert(list.list_empty(item.link));
            }
            if (kind === "move") {
              list.list_move(item.link, other);
              otherModel.unshift(item);
            }
            if (kind === "move_tail") {
              list.list_move_tail(item.link, other);
              otherModel.push(item);
            }
          }
        }
        heads.forEach((h, n) => {
          assertEquals(list.check_list(h), models[n].length);
          assertEquals(ids(h), models[n].map((m) => m.id));
          assertEquals(list.list_empty(h), models[n].length === 0);
          if (models[n].length > 0) {
            assert(list.list_first_entry(h) === models[n][0]);
            assert(list.list_is_last(models[n].at(-1)!.link, h));
          }
        });
      }
    }),
    { numRuns: 300 },
  );
});

Deno.test("list_splice() joins lists, at the front and at the back", () => {
  const [a, b, empty] = [
    new ListHead<Item>(),
    new ListHead<Item>(),
    new ListHead<Item>(),
  ];
  for (const id of [1, 2]) list.list_add_tail(new Item(id).link, a);
  for (const id of [3, 4]) list.list_add_tail(new Item(id).link, b);
  list.list_splice(empty, b);
  list.list_splice_tail(empty, b);
  assertEquals(ids(b), [3, 4]);
  list.list_splice(a, b);
  assertEquals(ids(b), [1, 2, 3, 4]);
  list.INIT_LIST_HEAD(a);
  list.list_splice_tail(b, a);
  assertEquals(ids(a), [1, 2, 3, 4]);
});

Deno.test("list_del() poisons the entry, so that a later use throws", () => {
  const head = new ListHead<Item>();
  const [a, b] = [new Item(1), new Item(2)];
  list.list_add_tail(a.link, head);
  list.list_add_tail(b.link, head);
  list.list_del(a.link);
  assert(
    a.link.next === list.LIST_POISON1 && a.link.prev === list.LIST_POISON2,
  );
  assert(!list.list_empty(a.link));
  assertThrows(() => list.list_del(a.link), ListPoisonError, "00100100");
  assertThrows(() => list.list_move(a.link, head), ListPoisonError);
  assertThrows(() => list.list_entry(a.link.next), ListPoisonError);
  assertThrows(() => a.link.next.next, ListPoisonError);
  assertThrows(() => a.link.prev.prev, ListPoisonError, "00200200");
  assertEquals(ids(head), [2]); // the failed uses changed nothing
});

Deno.test("list_first_entry() and list_entry() refuse a list head", () => {
  const head = new ListHead<Item>();
  assertThrows(() => list.list_first_entry(head), TypeError, "list head");
  assertThrows(() => list.list_entry(head), TypeError);
});

Deno.test("check_list() finds a neighbour that points elsewhere", () => {
  const head = new ListHead<Item>();
  for (const id of [1, 2, 3]) list.list_add_tail(new Item(id).link, head);
  head.next.next.prev = head;
  assertThrows(() => list.check_list(head), Error, "entry 1 points back");
});
