/**
 * Parts of the mixed run that need a hypervisor: processes come and go, whose
 * page tables are pinned, while pages are mapped and unmapped beside them.
 *
 * Pages that were unmapped lazily a moment ago become page tables: what the
 * hypervisor refuses while an alias is left.
 */
import {
  enter,
  ksym,
  leave,
  type Steps,
  vload,
  vstore,
} from "../../arch/asm.ts";
import { PAGE_KERNEL } from "../../arch/hw/pte.ts";
import { Rng } from "../../arch/sim/random.ts";
import { BUG_ON } from "../../kernel/bug.ts";
import {
  activate_mm,
  do_fork,
  exit_mmap,
  mm_alloc,
} from "../../kernel/fork.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import { kthread_join } from "../../kernel/kthread.ts";
import { GFP_KERNEL } from "../../kernel/mm/gfp.ts";
import {
  handle_mm_fault,
  type UserMm,
  type Vma,
} from "../../kernel/mm/memory.ts";
import { __free_page, alloc_page } from "../../kernel/mm/page_alloc.ts";
import type { Page } from "../../kernel/mm/page.ts";
import { vm_map_ram, vm_unmap_ram } from "../../kernel/mm/vmap.ts";
import type { Thread } from "../../kernel/thread.ts";
import { failedOp } from "../injected.ts";
import type { Part } from "./part.ts";
import { too_small } from "./room.ts";

const MAP_ROUND = ksym("map_round");

/** Pages of one mapping at most. */
const MAX_PAGES = 4;
/** Rounds before a fork: the CPU's list of free pages then has some that were just mapped. */
const ROUNDS_BEFORE_FORK = 2;
const NO_XEN = "no hypervisor on this machine";

/** Text, data, a heap and a stack: a table of pages for each. */
const VMAS: readonly Vma[] = [
  { start: 0x400000, end: 0x404000, writable: false },
  { start: 0x600000, end: 0x608000, writable: true },
  { start: 0x40000000, end: 0x40010000, writable: true },
  { start: 0x7ffffffe0000, end: 0x7ffffffe4000, writable: true },
];

/** Why `t`'s machine runs no part of this file; `null` = it does. */
function unfit(t: Thread): string | null {
  return t.k.xen === null ? NO_XEN : too_small(t.k);
}

/** What stands for all parts of Xen's where there is none. */
export class NoXenPart implements Part {
  readonly name = "xen";
  readonly unit = "";
  readonly tasks = 0;

  // deno-lint-ignore require-yield -- nothing to wait for
  *prepare(): Steps<string | null> {
    return NO_XEN;
  }

  *step(): Steps {}

  *finish(): Steps {}
}

/** Processes that fork: the child touches its pages and exits. */
export class ProcessPart implements Part {
  readonly name = "processes";
  readonly unit = "processes forked, pinned and ended";
  /** Each task's own address space; made by itself. */
  readonly #mms: (UserMm | null)[] = [];

  readonly #rngs: Rng[] = [];

  constructor(k: Kernel, readonly tasks: number) {
    for (let i = 0; i < tasks; i++) {
      this.#rngs.push(new Rng(k.params.seed + 37 * i));
    }
  }

  // deno-lint-ignore require-yield -- nothing to wait for
  *prepare(t: Thread): Steps<string | null> {
    return unfit(t);
  }

  *step(t: Thread, id: number): Steps {
    const mm = this.#mms[id] ??= yield* first_mm(t);
    if (mm === null) return failedOp(t, "no memory for an address space");
    for (let n = 0; n < ROUNDS_BEFORE_FORK; n++) {
      yield* map_round(t, this.#rngs[id]);
    }
    const child = yield* do_fork(t, mm, touch_all, `child/${id}`);
    if (typeof child === "number") {
      return failedOp(t, `do_fork() is ${child}`);
    }
    yield* kthread_join(t, child);
  }

  *finish(t: Thread): Steps {
    for (const mm of this.#mms) {
      if (mm !== null && mm !== undefined) yield* exit_mmap(t, mm);
    }
    this.#mms.length = 0;
  }
}

/** An address space with a page at the start of each range, in use. */
function* first_mm(t: Thread): Steps<UserMm | null> {
  const mm = yield* mm_alloc(t, VMAS);
  if (typeof mm === "number") return null;
  for (const { start, writable } of VMAS) {
    if ((yield* handle_mm_fault(t, mm, start, writable)) === 0) continue;
    yield* exit_mmap(t, mm);
    return null;
  }
  yield* activate_mm(t, mm);
  return mm;
}

/** The child: what it shares it copies by writing, and it takes pages of its own. */
function* touch_all(t: Thread, mm: UserMm): Steps {
  const { pageBytes } = t.machine.memory;
  for (const { start, end, writable } of VMAS) {
    for (const at of [start, end - pageBytes]) {
      const error = yield* handle_mm_fault(t, mm, at, writable);
      if (error !== 0) return failedOp(t, `handle_mm_fault() is ${error}`);
    }
  }
}

function* map_round(t: Thread, rng: Rng): Steps {
  enter(t, MAP_ROUND);
  const count = 1 + rng.below(MAX_PAGES);
  const pages: Page[] = [];
  for (let i = 0; i < count; i++) {
    const page = yield* alloc_page(t, GFP_KERNEL);
    if (page === null) break;
    pages.push(page);
  }
  const addr = pages.length === count
    ? yield* vm_map_ram(t, pages, count, -1, PAGE_KERNEL)
    : 0;
  if (addr !== 0) yield* use_mapping(t, addr, count, rng);
  else failedOp(t, "no memory to map pages");
  for (let i = 0; i < pages.length; i++) yield* __free_page(t, pages[i]);
  leave(t);
}

/** Writes to each page of a mapping, reads it back, and unmaps. */
function* use_mapping(
  t: Thread,
  addr: number,
  count: number,
  rng: Rng,
): Steps {
  const { pageBytes } = t.machine.memory;
  const token = rng.below(2 ** 31);
  for (let i = 0; i < count; i++) {
    yield* vstore(t, addr + i * pageBytes, 4, token + i);
  }
  for (let i = 0; i < count; i++) {
    const found = yield* vload(t, addr + i * pageBytes, 4);
    BUG_ON(t, found !== token + i, "a mapping is of another page");
  }
  yield* vm_unmap_ram(t, addr, count);
}

/** Pages that are mapped by vm_map_ram(), written to, unmapped and given back. */
export class RamPart implements Part {
  readonly name = "maps";
  readonly unit = "mappings by vm_map_ram()";
  readonly #rngs: Rng[] = [];

  constructor(k: Kernel, readonly tasks: number) {
    for (let i = 0; i < tasks; i++) {
      this.#rngs.push(new Rng(k.params.seed + 31 * i));
    }
  }

  // deno-lint-ignore require-yield -- nothing to wait for
  *prepare(t: Thread): Steps<string | null> {
    return unfit(t);
  }

  step(t: Thread, id: number): Steps {
    return map_round(t, this.#rngs[id]);
  }

  *finish(): Steps {}
}
