/**
 * Lists for hash buckets, intrusive: a head of one pointer, and no circle.
 *
 *     for (let p = head.first; p !== null; p = p.next) use(list_entry(p));
 *
 * Differs from Linux: a node has no `pprev`, the address of the pointer to it;
 * it knows the node before it (`prev`, `null` in the first) and its bucket
 * (`head`, `null` when it is in none). Poison and owners are as in `list.ts`;
 * the `_rcu` forms differ from the plain ones as `rculist.ts` tells.
 */

import { list_entry, LIST_POISON1, LIST_POISON2 } from "./list.ts";

/** A bucket. */
export class HlistHead<T> {
  /** First node, or `null`. */
  first: HlistNode<T> | null = null;
}

/** A structure's place in a bucket. */
export class HlistNode<T> {
  /** Node after, or `null`. */
  next: HlistNode<T> | null = null;
  /** Node before; `null` in the first. */
  prev: HlistNode<T> | null = null;
  /** The bucket; `null` when it is in none. */
  head: HlistHead<T> | null = null;

  /**
   * Makes a node that is in no bucket.
   *
   * @param owner The structure that holds it.
   */
  constructor(readonly owner: T) {}
}

// Only `next` and `prev` of a poison are ever touched, and those throw.
const HLIST_POISON1 = LIST_POISON1 as unknown as HlistNode<never>;
const HLIST_POISON2 = LIST_POISON2 as unknown as HlistNode<never>;

/**
 * Marks a node as in no bucket.
 *
 * @param node The node.
 */
export function INIT_HLIST_NODE<T>(node: HlistNode<T>): void {
  node.next = null;
  node.prev = null;
  node.head = null;
}

/**
 * Tells whether a bucket has no nodes.
 *
 * @param head The bucket.
 * @returns Whether it is empty.
 */
export function hlist_empty<T>(head: HlistHead<T>): boolean {
  return head.first === null;
}

/**
 * Tells whether a node is in no bucket.
 *
 * @param node The node.
 * @returns True for a new node and after the `_init` deletions; false after the others, as in Linux.
 */
export function hlist_unhashed<T>(node: HlistNode<T>): boolean {
  return node.head === null;
}

/**
 * Adds at the front.
 *
 * @param node The node; in no bucket.
 * @param head The bucket.
 */
export function hlist_add_head<T>(
  node: HlistNode<T>,
  head: HlistHead<T>,
): void {
  const first = head.first;
  node.next = first;
  node.prev = null;
  node.head = head;
  if (first !== null) first.prev = node;
  head.first = node;
}

/**
 * Adds at the front, while readers walk.
 *
 * @param node The node; in no bucket, and no reader may still stand on it.
 * @param head The bucket.
 */
export function hlist_add_head_rcu<T>(
  node: HlistNode<T>,
  head: HlistHead<T>,
): void {
  hlist_add_head(node, head);
}

/** Joins a node's neighbours. */
function unlink<T>(node: HlistNode<T>): void {
  const { next, prev } = node;
  if (prev !== null) prev.next = next;
  else if (node.head !== null) node.head.first = next;
  if (next !== null) next.prev = prev;
}

/**
 * Deletes a node and poisons its links.
 *
 * @param node The node; in a bucket.
 * @throws {ListPoisonError} If it was deleted already.
 */
export function hlist_del<T>(node: HlistNode<T>): void {
  unlink(node);
  node.next = HLIST_POISON1;
  node.prev = HLIST_POISON2;
}

/**
 * Deletes a node if it is in a bucket, and leaves it unhashed.
 *
 * @param node The node.
 * @throws {ListPoisonError} If it was deleted by {@linkcode hlist_del}.
 */
export function hlist_del_init<T>(node: HlistNode<T>): void {
  if (hlist_unhashed(node)) return;
  unlink(node);
  INIT_HLIST_NODE(node);
}

/**
 * Deletes a node, while readers walk: those that stand on it go on from it.
 *
 * @param node The node; in a bucket.
 * @throws {ListPoisonError} If it was deleted already.
 */
export function hlist_del_rcu<T>(node: HlistNode<T>): void {
  unlink(node);
  node.prev = HLIST_POISON2;
}

/**
 * Deletes a node if it is in a bucket, while readers walk, and leaves it
 * unhashed but with its `next`.
 *
 * @param node The node.
 * @throws {ListPoisonError} If it was deleted by {@linkcode hlist_del_rcu}.
 */
export function hlist_del_init_rcu<T>(node: HlistNode<T>): void {
  if (hlist_unhashed(node)) return;
  unlink(node);
  node.prev = null;
  node.head = null;
}

/**
 * Copies a bucket into an array, for tests and reports.
 *
 * @param head The bucket.
 * @returns The owners, in order.
 */
export function hlist_entries<T>(head: HlistHead<T>): T[] {
  const entries: T[] = [];
  for (let p = head.first; p !== null; p = p.next) entries.push(list_entry(p));
  return entries;
}
