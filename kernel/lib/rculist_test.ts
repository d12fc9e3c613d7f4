import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  check_list,
  list_entries,
  LIST_POISON2,
  ListHead,
  ListPoisonError,
} from "./list.ts";
import {
  list_add_rcu,
  list_add_tail_rcu,
  list_del_rcu,
  list_replace_rcu,
} from "./rculist.ts";

class Item {
  readonly link: ListHead<Item> = new ListHead<Item>(this);
  constructor(readonly id: number) {}
}

function build(): { head: ListHead<Item>; items: Item[] } {
  const head = new ListHead<Item>();
  const items = [0, 1, 2].map((id) => new Item(id));
  list_add_rcu(items[1].link, head);
  list_add_rcu(items[0].link, head);
  list_add_tail_rcu(items[2].link, head);
  return { head, items };
}

const ids = (head: ListHead<Item>) => list_entries(head).map((item) => item.id);

Deno.test("list_add_rcu() and list_add_tail_rcu() add at either end", () => {
  const { head } = build();
  assertEquals(ids(head), [0, 1, 2]);
  assertEquals(check_list(head), 3);
});

Deno.test("list_del_rcu() lets a reader that stands on the entry go on", () => {
  const { head, items } = build();
  const reader = items[1].link;
  list_del_rcu(items[1].link);
  assertEquals(ids(head), [0, 2]);
  assertEquals(check_list(head), 2);
  assert(reader.next === items[2].link && reader.prev === LIST_POISON2);
});

Deno.test("list_del_rcu() of a deleted entry throws and changes nothing", () => {
  const { head, items } = build();
  list_del_rcu(items[1].link);
  assertThrows(() => list_del_rcu(items[1].link), ListPoisonError, "00200200");
  assertEquals(ids(head), [0, 2]);
  assertEquals(check_list(head), 2);
});

Deno.test("list_replace_rcu() swaps an entry, and its reader goes on", () => {
  const { head, items } = build();
  const reader = items[1].link;
  list_replace_rcu(items[1].link, new Item(7).link);
  assertEquals(ids(head), [0, 7, 2]);
  assertEquals(check_list(head), 3);
  assert(reader.next === items[2].link && reader.prev === LIST_POISON2);
});
