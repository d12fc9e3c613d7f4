/**
 * Flags that say where a page may come from and what may be done to get it
 * (include/linux/gfp.h, values of 2.6.28).
 */

/** From the first 16 MiB. */
export const __GFP_DMA = 0x01;
/** May be memory without a permanent kernel address. */
export const __GFP_HIGHMEM = 0x02;
/** From below 4 GiB. */
export const __GFP_DMA32 = 0x04;
/** The caller can wait. */
export const __GFP_WAIT = 0x10;
/** The caller is important: it may use half of the reserve. */
export const __GFP_HIGH = 0x20;
/** May start I/O. */
export const __GFP_IO = 0x40;
/** May call into file systems. */
export const __GFP_FS = 0x80;
/** A page that no cache holds will do. */
export const __GFP_COLD = 0x100;
/** Fail in silence. */
export const __GFP_NOWARN = 0x200;
/** Never fail. */
export const __GFP_NOFAIL = 0x800;
/** Try once. */
export const __GFP_NORETRY = 0x1000;
/** Zero the pages. */
export const __GFP_ZERO = 0x8000;
/** Obey the cpuset. */
export const __GFP_HARDWALL = 0x20000;
/** From the node asked for, or not at all. */
export const __GFP_THISNODE = 0x40000;

/** In interrupts and under spinlocks. */
export const GFP_ATOMIC: number = __GFP_HIGH;
/** May sleep, but start no I/O. */
export const GFP_NOIO: number = __GFP_WAIT;
/** May sleep and start I/O, but not call file systems. */
export const GFP_NOFS = __GFP_WAIT | __GFP_IO;
/** The usual one: may sleep. */
export const GFP_KERNEL = __GFP_WAIT | __GFP_IO | __GFP_FS;
/** Pages for user space that the kernel looks at, too. */
export const GFP_USER = GFP_KERNEL | __GFP_HARDWALL;
/** Pages for user space, which need no kernel address. */
export const GFP_HIGHUSER = GFP_USER | __GFP_HIGHMEM;
/** From one node, silently or not at all. */
export const GFP_THISNODE = __GFP_THISNODE | __GFP_NOWARN | __GFP_NORETRY;
/** For devices that reach 16 MiB. */
export const GFP_DMA: number = __GFP_DMA;
/** For devices that reach 4 GiB. */
export const GFP_DMA32: number = __GFP_DMA32;
