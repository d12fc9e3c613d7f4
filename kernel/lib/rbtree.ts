/**
 * Red-black trees, intrusive: a structure that lives in a tree extends
 * {@linkcode RbNode}, and its owner writes the search loop, as in Linux.
 *
 *     let parent: VmapArea | null = null;
 *     let link: "left" | "right" = "left";
 *     for (let p = root.rb_node; p !== null;) {
 *       parent = p;
 *       link = va.va_start < p.va_end ? "left" : "right";
 *       p = link === "left" ? p.rb_left : p.rb_right;
 *     }
 *     rb_link_node(va, parent, root, link);
 *     rb_insert_color(va, root);
 *
 * Invariants, checked by {@linkcode check_rbtree}: the root is black; a red
 * node has black children; every path from the root to a missing child passes
 * as many black nodes; a child's `rb_parent` is its parent.
 *
 * Differs from Linux: the node is a base class, not a member, so there is no
 * `rb_entry()`; the colour is a field, not a bit of the parent pointer; the
 * place to link is a parent and a side, not a pointer to a pointer. As in
 * Linux, an erased node keeps its pointers until `RB_CLEAR_NODE()`. Operations
 * allocate nothing and have no closures.
 */

/**
 * What a structure needs to live in one red-black tree.
 *
 * Linux: include/linux/rbtree.h.
 *
 * @example
 * ```ts
 * import {
 *   rb_first,
 *   rb_insert_color,
 *   rb_link_node,
 *   rb_next,
 *   RbNode,
 *   RbRoot,
 *   type RbSide,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * class Area extends RbNode {
 *   constructor(readonly start: number) {
 *     super();
 *   }
 * }
 * const root = new RbRoot<Area>();
 * for (const start of [5, 1, 3]) {
 *   let parent: Area | null = null;
 *   let side: RbSide = "left";
 *   for (let n = root.rb_node; n !== null;) {
 *     parent = n;
 *     side = start < n.start ? "left" : "right";
 *     n = side === "left" ? n.rb_left : n.rb_right;
 *   }
 *   const area = new Area(start);
 *   rb_link_node(area, parent, root, side);
 *   rb_insert_color(area, root);
 * }
 * const starts: number[] = [];
 * for (let n = rb_first(root); n !== null; n = rb_next(n)) {
 *   starts.push(n.start);
 * }
 * assertEquals(starts, [1, 3, 5]);
 * ```
 */
export class RbNode {
  /** Parent; `null` in the root, itself in a cleared node. */
  rb_parent: this | null = null;
  /** What sorts before. */
  rb_left: this | null = null;
  /** What sorts after. */
  rb_right: this | null = null;
  /** Red, or black. */
  red = false;
}

/**
 * A tree.
 *
 * Linux: include/linux/rbtree.h.
 *
 * @example
 * ```ts
 * import { rb_first, RbNode, RbRoot } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const root = new RbRoot<RbNode>();
 * assertEquals(rb_first(root), null); // empty
 * ```
 */
export class RbRoot<T extends RbNode> {
  /** Topmost node; `null` when the tree is empty. */
  rb_node: T | null = null;
}

/** Which child of its parent a new node becomes. */
export type RbSide = "left" | "right";

/**
 * Tells whether a tree has no nodes.
 *
 * @param root The tree.
 * @returns Whether it is empty.
 */
export function RB_EMPTY_ROOT<T extends RbNode>(root: RbRoot<T>): boolean {
  return root.rb_node === null;
}

/**
 * Tells whether a node was cleared and not linked since.
 *
 * @param node The node.
 * @returns Whether it is in no tree. A new or erased node does not count as cleared.
 */
export function RB_EMPTY_NODE<T extends RbNode>(node: T): boolean {
  return node.rb_parent === node;
}

/**
 * Marks an erased node as being in no tree.
 *
 * Clears its children too, which Linux does not: they would keep the host from
 * freeing them.
 *
 * @param node The node; in no tree.
 */
export function RB_CLEAR_NODE<T extends RbNode>(node: T): void {
  node.rb_parent = node;
  node.rb_left = null;
  node.rb_right = null;
}

/**
 * Hangs a new red node below `parent`. The tree is out of balance until
 * {@linkcode rb_insert_color}.
 *
 * Linux: include/linux/rbtree.h.
 *
 * @param node The node; in no tree.
 * @param parent Where the search ended; `null` when the tree is empty.
 * @param root The tree.
 * @param link The side of `parent` on which the search found no child.
 *
 * @example
 * ```ts
 * import {
 *   rb_insert_color,
 *   rb_link_node,
 *   RbNode,
 *   RbRoot,
 * } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const root = new RbRoot<RbNode>();
 * const node = new RbNode();
 * rb_link_node(node, null, root, "left"); // the first one
 * rb_insert_color(node, root);
 * assert(root.rb_node === node);
 * ```
 */
export function rb_link_node<T extends RbNode>(
  node: T,
  parent: T | null,
  root: RbRoot<T>,
  link: RbSide,
): void {
  node.rb_parent = parent;
  node.rb_left = null;
  node.rb_right = null;
  node.red = true;
  if (parent === null) root.rb_node = node;
  else if (link === "left") parent.rb_left = node;
  else parent.rb_right = node;
}

/** Puts `to` where `from` hangs below `parent`. */
function change_child<T extends RbNode>(
  from: T,
  to: T | null,
  parent: T | null,
  root: RbRoot<T>,
): void {
  if (parent === null) root.rb_node = to;
  else if (parent.rb_left === from) parent.rb_left = to;
  else parent.rb_right = to;
}

/** Turns `node` and its right child `right`, which takes its place. */
function rotate_left<T extends RbNode>(
  node: T,
  right: T,
  root: RbRoot<T>,
): void {
  const inner: T | null = right.rb_left;
  const parent: T | null = node.rb_parent;
  node.rb_right = inner;
  if (inner !== null) inner.rb_parent = node;
  right.rb_left = node;
  right.rb_parent = parent;
  change_child(node, right, parent, root);
  node.rb_parent = right;
}

/** Turns `node` and its left child `left`, which takes its place. */
function rotate_right<T extends RbNode>(
  node: T,
  left: T,
  root: RbRoot<T>,
): void {
  const inner: T | null = left.rb_right;
  const parent: T | null = node.rb_parent;
  node.rb_left = inner;
  if (inner !== null) inner.rb_parent = node;
  left.rb_right = node;
  left.rb_parent = parent;
  change_child(node, left, parent, root);
  node.rb_parent = left;
}

/**
 * Restores the balance after {@linkcode rb_link_node}.
 *
 * Linux: lib/rbtree.c.
 *
 * @param node The node just linked.
 * @param root Its tree.
 *
 * @example
 * ```ts
 * import {
 *   rb_insert_color,
 *   rb_link_node,
 *   RbNode,
 *   RbRoot,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const root = new RbRoot<RbNode>();
 * const [a, b] = [new RbNode(), new RbNode()];
 * rb_link_node(a, null, root, "left");
 * rb_insert_color(a, root); // black: it is the root
 * rb_link_node(b, a, root, "right");
 * rb_insert_color(b, root);
 * assertEquals([a.red, b.red], [false, true]);
 * ```
 */
export function rb_insert_color<T extends RbNode>(
  node: T,
  root: RbRoot<T>,
): void {
  let child: T = node;
  for (;;) {
    let parent: T | null = child.rb_parent;
    if (parent === null) {
      child.red = false;
      return;
    }
    if (!parent.red) return;
    const gparent = parent.rb_parent as T; // a red node is never the root
    const onLeft = gparent.rb_left === parent;
    const uncle: T | null = onLeft ? gparent.rb_right : gparent.rb_left;
    if (uncle !== null && uncle.red) {
      uncle.red = false;
      parent.red = false;
      gparent.red = true;
      child = gparent; // may clash with its own parent now
      continue;
    }
    // Black uncle: an inner child is first turned into an outer one.
    if (onLeft) {
      if (parent.rb_right === child) {
        rotate_left(parent, child, root);
        parent = child;
      }
      rotate_right(gparent, parent, root);
    } else {
      if (parent.rb_left === child) {
        rotate_right(parent, child, root);
        parent = child;
      }
      rotate_left(gparent, parent, root);
    }
    parent.red = false;
    gparent.red = true;
    return;
  }
}

/**
 * Restores the black height where the path through `node`, a child of
 * `parent`, has one black node too few. `node` is `null` for a missing child.
 */
function erase_color<T extends RbNode>(
  node: T | null,
  parent: T | null,
  root: RbRoot<T>,
): void {
  while (parent !== null && (node === null || !node.red)) {
    // The short path guarantees that the other side has a node.
    const onLeft = parent.rb_left === node;
    let sibling = (onLeft ? parent.rb_right : parent.rb_left) as T;
    if (sibling.red) {
      sibling.red = false;
      parent.red = true;
      if (onLeft) rotate_left(parent, sibling, root);
      else rotate_right(parent, sibling, root);
      sibling = (onLeft ? parent.rb_right : parent.rb_left) as T;
    }
    let outer: T | null = onLeft ? sibling.rb_right : sibling.rb_left;
    const inner: T | null = onLeft ? sibling.rb_left : sibling.rb_right;
    const outerRed = outer !== null && outer.red;
    if (!outerRed && (inner === null || !inner.red)) {
      sibling.red = true; // both sides are short now: the parent's problem
      node = parent;
      parent = node.rb_parent;
      continue;
    }
    if (!outerRed) {
      const turned = inner as T;
      turned.red = false;
      sibling.red = true;
      if (onLeft) rotate_right(sibling, turned, root);
      else rotate_left(sibling, turned, root);
      outer = sibling;
      sibling = turned;
    }
    sibling.red = parent.red;
    parent.red = false;
    (outer as T).red = false;
    if (onLeft) rotate_left(parent, sibling, root);
    else rotate_right(parent, sibling, root);
    return;
  }
  if (node !== null) node.red = false;
}

/**
 * Takes a node out of its tree. Its own pointers stay as they are.
 *
 * Linux: lib/rbtree.c.
 *
 * @param node The node; in the tree.
 * @param root The tree.
 *
 * @example
 * ```ts
 * import {
 *   rb_erase,
 *   rb_insert_color,
 *   rb_link_node,
 *   RbNode,
 *   RbRoot,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const root = new RbRoot<RbNode>();
 * const node = new RbNode();
 * rb_link_node(node, null, root, "left");
 * rb_insert_color(node, root);
 * rb_erase(node, root);
 * assertEquals(root.rb_node, null);
 * ```
 */
export function rb_erase<T extends RbNode>(node: T, root: RbRoot<T>): void {
  const left: T | null = node.rb_left;
  const right: T | null = node.rb_right;
  let child: T | null; // what moves up into the gap
  let parent: T | null; // whose child it becomes
  let lostBlack: boolean;

  if (left === null || right === null) {
    child = left === null ? right : left;
    parent = node.rb_parent;
    lostBlack = !node.red;
    if (child !== null) child.rb_parent = parent;
    change_child(node, child, parent, root);
  } else {
    // The next node has no left child: it leaves its place and takes this one.
    let next: T = right;
    for (let l: T | null = next.rb_left; l !== null; l = l.rb_left) next = l;
    child = next.rb_right;
    lostBlack = !next.red;
    if (next === right) {
      parent = next;
    } else {
      parent = next.rb_parent as T;
      parent.rb_left = child;
      if (child !== null) child.rb_parent = parent;
      next.rb_right = right;
      right.rb_parent = next;
    }
    const above: T | null = node.rb_parent;
    next.rb_left = left;
    left.rb_parent = next;
    next.rb_parent = above;
    next.red = node.red;
    change_child(node, next, above, root);
  }
  if (lostBlack) erase_color(child, parent, root);
}

/**
 * Puts a new node exactly where another one is, without comparing or balancing.
 *
 * @param victim The node that leaves; in the tree.
 * @param node The node that takes its place; sorts as `victim` does.
 * @param root The tree.
 */
export function rb_replace_node<T extends RbNode>(
  victim: T,
  node: T,
  root: RbRoot<T>,
): void {
  const parent: T | null = victim.rb_parent;
  const left: T | null = victim.rb_left;
  const right: T | null = victim.rb_right;
  change_child(victim, node, parent, root);
  if (left !== null) left.rb_parent = node;
  if (right !== null) right.rb_parent = node;
  node.rb_parent = parent;
  node.rb_left = left;
  node.rb_right = right;
  node.red = victim.red;
}

/**
 * Finds the node that sorts first.
 *
 * Linux: lib/rbtree.c.
 *
 * @param root The tree.
 * @returns The node; `null` when the tree is empty.
 *
 * @example
 * ```ts
 * import {
 *   rb_first,
 *   rb_insert_color,
 *   rb_link_node,
 *   RbNode,
 *   RbRoot,
 * } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const root = new RbRoot<RbNode>();
 * const [a, b] = [new RbNode(), new RbNode()];
 * rb_link_node(b, null, root, "left");
 * rb_insert_color(b, root);
 * rb_link_node(a, b, root, "left");
 * rb_insert_color(a, root);
 * assert(rb_first(root) === a);
 * ```
 */
export function rb_first<T extends RbNode>(root: RbRoot<T>): T | null {
  let node: T | null = root.rb_node;
  if (node === null) return null;
  for (let l: T | null = node.rb_left; l !== null; l = l.rb_left) node = l;
  return node;
}

/**
 * Finds the node that sorts last.
 *
 * Linux: lib/rbtree.c.
 *
 * @param root The tree.
 * @returns The node; `null` when the tree is empty.
 *
 * @example
 * ```ts
 * import {
 *   rb_insert_color,
 *   rb_last,
 *   rb_link_node,
 *   RbNode,
 *   RbRoot,
 * } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const root = new RbRoot<RbNode>();
 * const [a, b] = [new RbNode(), new RbNode()];
 * rb_link_node(a, null, root, "left");
 * rb_insert_color(a, root);
 * rb_link_node(b, a, root, "right");
 * rb_insert_color(b, root);
 * assert(rb_last(root) === b);
 * ```
 */
export function rb_last<T extends RbNode>(root: RbRoot<T>): T | null {
  let node: T | null = root.rb_node;
  if (node === null) return null;
  for (let r: T | null = node.rb_right; r !== null; r = r.rb_right) node = r;
  return node;
}

/**
 * Finds the node after this one.
 *
 * Linux: lib/rbtree.c.
 *
 * @param node A node of a tree.
 * @returns Its successor; `null` for the last node and for a cleared one.
 *
 * @example
 * ```ts
 * import {
 *   rb_insert_color,
 *   rb_link_node,
 *   rb_next,
 *   RbNode,
 *   RbRoot,
 * } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const root = new RbRoot<RbNode>();
 * const [a, b] = [new RbNode(), new RbNode()];
 * rb_link_node(a, null, root, "left");
 * rb_insert_color(a, root);
 * rb_link_node(b, a, root, "right");
 * rb_insert_color(b, root);
 * assert(rb_next(a) === b && rb_next(b) === null);
 * ```
 */
export function rb_next<T extends RbNode>(node: T): T | null {
  let below: T | null = node.rb_right;
  if (below !== null) {
    for (let l: T | null = below.rb_left; l !== null; l = l.rb_left) below = l;
    return below;
  }
  let child: T = node;
  let parent: T | null = node.rb_parent;
  if (parent === node) return null;
  while (parent !== null && parent.rb_right === child) {
    child = parent;
    parent = child.rb_parent;
  }
  return parent;
}

/**
 * Finds the node before this one.
 *
 * Linux: lib/rbtree.c.
 *
 * @param node A node of a tree.
 * @returns Its predecessor; `null` for the first node and for a cleared one.
 *
 * @example
 * ```ts
 * import {
 *   rb_insert_color,
 *   rb_link_node,
 *   rb_prev,
 *   RbNode,
 *   RbRoot,
 * } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const root = new RbRoot<RbNode>();
 * const [a, b] = [new RbNode(), new RbNode()];
 * rb_link_node(a, null, root, "left");
 * rb_insert_color(a, root);
 * rb_link_node(b, a, root, "right");
 * rb_insert_color(b, root);
 * assert(rb_prev(b) === a && rb_prev(a) === null);
 * ```
 */
export function rb_prev<T extends RbNode>(node: T): T | null {
  let below: T | null = node.rb_left;
  if (below !== null) {
    for (let r: T | null = below.rb_right; r !== null; r = r.rb_right) {
      below = r;
    }
    return below;
  }
  let child: T = node;
  let parent: T | null = node.rb_parent;
  if (parent === node) return null;
  while (parent !== null && parent.rb_left === child) {
    child = parent;
    parent = child.rb_parent;
  }
  return parent;
}

/** Black height of the subtree at `node`; throws when it breaks an invariant. */
function check_subtree<T extends RbNode>(
  node: T | null,
  parent: T | null,
): number {
  if (node === null) return 0;
  if (node.rb_parent !== parent) {
    throw broken("a node's rb_parent is not the node above it");
  }
  if (node.red && parent !== null && parent.red) {
    throw broken("a red node has a red child");
  }
  const left = check_subtree<T>(node.rb_left, node);
  const right = check_subtree<T>(node.rb_right, node);
  if (left !== right) {
    throw broken(`black heights differ: left ${left}, right ${right}`);
  }
  return node.red ? left : left + 1;
}

function broken(what: string): Error {
  return new Error(`Red-black tree is broken: ${what}`);
}

/**
 * Checks that a tree is a red-black tree in order.
 *
 * @param root The tree.
 * @param compare Negative when `a` sorts before `b`, 0 when either may come first.
 * @returns The number of nodes.
 * @throws {Error} If a red node has a red child, the root is red, black heights
 *   differ, a parent link is wrong, or two neighbours are out of order.
 */
export function check_rbtree<T extends RbNode>(
  root: RbRoot<T>,
  compare: (a: T, b: T) => number,
): number {
  if (root.rb_node !== null && root.rb_node.red) {
    throw broken("the root is red");
  }
  check_subtree<T>(root.rb_node, null); // a wrong link or a loop would upset what follows
  let count = 0;
  let before: T | null = null;
  for (let node = rb_first(root); node !== null; node = rb_next(node)) {
    if (before !== null && compare(before, node) > 0) {
      throw broken(`node ${count} sorts before node ${count - 1}`);
    }
    before = node;
    count++;
  }
  return count;
}
