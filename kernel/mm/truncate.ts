/** Taking pages out of the page cache (mm/truncate.c). */
import { charge, enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import { radix_tree_gang_lookup } from "../lib/radix_tree.ts";
import { rcu_read_lock, rcu_read_unlock } from "../rcu.ts";
import { cond_resched } from "../sched/sched.ts";
import type { Thread } from "../thread.ts";
import {
  type AddressSpace,
  ClearPageUptodate,
  lock_page,
  page_cache_release,
  remove_from_page_cache,
  unlock_page,
} from "./filemap.ts";
import { get_page, type Page } from "./page.ts";

const TRUNCATE_INODE_PAGES = ksym("truncate_inode_pages");
const PAGEVEC_LOOKUP = ksym("pagevec_lookup");
const TRUNCATE_COMPLETE_PAGE = ksym("truncate_complete_page");

/** Pages looked up at a time. */
const PAGEVEC_SIZE = 14;

/**
 * Takes every page from byte `lstart` on, a multiple of the page size, out of
 * `mapping`, waiting for those that are locked. Pages that somebody has a
 * reference to stay theirs.
 *
 * Context: process. Locks: PG_locked, in it mapping.tree_lock.
 *
 * Linux: mm/truncate.c.
 */
export function* truncate_inode_pages(
  t: Thread,
  mapping: AddressSpace,
  lstart: number,
): Steps {
  enter(t, TRUNCATE_INODE_PAGES);
  charge(t, 20);
  const first = lstart / t.machine.memory.pageBytes;
  while (mapping.nrpages > 0) {
    const pages = yield* pagevec_lookup(t, mapping, first);
    if (pages.length === 0) break;
    for (const page of pages) {
      yield* lock_page(t, page);
      if (page.mapping === mapping) yield* truncate_complete_page(t, page);
      yield* unlock_page(t, page);
      yield* page_cache_release(t, page);
    }
    yield* cond_resched(t);
  }
  leave(t);
}

/** Some pages from `first` on, with a reference to each. */
function* pagevec_lookup(
  t: Thread,
  mapping: AddressSpace,
  first: number,
): Steps<Page[]> {
  enter(t, PAGEVEC_LOOKUP);
  charge(t, 20);
  rcu_read_lock(t);
  const found = radix_tree_gang_lookup(mapping.page_tree, first, PAGEVEC_SIZE);
  const pages: Page[] = [];
  for (const page of found) {
    charge(t, 10);
    if (page._count === 0 || page.mapping !== mapping) continue; // gone since
    yield* get_page(t, page);
    pages.push(page);
  }
  rcu_read_unlock(t);
  leave(t);
  return pages;
}

/** Locks: the page's held. */
function* truncate_complete_page(t: Thread, page: Page): Steps {
  enter(t, TRUNCATE_COMPLETE_PAGE);
  charge(t, 20);
  yield* ClearPageUptodate(t, page);
  page.private = 0; // what its users knew of its contents
  yield* remove_from_page_cache(t, page);
  yield* page_cache_release(t, page);
  leave(t);
}
