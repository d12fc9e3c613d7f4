/**
 * What both ends of a xenbus device do with the page of a ring and with an
 * event channel (drivers/xen/xenbus/xenbus_client.c of 2.6.28).
 *
 * Ring pages are mapped where alloc_vm_area() found room: the hypervisor writes
 * the entry, and clears it again.
 */
import { enter, ksym, leave, type Steps } from "../../../arch/asm.ts";
import {
  GNTMAP_host_map,
  GNTST_okay,
  type MapGrantRef,
  type UnmapGrantRef,
} from "../../../arch/xen/abi.ts";
import {
  EINVAL,
  ENOENT,
  ENOMEM,
  err,
  type Errno,
  IS_ERR_VALUE,
} from "../../lib/errno.ts";
import type { Page } from "../../mm/page.ts";
import { __free_page } from "../../mm/page_alloc.ts";
import { alloc_vm_area, free_vm_area } from "../../mm/vm_area.ts";
import { vmlist_find } from "../../mm/vm_struct.ts";
import type { Thread } from "../../thread.ts";
import { bind_interdomain_evtchn, xen_alloc_evtchn } from "../../xen/events.ts";
import {
  gnttab_end_foreign_access,
  gnttab_grant_foreign_access_ref,
} from "../../xen/grant_table.ts";
import {
  HYPERVISOR_map_grant_ref,
  HYPERVISOR_unmap_grant_ref,
} from "../../xen/hypercall.ts";
import {
  xenbus_dev_error,
  xenbus_dev_fatal,
  type XenbusDevice,
} from "./xenbus.ts";

const XENBUS_GRANT_RING = ksym("xenbus_grant_ring");
const XENBUS_MAP_RING_VALLOC = ksym("xenbus_map_ring_valloc");
const XENBUS_UNMAP_RING_VFREE = ksym("xenbus_unmap_ring_vfree");

/** Lets the other end map `page`. Context: process. @returns The reference, or -ENOSPC. */
export function* xenbus_grant_ring(
  t: Thread,
  dev: XenbusDevice,
  page: Page,
): Steps<number | Errno> {
  enter(t, XENBUS_GRANT_RING);
  const { otherend_id } = dev;
  const ref = yield* gnttab_grant_foreign_access_ref(
    t,
    otherend_id,
    page.pfn,
    false,
  );
  if (IS_ERR_VALUE(ref)) {
    yield* xenbus_dev_fatal(t, dev, ref, "granting access to ring page");
  }
  leave(t);
  return ref;
}

/**
 * Takes the page of a ring back and frees it; `ref` 0 = it was not granted yet.
 * A page that the other end has mapped is not freed.
 *
 * Context: process.
 */
export function* free_ring(t: Thread, ref: number, page: Page | null): Steps {
  const free = ref === 0 || (yield* gnttab_end_foreign_access(t, ref));
  if (free && page !== null) yield* __free_page(t, page);
}

/** A port that the other end may bind. Context: process. */
export function* xenbus_alloc_evtchn(
  t: Thread,
  dev: XenbusDevice,
): Steps<number | Errno> {
  const port = yield* xen_alloc_evtchn(t, dev.otherend_id);
  if (IS_ERR_VALUE(port)) {
    yield* xenbus_dev_fatal(t, dev, port, "allocating event channel");
  }
  return port;
}

/** Binds to the other end's port. Context: process. */
export function* xenbus_bind_evtchn(
  t: Thread,
  dev: XenbusDevice,
  remote_port: number,
): Steps<number | Errno> {
  const { otherend_id } = dev;
  const port = yield* bind_interdomain_evtchn(t, otherend_id, remote_port);
  if (IS_ERR_VALUE(port)) {
    yield* xenbus_dev_fatal(
      t,
      dev,
      port,
      `binding to event channel ${remote_port} from domain ${otherend_id}`,
    );
  }
  return port;
}

/**
 * Maps the page that the other end granted as `ref`.
 *
 * Context: process.
 *
 * @returns Its address, in an area of its own; -ENOMEM, or -EINVAL if the
 *   hypervisor refuses.
 */
export function* xenbus_map_ring_valloc(
  t: Thread,
  dev: XenbusDevice,
  ref: number,
): Steps<number | Errno> {
  enter(t, XENBUS_MAP_RING_VALLOC);
  const area = yield* alloc_vm_area(t, t.machine.memory.pageBytes);
  let result: number = err(ENOMEM);
  if (area !== null) {
    const op: MapGrantRef = {
      host_addr: area.addr,
      flags: GNTMAP_host_map,
      ref,
      dom: dev.otherend_id,
    };
    yield* HYPERVISOR_map_grant_ref(t, [op]);
    if (op.status === GNTST_okay) {
      area.phys_addr = op.handle!;
      result = area.addr;
    } else {
      yield* free_vm_area(t, area);
      result = err(EINVAL);
      const what =
        `mapping in shared page ${ref} from domain ${dev.otherend_id}`;
      yield* xenbus_dev_fatal(t, dev, err(EINVAL), what);
    }
  }
  leave(t);
  return result;
}

/**
 * Unmaps what {@linkcode xenbus_map_ring_valloc} returned. As there, the list of
 * areas is walked for the address, since find_vm_area() is not for drivers.
 *
 * Context: process.
 *
 * @returns -ENOENT if there is no such area, -EINVAL if the hypervisor refuses:
 *   the area stays then.
 */
export function* xenbus_unmap_ring_vfree(
  t: Thread,
  dev: XenbusDevice,
  vaddr: number,
): Steps<0 | Errno> {
  enter(t, XENBUS_UNMAP_RING_VFREE);
  const area = yield* vmlist_find(t, vaddr);
  let error: 0 | Errno = 0;
  if (area === null) {
    error = err(ENOENT);
    const what = `can't find mapped virtual address ${vaddr.toString(16)}`;
    yield* xenbus_dev_error(t, dev, error, what);
  } else {
    const op: UnmapGrantRef = { host_addr: vaddr, handle: area.phys_addr };
    yield* HYPERVISOR_unmap_grant_ref(t, [op]);
    if (op.status === GNTST_okay) yield* free_vm_area(t, area);
    else {
      error = err(EINVAL);
      const what = `unmapping page at handle ${op.handle} error ${op.status}`;
      yield* xenbus_dev_error(t, dev, error, what);
    }
  }
  leave(t);
  return error;
}
