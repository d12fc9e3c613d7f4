/** The page cache (mm/filemap.c). Interface first: the bodies follow. */
import type { Steps } from "../../arch/asm.ts";
import { CacheLine } from "../../arch/hw/line.ts";
import { BUG } from "../bug.ts";
import type { Kernel } from "../kernel.ts";
import type { Errno } from "../lib/errno.ts";
import { RadixTreeRoot } from "../lib/radix_tree.ts";
import { Spinlock } from "../locking/spinlock.ts";
import type { Thread } from "../thread.ts";
import { type Page, PG_locked, PG_uptodate } from "./page.ts";
import { put_page } from "./page_alloc.ts";

/** Pages of one file or block device, by index: `struct address_space`. */
export class AddressSpace {
  readonly tree_lock: Spinlock;
  /** Written under tree_lock, read under RCU. */
  readonly page_tree: RadixTreeRoot<Page> = new RadixTreeRoot<Page>();
  /** Guarded by tree_lock. */
  nrpages = 0;
  readonly line: CacheLine;

  constructor(k: Kernel, readonly name: string) {
    this.line = new CacheLine(0);
    this.tree_lock = new Spinlock(k, "&mapping->tree_lock", this.line);
  }
}

/** The page at `index`, with a reference; `null` = none. */
export function find_get_page(
  t: Thread,
  _mapping: AddressSpace,
  _index: number,
): Steps<Page | null> {
  return BUG(t, "find_get_page() is to come");
}

/** The page at `index`, with a reference and locked; `null` = none. */
export function find_lock_page(
  t: Thread,
  _mapping: AddressSpace,
  _index: number,
): Steps<Page | null> {
  return BUG(t, "find_lock_page() is to come");
}

/** {@linkcode find_lock_page} that adds a page where there is none; `null` = out of memory. */
export function find_or_create_page(
  t: Thread,
  _mapping: AddressSpace,
  _index: number,
  _gfp: number,
): Steps<Page | null> {
  return BUG(t, "find_or_create_page() is to come");
}

/** Adds `page`, new and the caller's, locked. */
export function add_to_page_cache_lru(
  t: Thread,
  _page: Page,
  _mapping: AddressSpace,
  _index: number,
  _gfp: number,
): Steps<0 | Errno> {
  return BUG(t, "add_to_page_cache_lru() is to come");
}

/** Drops a reference. */
export const page_cache_release: typeof put_page = put_page;

export function lock_page(t: Thread, _page: Page): Steps {
  return BUG(t, "lock_page() is to come");
}
export function trylock_page(t: Thread, _page: Page): Steps<boolean> {
  return BUG(t, "trylock_page() is to come");
}
export function unlock_page(t: Thread, _page: Page): Steps {
  return BUG(t, "unlock_page() is to come");
}
export function wait_on_page_locked(t: Thread, _page: Page): Steps {
  return BUG(t, "wait_on_page_locked() is to come");
}
export function PageLocked(page: Page): boolean {
  return (page.flags & PG_locked) !== 0;
}
export function PageUptodate(page: Page): boolean {
  return (page.flags & PG_uptodate) !== 0;
}
export function SetPageUptodate(t: Thread, _page: Page): Steps {
  return BUG(t, "SetPageUptodate() is to come");
}
export function ClearPageUptodate(t: Thread, _page: Page): Steps {
  return BUG(t, "ClearPageUptodate() is to come");
}

/** Takes every page from byte `lstart` on out of `mapping`, and waits for those locked. */
export function truncate_inode_pages(
  t: Thread,
  _mapping: AddressSpace,
  _lstart: number,
): Steps {
  return BUG(t, "truncate_inode_pages() is to come");
}
