/**
 * Symbols: what a module needs is looked up among the exports of the kernel and
 * of the modules before it, what it exports is noted (kernel/module.c).
 *
 * Left out: checksums of symbols (CONFIG_MODVERSIONS); `__versions` is not
 * loaded, as there. Searches are linear, and charged so; the host uses a map.
 */
import { charge, enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import { ENOENT, ENOEXEC, ENOMEM, err, type Errno } from "../lib/errno.ts";
import { add64, addr64, sub64, type U64 } from "../lib/u64.ts";
import { GFP_KERNEL } from "../mm/gfp.ts";
import { kfree, kmalloc } from "../mm/slab.ts";
import { KERN_ERR, KERN_WARNING, printk } from "../printk.ts";
import { wait_event } from "../sched/wait.ts";
import type { Thread } from "../thread.ts";
import { get_le, get_le64, get_string, put_le64 } from "./access.ts";
import {
  type Export,
  R_X86_64_64,
  RELA,
  SHN_ABS,
  SHN_COMMON,
  SHN_UNDEF,
  SHT_NOBITS,
  SHT_RELA,
  STB_WEAK,
  SYM,
  SYM_BYTES,
} from "./elf.ts";
import { type LoadInfo, printable, refuse } from "./image.ts";
import {
  type Module,
  module_put,
  module_state,
  TAINT_PROPRIETARY_MODULE,
  try_module_get,
} from "./module.ts";

const SIMPLIFY_SYMBOLS = ksym("simplify_symbols");
const RESOLVE_SYMBOL = ksym("resolve_symbol");
const USE_MODULE = ksym("use_module");

/** One entry of a table of exports that a search passes: load, strcmp of the first letters. */
const SEARCH_INSTRUCTIONS = 8;
/** sizeof(struct module_use). */
const MODULE_USE_BYTES = 24;
/** An entry of `__ksymtab` as of 2.6.28: value and name, 64 bits each. */
const KSYMTAB_BYTES = 16;
/** One as of 5.4: value, name and name space, 32 bits each, relative to themselves. */
const RELATIVE_KSYMTAB_BYTES = 12;

/** The string of a name in the module's string table. */
export function* symbol_name(
  t: Thread,
  info: LoadInfo,
  offset: number,
): Steps<string | null> {
  const { addr, size } = info.section(info.strindex);
  if (offset >= size) return null;
  return yield* get_string(t, addr + offset, addr + size);
}

/**
 * Replaces the value of every symbol in the loaded table by its address.
 *
 * @returns -ENOENT after naming all that are unknown.
 */
export function* simplify_symbols(
  t: Thread,
  info: LoadInfo,
  mod: Module,
): Steps<Errno | 0> {
  enter(t, SIMPLIFY_SYMBOLS);
  const { addr, size } = info.section(info.symindex);
  let result: Errno | 0 = 0;
  for (let at = addr + SYM_BYTES; at < addr + size; at += SYM_BYTES) {
    charge(t, 15);
    const error = yield* simplify_symbol(t, info, mod, at);
    if (error !== 0) result = error;
    // A bad file is left at once, an unknown symbol when all are known.
    if (error === err(ENOMEM) || error === err(ENOEXEC)) break;
  }
  leave(t);
  return result;
}

function* simplify_symbol(
  t: Thread,
  info: LoadInfo,
  mod: Module,
  at: number,
): Steps<Errno | 0> {
  const shndx = yield* get_le(t, at + SYM.shndx, 2);
  const name = yield* symbol_name(t, info, yield* get_le(t, at + SYM.name, 4));
  if (name === null) {
    return refuse(t, `${mod.name}: symbol with a name outside the strings`);
  }
  switch (shndx) {
    case SHN_COMMON:
      printk(t, KERN_WARNING, `${mod.name}: please compile with -fno-common`);
      return err(ENOEXEC);
    case SHN_ABS:
      return 0;
    case SHN_UNDEF:
      return yield* simplify_undefined(t, mod, at, name);
  }
  if (shndx >= info.sections.length) {
    return refuse(
      t,
      `${mod.name}: symbol ${
        printable(name)
      } is in a section that is not there`,
    );
  }
  const isPercpu = shndx === info.pcpuindex && mod.percpu !== null;
  const base = isPercpu ? mod.percpu!.addr : info.section(shndx).addr;
  const value = yield* get_le64(t, at + SYM.value);
  yield* put_le64(t, at + SYM.value, add64(value, addr64(base)));
  if (name === "init_module") mod.has_init = true;
  if (name === "cleanup_module") mod.has_exit = true;
  return 0;
}

function* simplify_undefined(
  t: Thread,
  mod: Module,
  at: number,
  name: string,
): Steps<Errno | 0> {
  const found = yield* resolve_symbol(t, mod, name);
  if (found === "no memory") return err(ENOMEM);
  if (found !== null) {
    yield* put_le64(t, at + SYM.value, found);
    return 0;
  }
  const bind = (yield* get_le(t, at + SYM.info, 1)) >> 4;
  if (bind === STB_WEAK) return 0;
  printk(
    t,
    KERN_WARNING,
    `${mod.name}: Unknown symbol ${printable(name)}`,
  );
  return err(ENOENT);
}

/** The address of an export, its module taken into use. @returns `null` = there is none that `mod` may have. */
function* resolve_symbol(
  t: Thread,
  mod: Module,
  name: string,
): Steps<U64 | "no memory" | null> {
  enter(t, RESOLVE_SYMBOL);
  const found = find_symbol(t, mod, name);
  let value: U64 | "no memory" | null = found?.value ?? null;
  if (found !== null && found.owner !== null) {
    const used = yield* use_module(t, mod, found.owner);
    if (used === "no memory") value = used;
    else if (!used) value = null;
  }
  leave(t);
  return value;
}

/** find_symbol(): the kernel's exports, then the modules', newest first. Plain. Locks: module_mutex held. */
function find_symbol(
  t: Thread,
  mod: Module,
  name: string,
): { value: U64; owner: Module | null } | null {
  const { symbols, modules } = module_state(t.k);
  const gplok = (mod.taints & TAINT_PROPRIETARY_MODULE) === 0;
  const own = symbols.find(name);
  charge(t, SEARCH_INSTRUCTIONS * (own?.position ?? symbols.count));
  if (own !== null) {
    return own.gpl && !gplok ? null : { value: own.value, owner: null };
  }
  for (let p = modules.next; p !== modules; p = p.next) {
    const owner = p.owner!;
    charge(t, 10);
    for (const sym of owner.syms) {
      charge(t, SEARCH_INSTRUCTIONS);
      if (sym.name !== name) continue;
      return sym.gpl && !gplok ? null : { value: sym.value, owner };
    }
  }
  return null;
}

/**
 * Notes that `user` uses `used`, and takes a reference for it, once. Waits for
 * one that is on its way in; Linux gives up after 30 s, but here nothing hangs
 * in an init function.
 *
 * @returns Whether it could.
 */
function* use_module(
  t: Thread,
  user: Module,
  used: Module,
): Steps<boolean | "no memory"> {
  enter(t, USE_MODULE);
  const { uses } = module_state(t.k);
  charge(t, 6 * uses.length);
  if (uses.some((use) => use.user === user && use.used === used)) {
    leave(t);
    return true;
  }
  yield* wait_event(
    t,
    module_state(t.k).module_wq,
    () => used.state !== "coming",
  );
  if (!try_module_get(t, used)) {
    leave(t);
    return false;
  }
  const obj = yield* kmalloc(t, MODULE_USE_BYTES, GFP_KERNEL);
  if (obj === null) {
    printk(t, KERN_WARNING, `${user.name}: out of memory loading`);
    module_put(t, used);
    leave(t);
    return "no memory";
  }
  uses.push({ user, used, obj });
  leave(t);
  return true;
}

/** Gives up every module that `mod` uses. Locks: module_mutex held. */
export function* module_unload_free(t: Thread, mod: Module): Steps {
  const { uses } = module_state(t.k);
  for (let i = uses.length - 1; i >= 0; i--) {
    charge(t, 6);
    const { user, used, obj } = uses[i];
    if (user !== mod) continue;
    uses.splice(i, 1);
    module_put(t, used);
    yield* kfree(t, obj);
  }
}

/** Reads what `mod` exports, after relocation. */
export function* read_exports(
  t: Thread,
  info: LoadInfo,
  mod: Module,
): Steps<Errno | 0> {
  const syms: Export[] = [];
  const { sections } = info;
  for (let i = 1; i < sections.length; i++) {
    const { name, region, type } = sections[i];
    const gpl = name === "__ksymtab_gpl";
    if (name !== "__ksymtab" && !gpl) continue;
    if (region === "none" || type === SHT_NOBITS) continue;
    if (!(yield* read_ksymtab(t, info, i, gpl, syms))) {
      return refuse(t, `${mod.name}: ${name} is damaged`);
    }
  }
  mod.syms = syms;
  return verify_export_symbols(t, mod);
}

/** One table. Its form follows from its relocations: 2.6.28's are absolute. @returns Whether it is all right. */
function* read_ksymtab(
  t: Thread,
  info: LoadInfo,
  index: number,
  gpl: boolean,
  syms: Export[],
): Steps<boolean> {
  const { addr, size } = info.section(index);
  const rela = info.sections.find((s) =>
    s.type === SHT_RELA && s.info === index && s.size > 0
  );
  const absolute = rela === undefined ||
    (yield* get_le(t, rela.addr + RELA.type, 4)) === R_X86_64_64;
  const bytes = absolute ? KSYMTAB_BYTES : RELATIVE_KSYMTAB_BYTES;
  if (size % bytes !== 0) return false;
  for (let at = addr; at < addr + size; at += bytes) {
    charge(t, 10);
    const value = absolute ? yield* get_le64(t, at) : yield* relative(t, at);
    const nameAt = absolute
      ? yield* get_le64(t, at + 8)
      : yield* relative(t, at + 4);
    const name = yield* string_in(t, info, nameAt);
    if (name === null) return false;
    syms.push({ name, value, gpl });
  }
  return true;
}

/** The address that the 32 bits at `at` say, as seen from there. */
function* relative(t: Thread, at: number): Steps<U64> {
  const lo = yield* get_le(t, at, 4);
  return add64(addr64(at), { lo, hi: lo >= 2 ** 31 ? 0xffffffff : 0 });
}

/** The string at an address, which must lie in a section of the module. */
function* string_in(
  t: Thread,
  info: LoadInfo,
  at: U64,
): Steps<string | null> {
  for (const { region, addr, size } of info.sections) {
    charge(t, 6);
    const offset = sub64(at, addr64(addr));
    if (region === "none" || offset.hi !== 0 || offset.lo >= size) continue;
    const name = yield* get_string(t, addr + offset.lo, addr + size);
    return name === "" ? null : name;
  }
  return null;
}

/** No two exports of one name. Plain. Locks: module_mutex held. */
function verify_export_symbols(t: Thread, mod: Module): Errno | 0 {
  const { symbols, modules } = module_state(t.k);
  for (const { name } of mod.syms) {
    charge(t, SEARCH_INSTRUCTIONS * symbols.count);
    let owner = symbols.find(name) === null ? null : "kernel";
    for (let p = modules.next; p !== modules; p = p.next) {
      charge(t, SEARCH_INSTRUCTIONS * p.owner!.syms.length);
      if (p.owner!.syms.some((sym) => sym.name === name)) {
        owner ??= p.owner!.name;
      }
    }
    if (owner === null) continue;
    printk(
      t,
      KERN_ERR,
      `${mod.name}: exports duplicate symbol ${
        printable(name)
      } (owned by ${owner})`,
    );
    return err(ENOEXEC);
  }
  return 0;
}
