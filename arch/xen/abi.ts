/**
 * Numbers and structures of the interface between Xen and its guests, as the
 * public headers of Xen 3.3 give them (xen/include/public/: xen.h,
 * grant_table.h, event_channel.h, memory.h).
 *
 * 64-bit page-table entries and addresses are pairs of halves, or numbers where
 * 53 bits do.
 */

// Error numbers, which hypercalls return negated.
export const XEN_EPERM = 1;
export const XEN_ENOENT = 2;
export const XEN_ESRCH = 3;
export const XEN_ENOMEM = 12;
export const XEN_EFAULT = 14;
export const XEN_EBUSY = 16;
export const XEN_EEXIST = 17;
export const XEN_EINVAL = 22;
export const XEN_ENOSPC = 28;
export const XEN_ENOSYS = 38;

/** The calling domain. */
export const DOMID_SELF = 0x7ff0;
/** Owner of Xen's own frames that guests may see. */
export const DOMID_XEN = 0x7ff2;

/** Page-table writes, in the low bits of `MmuUpdate.ptr`: store `val`. */
export const MMU_NORMAL_PT_UPDATE = 0;
/** Store `val`, but keep accessed and dirty bits. */
export const MMU_PT_UPDATE_PRESERVE_AD = 2;

/** update_va_mapping(): flush nothing. */
export const UVMF_NONE = 0;
/** Flush the TLB of this CPU ... */
export const UVMF_TLB_FLUSH = 1;
/** ... or this address alone ... */
export const UVMF_INVLPG = 2;
/** ... or on every CPU. */
export const UVMF_ALL = 4;

/** One write of mmu_update(). */
export interface MmuUpdate {
  /** Machine address of the entry, bytes, a multiple of 8, plus the command. */
  readonly ptr: number;
  /** Low half of the entry. */
  readonly lo: number;
  /** High half. */
  readonly hi: number;
}

/** One operation of mmuext_op(). */
export type MmuextOp =
  | { readonly cmd: "pin_table"; readonly level: number; readonly mfn: number }
  | { readonly cmd: "unpin_table"; readonly mfn: number }
  | { readonly cmd: "tlb_flush_local" }
  | { readonly cmd: "tlb_flush_all" }
  | { readonly cmd: "invlpg_all"; readonly vaddr: number }
  /** Frames of a local descriptor table; none = no table. */
  | { readonly cmd: "set_ldt"; readonly frames: readonly number[] };

/** One call of multicall(). */
export type MulticallEntry =
  | {
    readonly op: "update_va_mapping";
    readonly vaddr: number;
    readonly lo: number;
    readonly hi: number;
    readonly flags: number;
    /** What it returned. */
    result?: number;
  }
  | {
    readonly op: "mmu_update";
    readonly updates: readonly MmuUpdate[];
    result?: number;
  }
  | {
    readonly op: "mmuext_op";
    readonly ops: readonly MmuextOp[];
    result?: number;
  };

// Grant table version 1: an entry is 8 bytes, { u16 flags; u16 domid; u32 frame }.

/** Bytes of an entry. */
export const GRANT_ENTRY_BYTES = 8;
/** The entry says nothing. */
export const GTF_invalid = 0;
/** `domid` may map or copy `frame`. */
export const GTF_permit_access = 1;
/** `domid` may give a frame. Not modelled: refused. */
export const GTF_accept_transfer = 2;
/** The kind, one of the above. */
export const GTF_type_mask = 3;
/** Set by the guest: for reading alone. */
export const GTF_readonly = 4;
/** Set by Xen: it is mapped. */
export const GTF_reading = 8;
/** Set by Xen: it is mapped for writing. */
export const GTF_writing = 16;

/** Map for the CPU, rather than for a device. */
export const GNTMAP_host_map = 2;
/** Map for reading. */
export const GNTMAP_readonly = 4;

// Status of a grant operation.
export const GNTST_okay = 0;
export const GNTST_general_error = -1;
export const GNTST_bad_domain = -2;
export const GNTST_bad_gntref = -3;
export const GNTST_bad_handle = -4;
export const GNTST_bad_virt_addr = -5;
export const GNTST_permission_denied = -8;
export const GNTST_bad_page = -9;
export const GNTST_bad_copy_arg = -10;

/** gnttab_map_grant_ref_t; the last three are Xen's. */
export interface MapGrantRef {
  /** Where to map it; its page table must be there. */
  readonly host_addr: number;
  /** `GNTMAP_*`. */
  readonly flags: number;
  readonly ref: number;
  /** Who granted it. */
  readonly dom: number;
  /** `GNTST_*`. */
  status?: number;
  /** What unmaps it again. */
  handle?: number;
  /** Machine address of the frame, bytes. */
  dev_bus_addr?: number;
}

/** gnttab_unmap_grant_ref_t. */
export interface UnmapGrantRef {
  readonly host_addr: number;
  readonly handle: number;
  /** `GNTST_*`. */
  status?: number;
}

/** `source` is a grant reference, rather than a frame of the caller's. */
export const GNTCOPY_source_gref = 1;
/** So is `dest`. */
export const GNTCOPY_dest_gref = 2;

/** One end of a copy. */
export interface GrantCopyEnd {
  /** Grant reference, or frame number. */
  readonly u: number;
  readonly domid: number;
  /** Bytes into the page. */
  readonly offset: number;
}

/** gnttab_copy_t. */
export interface GrantCopy {
  readonly source: GrantCopyEnd;
  readonly dest: GrantCopyEnd;
  /** Bytes. */
  readonly len: number;
  /** `GNTCOPY_*`. */
  readonly flags: number;
  /** `GNTST_*`. */
  status?: number;
}

/** Event channels of a 64-bit guest. */
export const NR_EVENT_CHANNELS = 4096;
/** A timer has gone off. */
export const VIRQ_TIMER = 0;
/** Debugging. */
export const VIRQ_DEBUG = 1;
/** Virtual interrupts of a CPU. */
export const NR_VIRQS = 24;
