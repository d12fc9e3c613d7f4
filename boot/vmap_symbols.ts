/**
 * Which symbols of a profile belong to the vmap layer or to flushes of TLBs:
 * what the rewrite was to get rid of. Locks count with neither: a spin is
 * charged to the lock's own function, whichever lock it is.
 */
import type { ProfileLine } from "./results.ts";

const IDLE = "default_idle";

/** mm/vmalloc.c of both layers, and the page-table walks under it. */
const VMAP: readonly string[] = [
  "__find_vm_area",
  "__free_vmap_area",
  "__get_vm_area_node",
  "__insert_vmap_area",
  "__purge_vmap_area_lazy",
  "__remove_vm_area",
  "__vunmap",
  "alloc_vmap_area",
  "find_vmap_area",
  "free_unmap_vmap_area",
  "free_vmap_block",
  "map_vm_area",
  "new_vmap_block",
  "rcu_free_va",
  "rcu_free_vb",
  "remove_vm_area",
  "unmap_kernel_range",
  "unmap_vm_area",
  "vb_alloc",
  "vb_free",
  "vm_map_ram",
  "vm_unmap_aliases",
  "vm_unmap_ram",
  "vmap",
  "vmap_page_range",
  "vunmap",
  "vunmap_page_range",
  "bitmap_allocate_region",
  "bitmap_find_free_region",
];

/** The flush, the calls to other CPUs that it takes, and their interrupts. */
export const FLUSH_SYMBOLS: readonly string[] = [
  "csd_flag_wait",
  "do_flush_tlb_all",
  "flush_tlb_all",
  "flush_tlb_kernel_range",
  "generic_exec_single",
  "generic_smp_call_function_interrupt",
  "generic_smp_call_function_single_interrupt",
  "handle_IPI",
  "ia64_send_ipi",
  "local_flush_tlb_all",
  "on_each_cpu",
  "pio_phys_write_mmr",
  "smp_call_function",
  "smp_call_function_interrupt",
  "smp_call_function_mask",
  "smp_call_function_single",
  "smp_flush_tlb_all",
  "sn2_send_IPI",
  "sn_send_IPI_phys",
];

const SYMBOLS: ReadonlySet<string> = new Set([...VMAP, ...FLUSH_SYMBOLS]);

/** Share of what was not idle, %, in the vmap layer and in flushes. */
export function vmapPercent(profile: readonly ProfileLine[]): number {
  let busy = 0;
  let vmap = 0;
  for (const { symbol, ticks } of profile) {
    if (symbol !== IDLE) busy += ticks;
    if (SYMBOLS.has(symbol)) vmap += ticks;
  }
  return busy === 0 ? 0 : Math.round(vmap / busy * 10_000) / 100;
}
