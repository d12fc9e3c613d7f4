/**
 * load_module(): from a file in a process to a module that is laid out, linked
 * and listed (kernel/module.c).
 *
 * Locks: module_mutex is held throughout.
 *
 * Memory, in the order in which it is taken: the copy of the file, by
 * vmalloc(); the arguments; a part of every CPU's reserve; the core region and
 * the init region, from the modules' range. When something fails all of it goes
 * back, and every reference to other modules too.
 *
 * Left out: instruction patching (alternatives, paravirt, SMP locks), sorting
 * of the exception table, parameters, sysfs, lock classes, tracing: what they
 * work on is loaded as data. Machine code is never executed.
 */
import { charge, enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import { EEXIST, ENOEXEC, ENOMEM, err, type Errno } from "../lib/errno.ts";
import { list_add } from "../lib/list.ts";
import { GFP_KERNEL } from "../mm/gfp.ts";
import { kfree, kmalloc } from "../mm/slab.ts";
import { vfree, vmalloc } from "../mm/vmalloc.ts";
import { KERN_WARNING, printk } from "../printk.ts";
import type { Thread } from "../thread.ts";
import { copy_from_user, memzero_at } from "./access.ts";
import { SHF_ALLOC, SYM_BYTES } from "./elf.ts";
import { LoadInfo, MIN_BYTES, read_image } from "./image.ts";
import { add_kallsyms } from "./kallsyms.ts";
import { layout_sections, move_sections } from "./layout.ts";
import { check_magic, read_modinfo, set_license } from "./modinfo.ts";
import { find_module, Module, module_state, try_module_get } from "./module.ts";
import { module_alloc_update_bounds, module_free } from "./module_alloc.ts";
import {
  percpu_modalloc,
  percpu_modcopy,
  percpu_modfree,
} from "./percpu_modalloc.ts";
import { apply_relocations } from "./relocate.ts";
import {
  module_unload_free,
  read_exports,
  simplify_symbols,
} from "./symbols.ts";

const LOAD_MODULE = ksym("load_module");

/** Largest file: above, vmalloc() is not asked. */
const MAX_BYTES = 64 * 2 ** 20;

/**
 * Loads the module in `umod` with the arguments `uargs`, which nothing reads.
 *
 * @returns The module, listed and in state "coming"; or -ENOEXEC (not a module
 * for this kernel), -EEXIST, -ENOENT (unknown symbols), -ENOMEM, -ENOSYS, after
 * saying why.
 */
export function* load_module(
  t: Thread,
  umod: Uint8Array,
  uargs: string,
): Steps<Module | Errno> {
  enter(t, LOAD_MODULE);
  const result = yield* load_copy(t, umod, uargs);
  if (typeof result === "number") module_state(t.k).nr_refused++;
  leave(t);
  return result;
}

function* load_copy(
  t: Thread,
  umod: Uint8Array,
  uargs: string,
): Steps<Module | Errno> {
  charge(t, 40);
  if (umod.length < MIN_BYTES) return err(ENOEXEC);
  if (umod.length > MAX_BYTES) return err(ENOMEM);
  const hdr = yield* vmalloc(t, umod.length);
  if (hdr === 0) return err(ENOMEM);
  yield* copy_from_user(t, hdr, umod);
  const info = new LoadInfo(hdr, umod.length);
  const error = yield* read_image(t, info);
  const result = error === 0 ? yield* load_image(t, info, uargs) : error;
  yield* vfree(t, hdr);
  return result;
}

function* load_image(
  t: Thread,
  info: LoadInfo,
  uargs: string,
): Steps<Module | Errno> {
  const mod = new Module(t.k, info.name);
  const modinfo = yield* read_modinfo(t, info);
  check_magic(t, mod, modinfo);
  choose_sections(info);
  mod.args = yield* kmalloc(t, uargs.length + 1, GFP_KERNEL);
  if (mod.args === null) return err(ENOMEM);
  let error: Errno | 0 = 0;
  if (find_module(t, mod.name) !== null) error = err(EEXIST);
  if (error === 0) error = yield* take_memory(t, info, mod);
  if (error === 0) {
    yield* move_sections(t, info, mod);
    try_module_get(t, mod); // until its init function has run
    set_license(t, mod, modinfo);
    error = yield* link(t, info, mod);
  }
  if (error !== 0) {
    yield* module_unload_free(t, mod);
    yield* free_memory(t, mod);
    return error;
  }
  // Linux does this under stop_machine(): readers of the list take no lock there.
  list_add(mod.list, module_state(t.k).modules);
  return mod;
}

/** Which sections take memory, besides those that say so: not modinfo and versions, but symbols and their names. */
function choose_sections(info: LoadInfo): void {
  const { infoindex, versindex, symindex, strindex, sections } = info;
  sections[infoindex].flags &= ~SHF_ALLOC;
  sections[versindex].flags &= ~SHF_ALLOC;
  sections[symindex].flags |= SHF_ALLOC;
  sections[strindex].flags |= SHF_ALLOC;
}

function* take_memory(
  t: Thread,
  info: LoadInfo,
  mod: Module,
): Steps<Errno | 0> {
  if (info.pcpuindex !== 0) {
    const section = info.section(info.pcpuindex);
    const { size, addralign } = section;
    mod.percpu = yield* percpu_modalloc(t, size, addralign, mod.name);
    if (mod.percpu === null) return err(ENOMEM);
    section.flags &= ~SHF_ALLOC;
  }
  layout_sections(t, info, mod);
  if (info.section(info.modindex).region !== "core") {
    printk(t, KERN_WARNING, "No module found in object");
    return err(ENOEXEC);
  }
  mod.core = yield* module_alloc_update_bounds(t, mod.core_size);
  if (mod.core === 0) return err(ENOMEM);
  yield* memzero_at(t, mod.core, mod.core_size);
  mod.init = yield* module_alloc_update_bounds(t, mod.init_size);
  if (mod.init === 0 && mod.init_size > 0) return err(ENOMEM);
  yield* memzero_at(t, mod.init, mod.init_size);
  return 0;
}

/** Symbols, relocations, exports, per-CPU copies: the sections are in place. */
function* link(t: Thread, info: LoadInfo, mod: Module): Steps<Errno | 0> {
  let error = yield* simplify_symbols(t, info, mod);
  if (error === 0) error = yield* apply_relocations(t, info);
  if (error === 0) error = yield* read_exports(t, info, mod);
  if (error !== 0) return error;
  if (mod.percpu !== null) {
    const { addr, size } = info.section(info.pcpuindex);
    yield* percpu_modcopy(t, mod.percpu, addr, size);
  }
  const symtab = info.section(info.symindex);
  const strtab = info.section(info.strindex);
  // A file may name its tables so that they go with the init region.
  if (symtab.region === "core" && strtab.region === "core") {
    mod.symtab = symtab.addr;
    mod.num_symtab = symtab.size / SYM_BYTES;
    mod.strtab = strtab.addr;
    mod.strtab_end = strtab.addr + strtab.size;
    yield* add_kallsyms(t, info, mod);
  }
  return 0;
}

/** Gives back what the module has, in the reverse order: both regions, per-CPU data, arguments. */
export function* free_memory(t: Thread, mod: Module): Steps {
  yield* module_free(t, mod.init);
  mod.init = 0;
  if (mod.args !== null) yield* kfree(t, mod.args);
  mod.args = null;
  if (mod.percpu !== null) yield* percpu_modfree(t, mod.percpu);
  mod.percpu = null;
  yield* module_free(t, mod.core);
  mod.core = 0;
}
