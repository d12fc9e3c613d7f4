/**
 * Circular doubly linked lists, intrusive: a structure holds one
 * {@linkcode ListHead} for each list it can be on, and an unowned `ListHead` is
 * the list itself.
 *
 *     for (let p = head.next; p !== head; p = p.next) use(list_entry(p));
 *
 * Differs from Linux: a link knows the structure it is part of (`owner`), since
 * `container_of()` cannot be had; the poison of a deleted entry is an object
 * that throws {@linkcode ListPoisonError} when it is followed or written
 * through, as the address it stands for would fault. That is all the checking
 * there is: a live link with wrong neighbours is found by
 * {@linkcode check_list} only, which tests call.
 */

/**
 * A list, or a structure's place on one.
 *
 * Linux: include/linux/list.h.
 *
 * @example
 * ```ts
 * import { list_add_tail, list_entry, ListHead } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * class Job {
 *   readonly link: ListHead<Job> = new ListHead<Job>(this);
 *   constructor(readonly id: number) {}
 * }
 * const jobs = new ListHead<Job>();
 * for (const id of [1, 2, 3]) list_add_tail(new Job(id).link, jobs);
 * const ids: number[] = [];
 * for (let p = jobs.next; p !== jobs; p = p.next) ids.push(list_entry(p).id);
 * assertEquals(ids, [1, 2, 3]);
 * ```
 */
export class ListHead<T> {
  /** Entry after; in an empty list, itself. */
  next: ListHead<T> = this;
  /** Entry before; in an empty list, itself. */
  prev: ListHead<T> = this;
  /** The structure this is part of; `null` in the head of a list. */
  declare readonly owner: T | null;

  /**
   * Makes an empty list, or a link that is on no list.
   *
   * @param owner The structure that holds the link; none for the head of a list.
   */
  constructor(owner: T | null = null) {
    this.owner = owner;
  }
}

/**
 * Somebody followed or changed the links of a deleted entry; the kernel would
 * oops.
 *
 * Linux: include/linux/poison.h.
 *
 * @example
 * ```ts
 * import {
 *   list_add,
 *   list_del,
 *   ListHead,
 *   ListPoisonError,
 * } from "@vmaplab/vmaplab";
 * import { assertThrows } from "@std/assert";
 *
 * const link = new ListHead("a");
 * list_add(link, new ListHead<string>());
 * list_del(link);
 * assertThrows(() => list_del(link), ListPoisonError);
 * ```
 */
export class ListPoisonError extends Error {
  /** The name of the class. */
  override readonly name = "ListPoisonError";

  /**
   * Reports one use.
   *
   * @param address What the pointer holds in Linux.
   */
  constructor(readonly address: number) {
    super(
      `Cannot follow a deleted list entry: pointer is ${
        address.toString(16).padStart(8, "0")
      }`,
    );
  }
}

/** Stands where a deleted entry's pointers were. */
class ListPoison {
  constructor(readonly address: number) {
    Object.freeze(this);
  }
  get next(): never {
    throw new ListPoisonError(this.address);
  }
  set next(_: unknown) {
    throw new ListPoisonError(this.address);
  }
  get prev(): never {
    throw new ListPoisonError(this.address);
  }
  set prev(_: unknown) {
    throw new ListPoisonError(this.address);
  }
  get owner(): never {
    throw new ListPoisonError(this.address);
  }
}

/** `next` of a deleted entry. */
export const LIST_POISON1: ListHead<never> = new ListPoison(0x00100100);
/** `prev` of a deleted entry. */
export const LIST_POISON2: ListHead<never> = new ListPoison(0x00200200);

/**
 * Makes a list empty, or a link one that is on no list, whatever it was.
 *
 * @param list The head or link.
 */
export function INIT_LIST_HEAD<T>(list: ListHead<T>): void {
  list.next = list;
  list.prev = list;
}

/**
 * Adds at the front.
 *
 * Linux: include/linux/list.h.
 *
 * @param entry The link; on no list.
 * @param head The list, or the entry to add after.
 *
 * @example
 * ```ts
 * import { list_add, list_entries, ListHead } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const head = new ListHead<string>();
 * list_add(new ListHead("a"), head);
 * list_add(new ListHead("b"), head);
 * assertEquals(list_entries(head), ["b", "a"]);
 * ```
 */
export function list_add<T>(entry: ListHead<T>, head: ListHead<T>): void {
  const next = head.next;
  next.prev = entry;
  entry.next = next;
  entry.prev = head;
  head.next = entry;
}

/**
 * Adds at the back.
 *
 * Linux: include/linux/list.h.
 *
 * @param entry The link; on no list.
 * @param head The list, or the entry to add before.
 *
 * @example
 * ```ts
 * import { list_add_tail, list_entries, ListHead } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const head = new ListHead<string>();
 * list_add_tail(new ListHead("a"), head);
 * list_add_tail(new ListHead("b"), head);
 * assertEquals(list_entries(head), ["a", "b"]);
 * ```
 */
export function list_add_tail<T>(entry: ListHead<T>, head: ListHead<T>): void {
  const prev = head.prev;
  head.prev = entry;
  entry.next = head;
  entry.prev = prev;
  prev.next = entry;
}

/**
 * Deletes an entry and poisons its links.
 *
 * Linux: include/linux/list.h.
 *
 * @param entry The link; on a list.
 * @throws {ListPoisonError} If it was deleted already.
 *
 * @example
 * ```ts
 * import { list_add, list_del, list_empty, ListHead } from "@vmaplab/vmaplab";
 * import { assert, assertThrows } from "@std/assert";
 *
 * const head = new ListHead<string>();
 * const link = new ListHead("a");
 * list_add(link, head);
 * list_del(link);
 * assert(list_empty(head));
 * assertThrows(() => link.next.next, Error, "deleted list entry");
 * ```
 */
export function list_del<T>(entry: ListHead<T>): void {
  const { next, prev } = entry;
  next.prev = prev;
  prev.next = next;
  entry.next = LIST_POISON1;
  entry.prev = LIST_POISON2;
}

/**
 * Deletes an entry and leaves it empty, so that `list_empty()` of it is true.
 *
 * Linux: include/linux/list.h.
 *
 * @param entry The link; on a list, or empty.
 * @throws {ListPoisonError} If it was deleted already.
 *
 * @example
 * ```ts
 * import {
 *   list_add,
 *   list_del_init,
 *   list_empty,
 *   ListHead,
 * } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const head = new ListHead<string>();
 * const link = new ListHead("a");
 * list_add(link, head);
 * list_del_init(link);
 * assert(list_empty(head) && list_empty(link)); // may be added again
 * ```
 */
export function list_del_init<T>(entry: ListHead<T>): void {
  const { next, prev } = entry;
  next.prev = prev;
  prev.next = next;
  entry.next = entry;
  entry.prev = entry;
}

/**
 * Puts an entry exactly where another one is; the old one keeps its pointers.
 *
 * @param old The link that leaves; on a list.
 * @param entry The link that takes its place; on no list.
 */
export function list_replace<T>(old: ListHead<T>, entry: ListHead<T>): void {
  entry.next = old.next;
  entry.next.prev = entry;
  entry.prev = old.prev;
  entry.prev.next = entry;
}

/**
 * Tells whether a list has no entries, or a link is on no list.
 *
 * Linux: include/linux/list.h.
 *
 * @param head The head or link.
 * @returns Whether it is empty; false for a poisoned link.
 *
 * @example
 * ```ts
 * import { list_add, list_empty, ListHead } from "@vmaplab/vmaplab";
 * import { assert, assertFalse } from "@std/assert";
 *
 * const head = new ListHead<string>();
 * assert(list_empty(head));
 * list_add(new ListHead("a"), head);
 * assertFalse(list_empty(head));
 * ```
 */
export function list_empty<T>(head: ListHead<T>): boolean {
  return head.next === head;
}

/**
 * Tells whether an entry is the last of its list.
 *
 * @param list The link.
 * @param head The list.
 * @returns Whether nothing follows.
 */
export function list_is_last<T>(list: ListHead<T>, head: ListHead<T>): boolean {
  return list.next === head;
}

/**
 * Moves an entry to the front of a list.
 *
 * @param list The link; on a list.
 * @param head The list to move to.
 */
export function list_move<T>(list: ListHead<T>, head: ListHead<T>): void {
  list.next.prev = list.prev;
  list.prev.next = list.next;
  list_add(list, head);
}

/**
 * Moves an entry to the back of a list.
 *
 * @param list The link; on a list.
 * @param head The list to move to.
 */
export function list_move_tail<T>(list: ListHead<T>, head: ListHead<T>): void {
  list.next.prev = list.prev;
  list.prev.next = list.next;
  list_add_tail(list, head);
}

/** Puts the entries of `list`, not empty, between two neighbours. */
function splice_between<T>(
  list: ListHead<T>,
  prev: ListHead<T>,
  next: ListHead<T>,
): void {
  const { next: first, prev: last } = list;
  first.prev = prev;
  prev.next = first;
  last.next = next;
  next.prev = last;
}

/**
 * Puts all entries of one list at the front of another. `list` itself is left
 * as it is and must be initialised before it is used again.
 *
 * @param list The list to empty.
 * @param head The list to fill.
 */
export function list_splice<T>(list: ListHead<T>, head: ListHead<T>): void {
  if (!list_empty(list)) splice_between(list, head, head.next);
}

/**
 * Puts all entries of one list at the back of another, as {@linkcode list_splice}.
 *
 * @param list The list to empty.
 * @param head The list to fill.
 */
export function list_splice_tail<T>(
  list: ListHead<T>,
  head: ListHead<T>,
): void {
  if (!list_empty(list)) splice_between(list, head.prev, head);
}

/**
 * Puts all entries of one list at the front of another, and empties the first.
 *
 * @param list The list to empty.
 * @param head The list to fill.
 */
export function list_splice_init<T>(
  list: ListHead<T>,
  head: ListHead<T>,
): void {
  if (list_empty(list)) return;
  splice_between(list, head, head.next);
  INIT_LIST_HEAD(list);
}

/**
 * Puts all entries of one list at the back of another, and empties the first.
 *
 * @param list The list to empty.
 * @param head The list to fill.
 */
export function list_splice_tail_init<T>(
  list: ListHead<T>,
  head: ListHead<T>,
): void {
  if (list_empty(list)) return;
  splice_between(list, head.prev, head);
  INIT_LIST_HEAD(list);
}

/**
 * Gives the structure that a link is part of.
 *
 * Linux: include/linux/list.h.
 *
 * @param link The link.
 * @returns Its owner.
 * @throws {TypeError} If it is the head of a list, which Linux would misread.
 *
 * @example
 * ```ts
 * import { list_entry, ListHead } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const link = new ListHead({ id: 7 });
 * assertEquals(list_entry(link).id, 7);
 * ```
 */
export function list_entry<T>(link: { readonly owner: T | null }): T {
  if (link.owner === null) {
    throw new TypeError(
      "Cannot take the entry of a list head: it is part of no structure",
    );
  }
  return link.owner;
}

/**
 * Gives the first structure on a list.
 *
 * Linux: include/linux/list.h.
 *
 * @param head The list; not empty.
 * @returns The owner of its first link.
 * @throws {TypeError} If the list is empty, which Linux would misread.
 *
 * @example
 * ```ts
 * import { list_add_tail, list_first_entry, ListHead } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const head = new ListHead<string>();
 * list_add_tail(new ListHead("a"), head);
 * assertEquals(list_first_entry(head), "a");
 * ```
 */
export function list_first_entry<T>(head: ListHead<T>): T {
  return list_entry(head.next);
}

/**
 * Copies a list into an array, for tests and reports: kernel code walks lists
 * by hand.
 *
 * @param head The list.
 * @returns The owners, in order.
 *
 * @example
 * ```ts
 * import { list_add_tail, list_entries, ListHead } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const head = new ListHead<number>();
 * for (const n of [1, 2]) list_add_tail(new ListHead(n), head);
 * assertEquals(list_entries(head), [1, 2]);
 * ```
 */
export function list_entries<T>(head: ListHead<T>): T[] {
  const entries: T[] = [];
  for (let p = head.next; p !== head; p = p.next) entries.push(list_entry(p));
  return entries;
}

/**
 * Checks that neighbours point at each other all the way round.
 *
 * @param head The list.
 * @returns The number of entries.
 * @throws {Error} If `p.next.prev` is not `p` somewhere.
 */
export function check_list<T>(head: ListHead<T>): number {
  let count = -1;
  let p = head;
  do {
    if (p.next.prev !== p) {
      throw new Error(
        `List is broken: entry ${count + 1} points back at another one`,
      );
    }
    p = p.next;
    count++;
  } while (p !== head);
  return count;
}
