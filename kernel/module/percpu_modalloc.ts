/**
 * Per-CPU data of modules: a reserve in every CPU's per-CPU area, handed out
 * first fit (kernel/module.c, percpu_modalloc()).
 *
 * A module sees its data at an address in the kernel's own per-CPU section;
 * adding a CPU's offset leads to that CPU's copy.
 *
 * Locks: module_mutex is held throughout.
 *
 * Differs from Linux: the reserve is taken, for every possible CPU, when the
 * first module needs it, and given back with the last, not set up at boot. The
 * section's address is made up, and nothing is mapped there. Only the copies
 * are in memory, in the direct map.
 */
import { charge, enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import { ALIGN } from "../lib/bitops.ts";
import { GFP_KERNEL } from "../mm/gfp.ts";
import { free_pages } from "../mm/get_free_pages.ts";
import { alloc_pages_node } from "../mm/page_alloc.ts";
import { page_address } from "../mm/page.ts";
import { get_order } from "../lib/bitops.ts";
import { KERN_WARNING, printk } from "../printk.ts";
import type { Thread } from "../thread.ts";
import { memcpy_at } from "./access.ts";
import { module_state } from "./module.ts";

const PERCPU_MODALLOC = ksym("percpu_modalloc");
const PERCPU_MODFREE = ksym("percpu_modfree");
const PERCPU_MODCOPY = ksym("percpu_modcopy");

/** PERCPU_MODULE_RESERVE of 2.6.28, bytes. */
export const PERCPU_MODULE_RESERVE = 8192;
/** Low 48 bits of the section's address, past the exports' (kernel_symbols.ts). Chosen. */
const PERCPU_START = 0xffff80a00000;

/** A module's part. */
export interface PercpuBlock {
  /** `mod->percpu`: an address in the kernel's per-CPU section. */
  readonly addr: number;
  readonly size: number;
}

/** Every CPU's memory. */
export interface PercpuReserve {
  /** By CPU number: where its reserve is. */
  readonly areas: readonly number[];
  /** Handed out, by address. */
  readonly blocks: PercpuBlock[];
}

/** Takes `size` bytes of every CPU. @returns `null` if there is no room or no memory. */
export function* percpu_modalloc(
  t: Thread,
  size: number,
  align: number,
  name: string,
): Steps<PercpuBlock | null> {
  enter(t, PERCPU_MODALLOC);
  const { page_size } = t.k.vmalloc;
  if (align > page_size) {
    printk(
      t,
      KERN_WARNING,
      `${name}: per-cpu alignment ${align} > ${page_size}`,
    );
  }
  const state = module_state(t.k);
  const taken = state.percpu?.blocks ?? [];
  const block = first_fit(t, taken, size, Math.min(align, page_size));
  if (block !== null && state.percpu === null) {
    state.percpu = yield* take_reserve(t);
  }
  if (block === null || state.percpu === null) {
    printk(
      t,
      KERN_WARNING,
      `Could not allocate ${size} bytes percpu data`,
    );
    leave(t);
    return null;
  }
  const { blocks } = state.percpu;
  const i = blocks.findIndex(({ addr }) => addr > block.addr);
  blocks.splice(i < 0 ? blocks.length : i, 0, block);
  leave(t);
  return block;
}

function first_fit(
  t: Thread,
  blocks: readonly PercpuBlock[],
  size: number,
  align: number,
): PercpuBlock | null {
  const end = PERCPU_START + PERCPU_MODULE_RESERVE;
  let addr = PERCPU_START;
  for (const block of blocks) {
    charge(t, 8);
    if (addr + size <= block.addr) break;
    addr = ALIGN(block.addr + block.size, align);
  }
  return addr + size <= end ? { addr, size } : null;
}

function reserve_order(t: Thread): number {
  return get_order(PERCPU_MODULE_RESERVE, t.k.pages.pageShift);
}

function* take_reserve(t: Thread): Steps<PercpuReserve | null> {
  const areas: number[] = new Array(t.machine.nrCpus).fill(0);
  const { cpus } = t.machine.engine;
  for (const cpu of t.k.cpu_possible.list) {
    const node = cpus[cpu].node;
    const page = yield* alloc_pages_node(t, node, GFP_KERNEL, reserve_order(t));
    if (page === null) {
      yield* drop_reserve(t, areas);
      return null;
    }
    areas[cpu] = page_address(t.k, page);
  }
  return { areas, blocks: [] };
}

function* drop_reserve(t: Thread, areas: readonly number[]): Steps {
  for (let cpu = 0; cpu < areas.length; cpu++) {
    yield* free_pages(t, areas[cpu], reserve_order(t));
  }
}

/** Gives `block` back. */
export function* percpu_modfree(t: Thread, block: PercpuBlock): Steps {
  enter(t, PERCPU_MODFREE);
  const state = module_state(t.k);
  const { blocks, areas } = state.percpu!;
  charge(t, 8 * blocks.length);
  blocks.splice(blocks.indexOf(block), 1);
  if (blocks.length === 0) {
    state.percpu = null;
    yield* drop_reserve(t, areas);
  }
  leave(t);
}

/** Where CPU `cpu` has its copy of `block`: `per_cpu_ptr()`. Plain. */
export function percpu_copy(
  t: Thread,
  block: PercpuBlock,
  cpu: number,
): number {
  return module_state(t.k).percpu!.areas[cpu] + block.addr - PERCPU_START;
}

/** Gives every possible CPU a copy of the `size` bytes at `from`. */
export function* percpu_modcopy(
  t: Thread,
  block: PercpuBlock,
  from: number,
  size: number,
): Steps {
  enter(t, PERCPU_MODCOPY);
  for (const cpu of t.k.cpu_possible.list) {
    yield* memcpy_at(t, percpu_copy(t, block, cpu), from, size);
  }
  leave(t);
}
