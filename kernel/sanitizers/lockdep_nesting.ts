/**
 * Classes of which somebody may hold two at once, since an order between its
 * locks is laid down: Linux says so with spin_lock_nested() and the like.
 */

/** Class, and what its order is. */
export const NESTED_CLASSES: ReadonlyMap<string, string> = new Map([]);
