/**
 * The profiles of a large-directory XFS workload on a 64-CPU Altix (SN2, ia64)
 * before and after the rewrite, as measured in 2008: Nick Piggin, "mm: rewrite
 * vmap layer", commit db64fe02258f. Lines of `readprofile`: ticks, symbol, and
 * ticks for each byte of the function's text.
 */

/** The preset that stands for the machine. */
export const REFERENCE_MACHINE = "altix-64";

/** One line of a profile of 2008. */
export interface ReferenceLine {
  readonly ticks: number;
  readonly symbol: string;
  /** Ticks over the size of the function, bytes. */
  readonly load: number;
}

/** One profile of 2008: its total, and the lines that were published. */
export interface ReferenceProfile {
  readonly total: ReferenceLine;
  readonly lines: readonly ReferenceLine[];
}

const BEFORE = `
1352059 total 0.1401
798784 _write_lock 8320.6667
529313 default_idle 1181.5022
15242 smp_call_function 15.8771
2472 __get_vm_area_node 1.9312
1762 remove_vm_area 4.5885
316 map_vm_area 0.2297
312 kfree 0.1950
300 _spin_lock 3.1250
252 sn_send_IPI_phys 0.4375
238 vmap 0.8264
216 find_lock_page 0.5192
196 find_next_bit 0.3603
136 sn2_send_IPI 0.2024
130 pio_phys_write_mmr 2.0312
118 unmap_kernel_range 0.1229
`;

const AFTER = `
78406 total 0.0081
40053 default_idle 89.4040
33576 ia64_spinlock_contention 349.7500
1650 _spin_lock 17.1875
319 __reg_op 0.5538
281 _atomic_dec_and_lock 1.0977
153 mutex_unlock 1.5938
123 iget_locked 0.1671
117 xfs_dir_lookup 0.1662
117 dput 0.1406
114 xfs_iget_core 0.0268
92 xfs_da_hashname 0.1917
75 d_alloc 0.0670
68 vmap_page_range 0.0462
58 kmem_cache_alloc 0.0604
57 memset 0.0540
52 rb_next 0.1625
50 __copy_user 0.0208
49 bitmap_find_free_region 0.2188
46 ia64_sn_udelay 0.1106
45 find_inode_fast 0.1406
42 memcmp 0.2188
42 finish_task_switch 0.1094
42 __d_lookup 0.0410
40 radix_tree_lookup_slot 0.1250
37 _spin_unlock_irqrestore 0.3854
36 xfs_bmapi 0.0050
36 kmem_cache_free 0.0256
35 xfs_vn_getattr 0.0322
34 radix_tree_lookup 0.1062
33 __link_path_walk 0.0035
31 xfs_da_do_buf 0.0091
30 _xfs_buf_find 0.0204
28 find_get_page 0.0875
27 xfs_iread 0.0241
27 __strncpy_from_user 0.2812
26 _xfs_buf_initialize 0.0406
24 _xfs_buf_lookup_pages 0.0179
24 vunmap_page_range 0.0250
23 find_lock_page 0.0799
22 vm_map_ram 0.0087
20 kfree 0.0125
19 put_page 0.0330
18 __kmalloc 0.0176
17 xfs_da_node_lookup_int 0.0086
17 _read_lock 0.0885
17 page_waitqueue 0.0664
`;

/** How much faster the workload became: "XFS ... 20 times". */
export const REFERENCE_SPEEDUP = 20;
/** A bundle, the unit of ia64's text, bytes. */
const BUNDLE_BYTES = 16;
/** What takes the place of the functions of 2008 with their vmap layer. */
const LAYERS: Readonly<Record<string, ReferenceProfile>> = {
  vmlist: parse(BEFORE),
  rewrite: parse(AFTER),
};

/** The profile of 2008 on the vmap layer `vmap`; `null` = there is none. */
export function referenceProfile(vmap: string): ReferenceProfile | null {
  return Object.hasOwn(LAYERS, vmap) ? LAYERS[vmap] : null;
}

/**
 * Size of a function's text on the machine of 2008, bytes; `null` = that
 * profile does not say. The kernel before the rewrite was a different build, so
 * the layer's own profile comes first.
 */
export function textBytes(symbol: string, vmap: string): number | null {
  const own = referenceProfile(vmap);
  for (const profile of [own, ...Object.values(LAYERS)]) {
    const line = profile?.lines.find((l) => l.symbol === symbol);
    if (line !== undefined) {
      return Math.round(line.ticks / line.load / BUNDLE_BYTES) * BUNDLE_BYTES;
    }
  }
  return null;
}

/** Size of the kernel's text, bytes; `null` = unknown. */
export function kernelTextBytes(vmap: string): number | null {
  const profile = referenceProfile(vmap);
  return profile && Math.round(profile.total.ticks / profile.total.load);
}

function parse(text: string): ReferenceProfile {
  const [total, ...lines] = text.trim().split("\n").map((line) => {
    const [ticks, symbol, load] = line.split(" ");
    return { ticks: Number(ticks), symbol, load: Number(load) };
  });
  return { total, lines };
}
