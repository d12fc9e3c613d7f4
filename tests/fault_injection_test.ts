/**
 * Fault injection on whole machines. First each allocation of an operation is
 * refused in turn, alone and with all that follow it, whatever kind it is of:
 * the operation says so, and everything it took comes back. Then the workloads,
 * as the command line starts them: they go on, and count what failed.
 */
import { assert, assertEquals } from "@std/assert";
import type { Steps } from "../arch/asm.ts";
import { findPreset } from "../arch/hw/presets/index.ts";
import { withCpus } from "../arch/hw/validate.ts";
import { boot, type BootedMachine } from "../boot/boot.ts";
import type { LabModuleName } from "../boot/images/lab_modules.ts";
import { labModules } from "../boot/images/lab_modules.ts";
import { xfsLargeDirImage } from "../boot/images/xfs_large_dir.ts";
import { bytesOf } from "../boot/workloads/paths.ts";
import { drop_caches } from "../boot/workloads/xfs_large_dir.ts";
import { mount_disk, umount_disk } from "../boot/xfs_disk.ts";
import { text_poke } from "../kernel/alternative.ts";
import { brd_alloc, brd_free } from "../kernel/drivers/block/brd.ts";
import { parseImage } from "../kernel/drivers/block/image.ts";
import { vbd_attach, vbd_detach } from "../kernel/drivers/xen/xen_devices.ts";
import { vif_attach, vif_detach } from "../kernel/drivers/xen/xen_devices.ts";
import { read_dir } from "../kernel/fs/readdir.ts";
import { sys_newstat } from "../kernel/fs/stat.ts";
import { do_fork, exit_mmap, mm_alloc } from "../kernel/fork.ts";
import { free_kernel_text, kernel_text } from "../kernel/kernel_text.ts";
import { kthread_join } from "../kernel/kthread.ts";
import {
  destroy_context,
  LdtContext,
  NATIVE_LDT,
  write_ldt,
} from "../kernel/ldt.ts";
import { EIO, ENODEV, ENOMEM } from "../kernel/lib/errno.ts";
import { ioremap, iounmap } from "../kernel/mm/ioremap.ts";
import { handle_mm_fault, type UserMm } from "../kernel/mm/memory.ts";
import { page_address } from "../kernel/mm/page.ts";
import { set_memory_uc, set_memory_wb } from "../kernel/mm/set_memory.ts";
import { alloc_vm_area, free_vm_area } from "../kernel/mm/vm_area.ts";
import { VM_MAP } from "../kernel/mm/vm_struct.ts";
import { vfree } from "../kernel/mm/vfree.ts";
import { vmalloc } from "../kernel/mm/vmalloc.ts";
import { vm_map_ram, vm_unmap_ram, vmap, vunmap } from "../kernel/mm/vmap.ts";
import {
  sys_delete_module,
  sys_init_module,
} from "../kernel/module/sys_module.ts";
import { SANITIZERS } from "../kernel/sanitizers/index.ts";
import type { Thread } from "../kernel/thread.ts";
import { XEN_LDT } from "../kernel/xen/ldt.ts";
import {
  drop_pages,
  type Inventory,
  inventory,
  LAYERS,
  PROT,
  settle_blocks,
  take_pages,
} from "./_machine.ts";

const PAGE = 4096;
const KINDS = ["failslab", "fail_page_alloc", "fail_page_table"] as const;
/** Refusals of one kind that are tried, then every seventh. */
const ALL_UP_TO = 40;
/** Refusals that are tried of an operation on a machine that has just booted. */
const FIRST = 12;

/** An operation with its undoing. */
interface Operation {
  readonly name: string;
  readonly machine?: string;
  /** @returns Whether it got through: 0 and addresses; else a negative errno, or NULL as -ENOMEM. */
  readonly run: (t: Thread) => Steps<number>;
}

/** Of addresses: NULL is want of memory. */
function* mapped(
  t: Thread,
  map: (t: Thread) => Steps<number>,
  unmap: (t: Thread, addr: number) => Steps,
): Steps<number> {
  const addr = yield* map(t);
  if (addr === 0) return -ENOMEM;
  yield* unmap(t, addr);
  return 0;
}

const MAPPINGS: readonly Operation[] = [
  {
    name: "vmalloc() of 5 pages",
    run: (t) => mapped(t, (t) => vmalloc(t, 5 * PAGE), vfree),
  },
  {
    name: "vmap() of 3 pages",
    *run(t) {
      const { decide } = t.k.faults;
      t.k.faults.decide = null;
      const pages = yield* take_pages(t, 3);
      t.k.faults.decide = decide;
      const error = yield* mapped(
        t,
        (t) => vmap(t, pages, 3, VM_MAP, PROT),
        vunmap,
      );
      yield* drop_pages(t, pages);
      return error;
    },
  },
  ...[4, 65].map((count): Operation => ({
    name: `vm_map_ram() of ${count} pages`,
    *run(t) {
      const { decide } = t.k.faults;
      t.k.faults.decide = null;
      const pages = yield* take_pages(t, count);
      t.k.faults.decide = decide;
      const error = yield* mapped(
        t,
        (t) => vm_map_ram(t, pages, count, -1, PROT),
        (t, addr) => vm_unmap_ram(t, addr, count),
      );
      yield* drop_pages(t, pages);
      return error;
    },
  })),
  {
    name: "ioremap() of 5 pages",
    run: (t) => mapped(t, (t) => ioremap(t, 0x20_0000_0000, 5 * PAGE), iounmap),
  },
  {
    name: "alloc_vm_area() of 3 pages",
    *run(t) {
      const area = yield* alloc_vm_area(t, 3 * PAGE);
      if (area === null) return -ENOMEM;
      yield* free_vm_area(t, area);
      return 0;
    },
  },
];

const { disk, directories } = await xfsLargeDirImage();
const LARGE = directories.find(({ entries }) => entries.length > 100)!;
const modules = await labModules();

function mounting(driver: "brd" | "blkfront", machine: string): Operation {
  return {
    name: `a mount of XFS through ${driver}`,
    machine,
    *run(t) {
      const mounted = yield* mount_disk(t, disk, driver);
      if (typeof mounted === "number") return mounted;
      const found = yield* sys_newstat(t, bytesOf("/tree"));
      const list = yield* read_dir(t, LARGE.path);
      yield* drop_caches(t);
      yield* umount_disk(t, mounted);
      if (typeof found === "number") return found;
      return typeof list === "number" ? list : 0;
    },
  };
}

function loading(names: readonly LabModuleName[]): Operation {
  return {
    name: `insmod of ${names.join(" and ")}`,
    *run(t) {
      let error = 0;
      const loaded: string[] = [];
      for (const name of names) {
        error = yield* sys_init_module(t, modules[name]);
        if (error !== 0) break;
        loaded.unshift(name);
      }
      for (const name of loaded) {
        assertEquals(yield* sys_delete_module(t, name), 0, `rmmod ${name}`);
      }
      return error;
    },
  };
}

const VMAS = [
  { start: 0x400000, end: 0x402000, writable: false },
  { start: 0x600000, end: 0x604000, writable: true },
];

function* touch(t: Thread, mm: UserMm): Steps<number> {
  for (const { start, end, writable } of VMAS) {
    for (let at = start; at < end; at += PAGE) {
      const error = yield* handle_mm_fault(t, mm, at, writable);
      if (error !== 0) return error;
    }
  }
  return 0;
}

function forking(machine: string): Operation {
  return {
    name: `fork on ${machine}`,
    machine,
    *run(t) {
      const mm = yield* mm_alloc(t, VMAS);
      if (typeof mm === "number") return mm;
      let error = yield* touch(t, mm);
      if (error === 0) {
        let inChild = 0;
        const child = yield* do_fork(t, mm, function* (self, own) {
          inChild = yield* touch(self, own);
        }, "child");
        if (typeof child === "number") error = child;
        else yield* kthread_join(t, child);
        error = error === 0 ? inChild : error;
      }
      yield* exit_mmap(t, mm);
      return error;
    },
  };
}

function descriptors(machine: string): Operation {
  return {
    name: `write_ldt() on ${machine}`,
    machine,
    *run(t) {
      const ops = t.k.xen === null ? NATIVE_LDT : XEN_LDT;
      const context = new LdtContext(t.k, ops);
      let error = 0;
      for (const entry of [99, 899, 2499]) {
        error = yield* write_ldt(t, context, entry, 1, 2);
        if (error !== 0) break;
      }
      yield* destroy_context(t, context);
      return error;
    },
  };
}

const OTHERS: readonly Operation[] = [
  mounting("brd", "opteron-2x4"),
  mounting("blkfront", "xen-pv"),
  loading(["lab_base", "lab_user"]),
  loading(["lab_percpu"]),
  loading(["lab_big"]),
  forking("opteron-2x4"),
  forking("xen-pv"),
  descriptors("opteron-2x4"),
  descriptors("xen-pv"),
  {
    name: "set_memory_uc() of a page",
    *run(t) {
      const { decide } = t.k.faults;
      t.k.faults.decide = null;
      const pages = yield* take_pages(t, 1);
      t.k.faults.decide = decide;
      const addr = page_address(t.k, pages[0]);
      const error = yield* set_memory_uc(t, addr, 1);
      if (error === 0) assertEquals(yield* set_memory_wb(t, addr, 1), 0);
      yield* drop_pages(t, pages);
      return error;
    },
  },
  {
    name: "text_poke()",
    *run(t) {
      const text = yield* kernel_text(t);
      if (typeof text === "number") return text;
      const [site] = text.lock_sites;
      const error = yield* text_poke(t, site, new Uint8Array([0x3e]));
      yield* free_kernel_text(t);
      return error;
    },
  },
  {
    name: "a disk of another domain",
    machine: "xen-pv",
    *run(t) {
      const brd = brd_alloc(t, "ram0", parseImage([new Uint8Array(4096)]));
      const vbd = yield* vbd_attach(t, brd);
      if (typeof vbd !== "number") yield* vbd_detach(t, vbd);
      yield* brd_free(t, brd);
      return typeof vbd === "number" ? vbd : 0;
    },
  },
  {
    name: "an interface to another domain",
    machine: "xen-pv",
    *run(t) {
      const vif = yield* vif_attach(t);
      if (typeof vif !== "number") yield* vif_detach(t, vif);
      return typeof vif === "number" ? vif : 0;
    },
  },
];

/** Has request number `n` of `kind` refused, or with `rest` all from it on. @returns How many there were. */
function refuse(
  booted: BootedMachine,
  kind: string,
  n: number,
  rest: boolean,
  run: (t: Thread) => Steps<number>,
): { asked: number; error: number } {
  const { faults } = booted.kernel;
  let asked = 0;
  faults.decide = (_, { name }) => {
    if (name !== kind) return false;
    asked++;
    return rest ? asked >= n : asked === n;
  };
  const error = booted.run(run);
  faults.decide = null;
  return { asked, error };
}

/** A machine with every sanitizer on. */
function machineFor(
  { machine = "opteron-2x4" }: Operation,
  vmap: string,
): BootedMachine {
  const preset = findPreset(machine);
  const spec = machine === "xen-pv" ? preset : withCpus(preset, 4);
  const sanitize = SANITIZERS.map(({ name }) => name);
  return boot({ spec, params: { vmap }, sanitize });
}

/** Runs `op` to its end, and brings the machine to rest. @returns What is in use. */
function complete(booted: BootedMachine, op: Operation): Inventory {
  assertEquals(booted.run(op.run), 0);
  booted.run(settle_blocks);
  return inventory(booted.kernel);
}

/** A clean failure, or the operation could do without. */
function checkError(error: number, what: string): void {
  assert([0, -ENOMEM, -EIO, -ENODEV].includes(error), `${what}: ${error}`);
}

/** Refuses each request in turn on one machine, which has all that it keeps for good. */
function sweep(op: Operation, vmap: string): void {
  const booted = machineFor(op, vmap);
  const { kernel } = booted;
  const before = complete(booted, op);
  for (const kind of KINDS) {
    for (const rest of [false, true]) {
      for (let n = 1;; n += n < ALL_UP_TO ? 1 : 7) {
        const what = `${kind}: request ${n}${rest ? " and all others" : ""}`;
        const { asked, error } = refuse(booted, kind, n, rest, op.run);
        booted.run(settle_blocks);
        assertEquals(kernel.vmap.check(), [], what);
        assertEquals(inventory(kernel), before, what);
        checkError(error, what);
        if (asked < n) break;
      }
    }
  }
  assertEquals(kernel.printk.warnings, 0);
}

/**
 * Refuses each request in turn of the operation's first run on a machine, when
 * it needs page tables, slabs, and what is made at first use. After it the
 * operation gets through, and as much is in use as if that had been the first.
 */
function sweepFirst(op: Operation, vmap: string): void {
  const wanted = complete(machineFor(op, vmap), op);
  for (const kind of KINDS) {
    for (const rest of [false, true]) {
      for (let n = 1; n <= FIRST; n++) {
        const what = `${kind}: request ${n}${rest ? " and all others" : ""}`;
        const booted = machineFor(op, vmap);
        const { asked, error } = refuse(booted, kind, n, rest, op.run);
        checkError(error, what);
        assertEquals(complete(booted, op), wanted, what);
        assertEquals(booted.kernel.vmap.check(), [], what);
        assertEquals(booted.kernel.printk.warnings, 0, what);
        if (asked < n) break;
      }
    }
  }
}

for (const layer of LAYERS) {
  for (const op of [...MAPPINGS, ...OTHERS]) {
    if (layer === "vmlist" && op.machine === "xen-pv") continue;
    Deno.test(`${layer}: ${op.name} leaves nothing behind whichever request is refused`, () => {
      sweep(op, layer);
    });
    Deno.test(`${layer}: ${op.name}, the first one, leaves nothing behind whichever request is refused`, () => {
      sweepFirst(op, layer);
    });
  }
}
