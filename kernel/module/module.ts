/**
 * What the kernel knows of a module, and of modules as a whole
 * (include/linux/module.h).
 *
 * Lock order:
 *
 *     module_notify_list.rwsem   (while no other lock is held)
 *     module_mutex
 *       what vmalloc(), vfree() and kmalloc() take
 *
 * Differs from Linux: `struct module` is an object here. The section
 * `.gnu.linkonce.this_module`, in which Linux keeps it, is loaded and relocated
 * all the same, but of it only the name is read. Users of a module and uses by
 * it are one list, walked from both ends. References are counted by CPU, as
 * there.
 */
import { charge, type Steps } from "../../arch/asm.ts";
import type { Kernel } from "../kernel.ts";
import { ListHead } from "../lib/list.ts";
import { Mutex } from "../locking/mutex.ts";
import {
  down_read,
  down_write,
  RwSemaphore,
  up_read,
  up_write,
} from "../locking/rwsem.ts";
import type { KmallocObject } from "../mm/slab.ts";
import { PerCpu } from "../percpu.ts";
import { WaitQueue } from "../sched/wait.ts";
import { preempt_disable, preempt_enable, type Thread } from "../thread.ts";
import type { Export } from "./elf.ts";
import { KernelSymbols } from "./kernel_symbols.ts";
import type { PercpuBlock, PercpuReserve } from "./percpu_modalloc.ts";

/** A module under a licence that is not the GPL's is loaded. */
export const TAINT_PROPRIETARY_MODULE = 1 << 0;
/** A module for another kernel was loaded. */
export const TAINT_FORCED_MODULE = 1 << 1;
/** A module of the staging directory was loaded. */
export const TAINT_CRAP = 1 << 10;

/** Letters of taints, as /proc/modules has them. */
const TAINT_LETTERS: readonly (readonly [number, string])[] = [
  [TAINT_PROPRIETARY_MODULE, "P"],
  [TAINT_FORCED_MODULE, "F"],
  [TAINT_CRAP, "C"],
];

/** Where in its life a module is. */
export type ModuleStateName = "live" | "coming" | "going";

/** A section in memory, as /sys/module/NAME/sections shows it. */
export interface LoadedSection {
  readonly name: string;
  /** Number in the file. */
  readonly index: number;
  readonly addr: number;
  readonly size: number;
  readonly region: "core" | "init";
}

/** That one module uses another. */
export interface ModuleUse {
  readonly user: Module;
  readonly used: Module;
  /** What Linux allocates for it. */
  readonly obj: KmallocObject;
}

/** One module. */
export class Module {
  /** Link in `modules`. */
  readonly list: ListHead<Module> = new ListHead<Module>(this);
  state: ModuleStateName = "coming";

  // Fixed once loaded.
  /** From modinfo; empty = none. */
  license = "";
  /** The kernel it was made for, from modinfo. */
  vermagic = "";
  /** Names of modules it says it needs, from modinfo; the kernel goes by symbols instead. */
  depends: readonly string[] = [];
  /** `TAINT_*` bits that it brought. */
  taints = 0;
  /** Core region: its address; 0 = none. */
  core = 0;
  core_size = 0;
  core_text_size = 0;
  init_size = 0;
  init_text_size = 0;
  /** What it exports. */
  syms: readonly Export[] = [];
  sections: readonly LoadedSection[] = [];
  /** The symbol table in the core region, and the strings. */
  symtab = 0;
  num_symtab = 0;
  strtab = 0;
  strtab_end = 0;
  /** Whether it has init_module(), cleanup_module(). */
  has_init = false;
  has_exit = false;
  /** Arguments as given. */
  args: KmallocObject | null = null;
  /** Its part of every CPU's reserve; `null` = it has no per-CPU data. */
  percpu: PercpuBlock | null = null;

  /** Init region: its address; 0 = freed, or never there. Guarded by module_mutex. */
  init = 0;

  /** References from each CPU. Own CPU only. */
  readonly ref: PerCpu<{ count: number }>;

  constructor(k: Kernel, readonly name: string) {
    this.ref = new PerCpu(k, () => ({ count: 0 }));
  }

  /** Bytes of both regions; of the init region even when it is gone. */
  get size(): number {
    return this.core_size + this.init_size;
  }
}

/** Who is told of modules; see {@linkcode register_module_notifier}. */
export type ModuleNotifier = (
  t: Thread,
  mod: Module,
  state: ModuleStateName,
) => Steps;

/** Modules as a whole: `k.module`. */
export class ModuleState {
  readonly module_mutex: Mutex;

  // Guarded by module_mutex.
  /** Newest first. */
  readonly modules: ListHead<Module> = new ListHead<Module>();
  /** Who uses whom. */
  readonly uses: ModuleUse[] = [];
  /** Lowest and highest address that a module has had, for __module_address(). */
  module_addr_min = Infinity;
  module_addr_max = 0;
  /** `TAINT_*` bits. */
  tainted = 0;
  /** Each CPU's memory for per-CPU data of modules; `null` while no module has any. */
  percpu: PercpuReserve | null = null;

  /** Who needs a module that is on its way in sleeps here, module_mutex held. */
  readonly module_wq: WaitQueue;
  /** Guards the notifiers; held for reading while they are called. */
  readonly notify_rwsem: RwSemaphore;
  /** First registered, first called. */
  readonly notifiers: ModuleNotifier[] = [];

  /** What the kernel itself exports. Changed by the host alone. */
  readonly symbols: KernelSymbols;

  // Counters, for reports.
  nr_loads = 0;
  nr_unloads = 0;
  nr_refused = 0;

  constructor(k: Kernel) {
    this.module_mutex = new Mutex(k, "module_mutex");
    this.module_wq = new WaitQueue(k, "module_wq");
    this.notify_rwsem = new RwSemaphore(k, "module_notify_list.rwsem");
    this.symbols = new KernelSymbols();
  }
}

/**
 * Has `fn` called of every module: when it is loaded and both regions are there
 * ("coming"), and before it goes ("going").
 *
 * Context: process.
 * Locks: takes module_notify_list.rwsem for writing; callers hold it for reading
 * and no other lock. `fn` must not take module_mutex: whoever has that may wait
 * for this very module.
 */
export function* register_module_notifier(
  t: Thread,
  fn: ModuleNotifier,
): Steps {
  const { notify_rwsem, notifiers } = module_state(t.k);
  yield* down_write(t, notify_rwsem);
  notifiers.push(fn);
  yield* up_write(t, notify_rwsem);
}

/** Undoes {@linkcode register_module_notifier}. */
export function* unregister_module_notifier(
  t: Thread,
  fn: ModuleNotifier,
): Steps {
  const { notify_rwsem, notifiers } = module_state(t.k);
  yield* down_write(t, notify_rwsem);
  const i = notifiers.indexOf(fn);
  if (i >= 0) notifiers.splice(i, 1);
  yield* up_write(t, notify_rwsem);
}

/** Tells all notifiers. Context: process. */
export function* notify_modules(
  t: Thread,
  mod: Module,
  state: ModuleStateName,
): Steps {
  const { notify_rwsem, notifiers } = module_state(t.k);
  yield* down_read(t, notify_rwsem);
  for (let i = 0; i < notifiers.length; i++) {
    charge(t, 8);
    yield* notifiers[i](t, mod, state);
  }
  yield* up_read(t, notify_rwsem);
}

/** The state of modules; made when first asked for. */
export function module_state(k: Kernel): ModuleState {
  return k.module ??= new ModuleState(k);
}

/** A module by name. Locks: module_mutex held. */
export function find_module(t: Thread, name: string): Module | null {
  const { modules } = module_state(t.k);
  for (let p = modules.next; p !== modules; p = p.next) {
    charge(t, 6 + 2 * name.length); // strcmp
    if (p.owner!.name === name) return p.owner;
  }
  return null;
}

/** Notes a taint, of `mod` and of the kernel. */
export function add_taint_module(t: Thread, mod: Module, flag: number): void {
  module_state(t.k).tainted |= flag;
  mod.taints |= flag;
}

/** Such as `(PF)`; empty = none. */
export function module_flags(mod: Module): string {
  let letters = "";
  for (const [bit, letter] of TAINT_LETTERS) {
    if ((mod.taints & bit) !== 0) letters += letter;
  }
  if (mod.state === "going") letters += "-";
  if (mod.state === "coming") letters += "+";
  return letters === "" ? "" : `(${letters})`;
}

/** References of all CPUs together. */
export function module_refcount(t: Thread, mod: Module): number {
  let total = 0;
  for (const cpu of t.k.cpu_possible.list) {
    charge(t, 3);
    total += mod.ref.peek(cpu)?.count ?? 0;
  }
  return total;
}

/**
 * Takes a reference, unless the module is on its way out.
 *
 * Context: any.
 */
export function try_module_get(t: Thread, mod: Module): boolean {
  preempt_disable(t);
  charge(t, 8);
  const alive = mod.state !== "going";
  if (alive) mod.ref.get(t.cpu.id).count++;
  preempt_enable(t);
  return alive;
}

/** Gives a reference back, on whatever CPU. Context: any. */
export function module_put(t: Thread, mod: Module): void {
  preempt_disable(t);
  charge(t, 8);
  mod.ref.get(t.cpu.id).count--;
  preempt_enable(t);
}
