/**
 * Changes to a list that readers may be walking under RCU.
 *
 * A reader follows `next` only, and may stand on an entry that is being
 * deleted: so deletion leaves `next` alone and poisons `prev` only, and an
 * entry is complete before it is linked. The structure must outlive the
 * readers: free it by `call_rcu()`.
 *
 * Differs from Linux: no memory barriers here. A call is atomic in the
 * emulator; the caller charges the store that publishes. Readers walk by hand,
 * as with plain lists. Writers exclude each other by a lock, as ever.
 */

import {
  list_add,
  list_add_tail,
  LIST_POISON2,
  list_replace,
  type ListHead,
} from "./list.ts";

/**
 * Adds at the front, while readers walk.
 *
 * @param entry The link; on no list, and no reader may still stand on it.
 * @param head The list, or the entry to add after.
 */
export function list_add_rcu<T>(entry: ListHead<T>, head: ListHead<T>): void {
  list_add(entry, head);
}

/**
 * Adds at the back, while readers walk.
 *
 * @param entry The link; on no list, and no reader may still stand on it.
 * @param head The list, or the entry to add before.
 */
export function list_add_tail_rcu<T>(
  entry: ListHead<T>,
  head: ListHead<T>,
): void {
  list_add_tail(entry, head);
}

/**
 * Deletes an entry, while readers walk: those that stand on it go on from it.
 *
 * @param entry The link; on a list. `list_empty()` of it stays false.
 * @throws {ListPoisonError} If it was deleted already.
 */
export function list_del_rcu<T>(entry: ListHead<T>): void {
  const { next, prev } = entry;
  prev.next = next; // first: on a poisoned `prev` it throws before anything changes
  next.prev = prev;
  entry.prev = LIST_POISON2;
}

/**
 * Puts an entry where another one is, while readers walk.
 *
 * @param old The link that leaves; on a list. It keeps `next`.
 * @param entry The link that takes its place; on no list.
 */
export function list_replace_rcu<T>(
  old: ListHead<T>,
  entry: ListHead<T>,
): void {
  list_replace(old, entry);
  old.prev = LIST_POISON2;
}
