/**
 * Parts of the mixed run that change what mappings allow: memory types and
 * write protection of pages that were mapped elsewhere a moment ago, kernel
 * text, descriptor tables.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  type Steps,
  vload,
  vstore,
} from "../../arch/asm.ts";
import {
  PAGE_KERNEL,
  PROT_PCD,
  PROT_PWT,
  PROT_WRITE,
} from "../../arch/hw/pte.ts";
import { Rng } from "../../arch/sim/random.ts";
import {
  alternatives_smp_switch,
  text_poke,
} from "../../kernel/alternative.ts";
import { mark_rodata_ro } from "../../kernel/alternative.ts";
import { BUG_ON } from "../../kernel/bug.ts";
import {
  free_kernel_text,
  kernel_text,
  type KernelText,
} from "../../kernel/kernel_text.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import {
  destroy_context,
  LdtContext,
  type LdtOps,
  NATIVE_LDT,
  write_ldt,
} from "../../kernel/ldt.ts";
import type { Errno } from "../../kernel/lib/errno.ts";
import { mutex_lock, mutex_unlock } from "../../kernel/locking/mutex.ts";
import { Mutex } from "../../kernel/locking/mutex.ts";
import { GFP_KERNEL } from "../../kernel/mm/gfp.ts";
import { __free_page, alloc_page } from "../../kernel/mm/page_alloc.ts";
import { type Page, page_address } from "../../kernel/mm/page.ts";
import { prot_of } from "../../kernel/mm/pageattr.ts";
import {
  set_memory_ro,
  set_memory_rw,
  set_memory_uc,
  set_memory_wb,
  set_memory_wc,
} from "../../kernel/mm/set_memory.ts";
import { VM_MAP } from "../../kernel/mm/vm_struct.ts";
import {
  vm_map_ram,
  vm_unmap_ram,
  vmap,
  vunmap,
} from "../../kernel/mm/vmap.ts";
import type { Thread } from "../../kernel/thread.ts";
import { failedOp } from "../injected.ts";
import type { Part } from "./part.ts";
import { too_small } from "./room.ts";

const LEAVE_ALIAS = ksym("leave_alias");

const X86_ALONE = "x86 alone has it";

/** One way of changing a page, and back. */
interface Change {
  readonly set: typeof set_memory_uc;
  readonly back: typeof set_memory_uc;
  /** Bits of the protection that change, and what they become. */
  readonly mask: number;
  readonly wanted: number;
}

const TYPE = PROT_PCD | PROT_PWT;
const CHANGES: readonly Change[] = [
  { set: set_memory_uc, back: set_memory_wb, mask: TYPE, wanted: PROT_PCD },
  { set: set_memory_wc, back: set_memory_wb, mask: TYPE, wanted: PROT_PWT },
  { set: set_memory_ro, back: set_memory_rw, mask: PROT_WRITE, wanted: 0 },
];

/** Addresses whose attributes are being changed: by whom, and for whoever wants to look. */
export class Watched {
  readonly addrs: number[] = [];
}

/** Pages that were just unmapped become uncached, write-combining, read-only, and ordinary again. */
export class AttributesPart implements Part {
  readonly name = "attributes";
  readonly unit = "pages changed and back";
  readonly #rngs: Rng[] = [];
  /** Whether vm_map_ram() is used too; see {@linkcode prepare}. */
  #ram = true;

  constructor(
    k: Kernel,
    readonly tasks: number,
    readonly watched: Watched = new Watched(),
  ) {
    for (let i = 0; i < tasks; i++) {
      this.#rngs.push(new Rng(k.params.seed + 101 * i));
    }
  }

  // deno-lint-ignore require-yield -- nothing to wait for
  *prepare(t: Thread): Steps<string | null> {
    if (t.k.arch !== "x86") return X86_ALONE;
    const { start, end } = t.k.vmalloc;
    // Single pages between XFS's sixteens leave a rest in each block, and 2.6.28
    // never takes a block apart: on i386 the addresses would run out (B3, B4).
    this.#ram = end - start >= 2 ** 30;
    return too_small(t.k);
  }

  *step(t: Thread, id: number): Steps {
    const page = yield* alloc_page(t, GFP_KERNEL);
    if (page === null) return failedOp(t, "no memory for a page");
    const rng = this.#rngs[id];
    const token = rng.below(2 ** 31);
    const ram = rng.below(2) === 0 && this.#ram;
    const change = CHANGES[rng.below(CHANGES.length)];
    const addr = page_address(t.k, page);
    if (!(yield* leave_alias(t, page, ram, token))) {
      failedOp(t, "no room to map a page");
    } else {
      this.watched.addrs[id] = addr;
      yield* change_and_back(t, change, addr, token);
    }
    yield* __free_page(t, page);
  }

  *finish(): Steps {}
}

/** Changes the page at `addr`, looks at it, and makes it ordinary again. */
function* change_and_back(
  t: Thread,
  change: Change,
  addr: number,
  token: number,
): Steps {
  const error = yield* change.set(t, addr, 1);
  if (error !== 0) {
    return failedOp(t, `changing page attributes is ${error}`);
  }
  const prot = prot_of(t.k, addr);
  BUG_ON(t, (prot & change.mask) !== change.wanted, "attributes are others");
  const found = yield* vload(t, addr, 4);
  BUG_ON(t, found !== token, "a page has lost its contents");
  check(t, yield* change.back(t, addr, 1));
  yield* vstore(t, addr, 4, 0);
}

/** Maps `page`, writes to it, and unmaps it, lazily where the layer is. @returns Whether it could. */
function* leave_alias(
  t: Thread,
  page: Page,
  ram: boolean,
  token: number,
): Steps<boolean> {
  enter(t, LEAVE_ALIAS);
  const alias = ram
    ? yield* vm_map_ram(t, [page], 1, -1, PAGE_KERNEL)
    : yield* vmap(t, [page], 1, VM_MAP, PAGE_KERNEL);
  if (alias !== 0) {
    yield* vstore(t, alias, 4, token);
    if (ram) yield* vm_unmap_ram(t, alias, 1);
    else yield* vunmap(t, alias);
  }
  leave(t);
  return alias !== 0;
}

function check(t: Thread, error: 0 | Errno): void {
  BUG_ON(t, error !== 0, `changing page attributes is ${error}`);
}

/** Pause of a reader between two words, instructions: a microsecond or so. */
const READER_INSTRUCTIONS = 3000;

/** Reads the pages that {@linkcode AttributesPart} changes, so that another CPU's TLB knows them. */
export class ReaderPart implements Part {
  readonly name = "reader";
  readonly unit = "words read meanwhile";
  readonly tasks = 1;
  #turn = 0;

  constructor(readonly watched: Watched) {}

  // deno-lint-ignore require-yield -- nothing to wait for
  *prepare(t: Thread): Steps<string | null> {
    return t.k.arch === "x86" ? too_small(t.k) : X86_ALONE;
  }

  *step(t: Thread): Steps {
    const { addrs } = this.watched;
    const addr = addrs[this.#turn++ % Math.max(1, addrs.length)];
    if (addr !== undefined) yield* vload(t, addr, 4);
    charge(t, READER_INSTRUCTIONS);
  }

  *finish(): Steps {}
}

/** Read-only kernel text is changed, byte by byte. */
export class TextPart implements Part {
  readonly name = "text";
  readonly unit = "instructions poked";
  readonly tasks = 1;
  #text: KernelText | null = null;
  /** text_mutex of later kernels: sites are changed one at a time. */
  readonly #mutex: Mutex;
  #site = 0;

  constructor(k: Kernel) {
    this.#mutex = new Mutex(k, "text_mutex");
  }

  *prepare(t: Thread): Steps<string | null> {
    if (t.k.arch !== "x86") return X86_ALONE;
    const small = too_small(t.k);
    if (small !== null) return small;
    const text = yield* kernel_text(t);
    if (typeof text === "number") return "no memory";
    this.#text = text;
    yield* alternatives_smp_switch(t, false);
    check(t, yield* mark_rodata_ro(t));
    return null;
  }

  *step(t: Thread): Steps {
    yield* mutex_lock(t, this.#mutex);
    const { lock_sites } = this.#text!;
    const site = lock_sites[this.#site++ % lock_sites.length];
    const byte = yield* vload(t, site, 1);
    const prefix = new Uint8Array([byte ^ 0xce]); // f0 <-> 3e
    const error = yield* text_poke(t, site, prefix);
    yield* mutex_unlock(t, this.#mutex);
    if (error !== 0) failedOp(t, `text_poke() is ${error}`);
  }

  finish(t: Thread): Steps {
    return free_kernel_text(t);
  }
}

/** Descriptors a table is grown to, in turn: a page's, two pages', more. */
const LDT_SIZES = [100, 900, 1600, 2500];

/** Tables of descriptors that grow and go. */
export class LdtPart implements Part {
  readonly name = "ldt";
  readonly unit = "descriptor tables grown";
  readonly #contexts: LdtContext[];
  readonly #turns: number[];

  constructor(k: Kernel, readonly tasks: number, ops: LdtOps = NATIVE_LDT) {
    this.#contexts = Array.from(
      { length: tasks },
      () => new LdtContext(k, ops),
    );
    this.#turns = this.#contexts.map(() => 0);
  }

  // deno-lint-ignore require-yield -- nothing to wait for
  *prepare(t: Thread): Steps<string | null> {
    return t.k.arch === "x86" ? too_small(t.k) : X86_ALONE;
  }

  *step(t: Thread, id: number): Steps {
    const context = this.#contexts[id];
    const turn = this.#turns[id]++ % LDT_SIZES.length;
    if (turn === 0) yield* destroy_context(t, context);
    const entry = LDT_SIZES[turn] - 1;
    const error = yield* write_ldt(t, context, entry, entry, ~entry >>> 0);
    if (error !== 0) {
      this.#turns[id] = 0; // from the first descriptor on
      return failedOp(t, `write_ldt() is ${error}`);
    }
    const first = LDT_SIZES[0] - 1;
    const found = yield* vload(t, context.ldt + first * 8, 4);
    BUG_ON(t, found !== first, "a table has lost a descriptor");
  }

  *finish(t: Thread): Steps {
    for (const context of this.#contexts) yield* destroy_context(t, context);
    this.#turns.fill(0);
  }
}
