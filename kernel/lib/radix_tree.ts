/**
 * Radix trees: from an index to an item, 64 slots a node.
 *
 * The tree is as high as its largest index asks and no higher: it grows when an
 * index beyond its reach is inserted and shrinks when only slot 0 of its top
 * node is left, as Linux's does. A lone item at index 0 needs no node: the root
 * holds it.
 *
 * Differs from Linux: no tags; indices are safe integers (the height is at most
 * 9, not 11); nodes are collected by the host, so nothing waits for RCU here.
 * `radix_tree_preload()` is the caller's: {@linkcode radix_tree_nodes_needed}
 * says what an insertion will allocate and `root.nr_nodes` what the tree holds,
 * so that the kernel can charge and fail those allocations; insertion itself
 * cannot run out of memory. Operations allocate nothing but nodes.
 */

import { EEXIST, err, type Errno } from "./errno.ts";

/** log2 of the slots of a node. */
export const RADIX_TREE_MAP_SHIFT = 6;
/** Slots of a node. */
export const RADIX_TREE_MAP_SIZE = 64;

const MAP_MASK = RADIX_TREE_MAP_SIZE - 1;
const TWO_30 = 2 ** 30; // five levels: what a 32-bit shift can serve

/** One node; `height` 1 holds items, others hold nodes. */
export class RadixTreeNode<T> {
  /** Slots in use. */
  count = 0;
  /** Items at height 1, nodes above; `null` where empty. */
  readonly slots: (RadixTreeNode<T> | T | null)[] = new Array(
    RADIX_TREE_MAP_SIZE,
  ).fill(null);

  declare readonly height: number;

  /**
   * Makes an empty node.
   *
   * @param height Levels from here down to the items.
   */
  constructor(height: number) {
    this.height = height;
  }
}

/** A tree. Items are any value but `null`. */
export class RadixTreeRoot<T> {
  /** Top node; at height 0, the item of index 0; `null` when the tree is empty. */
  rnode: RadixTreeNode<T> | T | null = null;
  /** Levels of nodes. */
  height = 0;
  /** Nodes the tree holds now. */
  nr_nodes = 0;
}

/** Numbers of indices that trees of heights 0 to 9 hold; a table, since a power costs more than the rest of a lookup. */
const REACH: readonly number[] = Array.from(
  { length: 10 },
  (_, height) => 2 ** (height * RADIX_TREE_MAP_SHIFT),
);

/** Least height that reaches `index`. */
function height_for(index: number): number {
  let height = 0;
  while (index >= REACH[height]) height++;
  return height;
}

/** Slot of `index` in a node of this height. */
function slot_of(index: number, height: number): number {
  // `>>>` takes an index modulo 2^32, exactly; the low five levels need 30 bits.
  if (height <= 5) {
    return (index >>> ((height - 1) * RADIX_TREE_MAP_SHIFT)) & MAP_MASK;
  }
  return (Math.floor(index / TWO_30) >>>
    ((height - 6) * RADIX_TREE_MAP_SHIFT)) & MAP_MASK;
}

/**
 * Counts the nodes that inserting at `index` would allocate.
 *
 * @param root The tree.
 * @param index From 0 to 2^53 - 1.
 * @returns From 0 to 9.
 */
export function radix_tree_nodes_needed<T>(
  root: RadixTreeRoot<T>,
  index: number,
): number {
  const wanted = height_for(index);
  if (root.rnode === null) return Math.max(wanted, root.height);
  if (wanted > root.height) {
    // One for each new level; below the new top, `index` has a path of its own.
    return (wanted - root.height) + (wanted - 1);
  }
  let node = root.rnode as RadixTreeNode<T>;
  for (let height = root.height; height > 1; height--) {
    const child = node.slots[slot_of(index, height)];
    if (child === null) return height - 1;
    node = child as RadixTreeNode<T>;
  }
  return 0;
}

/** Adds levels on top until the tree reaches `index`. */
function radix_tree_extend<T>(root: RadixTreeRoot<T>, index: number): void {
  if (index < REACH[root.height]) return;
  const wanted = height_for(index);
  if (root.rnode === null) {
    root.height = wanted;
    return;
  }
  while (root.height < wanted) {
    const node = new RadixTreeNode<T>(++root.height);
    node.slots[0] = root.rnode;
    node.count = 1;
    root.rnode = node;
    root.nr_nodes++;
  }
}

/**
 * Inserts an item.
 *
 * @param root The tree.
 * @param index From 0 to 2^53 - 1.
 * @param item The item; not `null`.
 * @returns 0, or -EEXIST when the index is taken. As in Linux, a tree that had
 *   to grow for it stays grown.
 */
export function radix_tree_insert<T>(
  root: RadixTreeRoot<T>,
  index: number,
  item: T,
): 0 | Errno {
  radix_tree_extend(root, index);
  if (root.height === 0) {
    if (root.rnode !== null) return err(EEXIST);
    root.rnode = item;
    return 0;
  }
  if (root.rnode === null) {
    root.rnode = new RadixTreeNode<T>(root.height);
    root.nr_nodes++;
  }
  let node = root.rnode as RadixTreeNode<T>;
  for (let height = root.height; height > 1; height--) {
    const slot = slot_of(index, height);
    let child = node.slots[slot] as RadixTreeNode<T> | null;
    if (child === null) {
      child = new RadixTreeNode<T>(height - 1);
      node.slots[slot] = child;
      node.count++;
      root.nr_nodes++;
    }
    node = child;
  }
  const slot = slot_of(index, 1);
  if (node.slots[slot] !== null) return err(EEXIST);
  node.slots[slot] = item;
  node.count++;
  return 0;
}

/**
 * Looks an item up.
 *
 * @param root The tree.
 * @param index From 0 to 2^53 - 1.
 * @returns The item, or `null`.
 */
export function radix_tree_lookup<T>(
  root: RadixTreeRoot<T>,
  index: number,
): T | null {
  if (index >= REACH[root.height]) return null;
  let slot = root.rnode;
  for (let height = root.height; height > 0 && slot !== null; height--) {
    slot = (slot as RadixTreeNode<T>).slots[slot_of(index, height)];
  }
  return slot as T | null;
}

/** Removes top nodes that hold nothing but slot 0. */
function radix_tree_shrink<T>(root: RadixTreeRoot<T>): void {
  while (root.height > 0) {
    const top = root.rnode as RadixTreeNode<T>;
    if (top.count !== 1 || top.slots[0] === null) return;
    root.rnode = top.slots[0];
    root.height--;
    root.nr_nodes--;
  }
}

/**
 * Empties the slot of `index` below `node`, and frees the nodes that this
 * leaves empty.
 *
 * @returns The item, or `null`.
 */
function delete_below<T>(
  root: RadixTreeRoot<T>,
  node: RadixTreeNode<T>,
  height: number,
  index: number,
): T | null {
  const slot = slot_of(index, height);
  const below = node.slots[slot];
  if (below === null) return null;
  let item: T;
  if (height === 1) {
    item = below as T;
  } else {
    const child = below as RadixTreeNode<T>;
    const found = delete_below(root, child, height - 1, index);
    if (found === null || child.count > 0) return found;
    item = found;
    root.nr_nodes--;
  }
  node.slots[slot] = null;
  node.count--;
  return item;
}

/**
 * Deletes an item.
 *
 * @param root The tree.
 * @param index From 0 to 2^53 - 1.
 * @returns The item, or `null` when there was none.
 */
export function radix_tree_delete<T>(
  root: RadixTreeRoot<T>,
  index: number,
): T | null {
  if (root.rnode === null || index >= REACH[root.height]) return null;
  if (root.height === 0) {
    const only = root.rnode as T;
    root.rnode = null;
    return only;
  }
  const top = root.rnode as RadixTreeNode<T>;
  const item = delete_below(root, top, root.height, index);
  if (item === null) return null;
  if (top.count > 0) {
    radix_tree_shrink(root);
  } else {
    root.rnode = null;
    root.height = 0;
    root.nr_nodes--;
  }
  return item;
}

/** Appends items of indices >= `first` below `node`, whose lowest index is `base`. */
function gather<T>(
  node: RadixTreeNode<T>,
  base: number,
  first: number,
  max: number,
  found: T[],
): void {
  const stride = REACH[node.height - 1];
  let slot = first > base ? Math.floor((first - base) / stride) : 0;
  for (; slot < RADIX_TREE_MAP_SIZE && found.length < max; slot++) {
    const below = node.slots[slot];
    if (below === null) continue;
    if (node.height === 1) found.push(below as T);
    else {gather(
        below as RadixTreeNode<T>,
        base + slot * stride,
        first,
        max,
        found,
      );}
  }
}

/**
 * Collects items in the order of their indices.
 *
 * @param root The tree.
 * @param first Lowest index wanted.
 * @param max Most items wanted.
 * @returns At most `max` items.
 */
export function radix_tree_gang_lookup<T>(
  root: RadixTreeRoot<T>,
  first: number,
  max: number,
): T[] {
  const found: T[] = [];
  if (root.rnode === null || max <= 0 || first >= REACH[root.height]) {
    return found;
  }
  if (root.height === 0) found.push(root.rnode as T);
  else gather(root.rnode as RadixTreeNode<T>, 0, first, max, found);
  return found;
}
