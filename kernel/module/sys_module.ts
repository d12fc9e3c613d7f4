/**
 * init_module() and delete_module(), and the lines of /proc/modules
 * (kernel/module.c).
 *
 * Changed: a module's init_module() and cleanup_module() are machine code, which
 * nothing executes: the first counts as having returned 0.
 *
 * Left out: waiting for the last reference (delete_module() behaves as with
 * O_NONBLOCK, which rmmod gives) and stop_machine(): a module is unlinked under
 * module_mutex, which whoever reads the list here takes as well.
 */
import { charge, enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import { EAGAIN, EBUSY, ENOENT, err, type Errno } from "../lib/errno.ts";
import { list_del } from "../lib/list.ts";
import { addr64, hex64 } from "../lib/u64.ts";
import { mutex_lock, mutex_unlock } from "../locking/mutex.ts";
import { wake_up_all } from "../sched/wait.ts";
import type { Thread } from "../thread.ts";
import { free_memory, load_module } from "./load_module.ts";
import {
  find_module,
  type Module,
  module_flags,
  module_put,
  module_refcount,
  module_state,
  notify_modules,
} from "./module.ts";
import { module_free } from "./module_alloc.ts";
import { module_unload_free } from "./symbols.ts";

const SYS_INIT_MODULE = ksym("sys_init_module");
const SYS_DELETE_MODULE = ksym("sys_delete_module");
const FREE_MODULE = ksym("free_module");

/**
 * Loads a module and makes it live.
 *
 * Context: process.
 * Locks: takes module_mutex.
 *
 * Linux: kernel/module.c.
 *
 * @param umod The file, an ELF object.
 * @param uargs Its parameters, which nothing reads.
 * @returns 0; -ENOEXEC: not a module for this kernel; -EEXIST: one of that name
 * is there; -ENOENT: unknown symbols; -ENOMEM; -ENOSYS. The log says why.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   labModules,
 *   proc_modules,
 *   sys_init_module,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const { lab_base } = await labModules();
 * const lines = boot().run(function* (t) {
 *   assertEquals(yield* sys_init_module(t, lab_base), 0);
 *   return yield* proc_modules(t);
 * });
 * assertEquals(lines, ["lab_base 1704 0 - Live 0xffffffffa0000000"]);
 * ```
 */
export function* sys_init_module(
  t: Thread,
  umod: Uint8Array,
  uargs = "",
): Steps<Errno | 0> {
  enter(t, SYS_INIT_MODULE);
  charge(t, 40);
  const state = module_state(t.k);
  yield* mutex_lock(t, state.module_mutex);
  const mod = yield* load_module(t, umod, uargs);
  yield* mutex_unlock(t, state.module_mutex);
  if (typeof mod === "number") {
    leave(t);
    return mod;
  }
  yield* notify_modules(t, mod, "coming");
  charge(t, 40); // do_one_initcall() without the call
  mod.state = "live";
  yield* wake_up_all(t, state.module_wq);
  yield* mutex_lock(t, state.module_mutex);
  module_put(t, mod); // load_module()'s
  yield* module_free(t, mod.init);
  mod.init = 0;
  mod.init_size = 0;
  mod.init_text_size = 0;
  state.nr_loads++;
  yield* mutex_unlock(t, state.module_mutex);
  leave(t);
  return 0;
}

/**
 * Unloads the module called `name`.
 *
 * Context: process.
 * Locks: takes module_mutex.
 *
 * Linux: kernel/module.c.
 *
 * @returns 0; -ENOENT: there is none; -EAGAIN: another module or somebody else
 * uses it; -EBUSY: it is on its way in or out, or cannot be unloaded.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   EAGAIN,
 *   labModules,
 *   sys_delete_module,
 *   sys_init_module,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const { lab_base, lab_user } = await labModules();
 * boot().run(function* (t) {
 *   yield* sys_init_module(t, lab_base);
 *   yield* sys_init_module(t, lab_user);
 *   assertEquals(yield* sys_delete_module(t, "lab_base"), -EAGAIN); // in use
 *   assertEquals(yield* sys_delete_module(t, "lab_user"), 0);
 *   assertEquals(yield* sys_delete_module(t, "lab_base"), 0);
 * });
 * ```
 */
export function* sys_delete_module(t: Thread, name: string): Steps<Errno | 0> {
  enter(t, SYS_DELETE_MODULE);
  charge(t, 60);
  const state = module_state(t.k);
  yield* mutex_lock(t, state.module_mutex);
  const mod = find_module(t, name);
  const error = mod === null ? err(ENOENT) : may_delete(t, mod);
  if (error === 0) mod!.state = "going";
  yield* mutex_unlock(t, state.module_mutex);
  if (error === 0) {
    charge(t, 40); // its exit function, not called
    yield* notify_modules(t, mod!, "going");
    yield* mutex_lock(t, state.module_mutex);
    yield* free_module(t, mod!);
    state.nr_unloads++;
    yield* mutex_unlock(t, state.module_mutex);
  }
  leave(t);
  return error;
}

/** Plain. Locks: module_mutex held. */
function may_delete(t: Thread, mod: Module): Errno | 0 {
  const { uses } = module_state(t.k);
  charge(t, 20);
  if (uses.some(({ used }) => used === mod)) return err(EAGAIN);
  if (mod.state !== "live") return err(EBUSY);
  if (mod.has_init && !mod.has_exit) return err(EBUSY);
  return module_refcount(t, mod) !== 0 ? err(EAGAIN) : 0;
}

/** Locks: module_mutex held. */
function* free_module(t: Thread, mod: Module): Steps {
  enter(t, FREE_MODULE);
  charge(t, 60);
  list_del(mod.list);
  yield* module_unload_free(t, mod);
  yield* free_memory(t, mod);
  leave(t);
}

/**
 * Lines of /proc/modules, newest module first: name, bytes, references, who
 * uses it, state, address, taints.
 *
 * Context: process.
 * Locks: takes module_mutex.
 *
 * @example
 * ```ts
 * import { boot, proc_modules } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(boot().run((t) => proc_modules(t)), []); // none is loaded
 * ```
 */
export function* proc_modules(t: Thread): Steps<string[]> {
  const { module_mutex, modules, uses } = module_state(t.k);
  const lines: string[] = [];
  yield* mutex_lock(t, module_mutex);
  for (let p = modules.next; p !== modules; p = p.next) {
    const mod = p.owner!;
    charge(t, 200); // seq_printf()
    let users = uses.filter(({ used }) => used === mod).toReversed()
      .map(({ user }) => `${user.name},`).join("");
    if (mod.has_init && !mod.has_exit) users += "[permanent],";
    const refs = module_refcount(t, mod);
    const flags = module_flags(mod);
    lines.push(
      `${mod.name} ${mod.size} ${refs} ${users || "-"} ${
        STATE_NAMES[mod.state]
      } 0x${hex64(addr64(mod.core))}${flags === "" ? "" : ` ${flags}`}`,
    );
  }
  yield* mutex_unlock(t, module_mutex);
  return lines;
}

const STATE_NAMES = { live: "Live", coming: "Loading", going: "Unloading" };
