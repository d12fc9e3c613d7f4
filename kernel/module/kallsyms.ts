/**
 * Symbols of loaded modules, as /proc/kallsyms lists them: read from the table
 * that each keeps in its core region (kernel/module.c).
 */
import {
  charge,
  enter,
  ksym,
  leave,
  type Steps,
  vstore,
} from "../../arch/asm.ts";
import { hex64 } from "../lib/u64.ts";
import { mutex_lock, mutex_unlock } from "../locking/mutex.ts";
import type { Thread } from "../thread.ts";
import { get_le, get_le64, get_string } from "./access.ts";
import {
  SHF_ALLOC,
  SHF_EXECINSTR,
  SHF_WRITE,
  SHN_ABS,
  SHN_LORESERVE,
  SHN_UNDEF,
  SHT_NOBITS,
  STB_WEAK,
  STT_OBJECT,
  SYM,
  SYM_BYTES,
} from "./elf.ts";
import type { LoadInfo } from "./image.ts";
import { type Module, module_state } from "./module.ts";

const ADD_KALLSYMS = ksym("add_kallsyms");
const MODULE_GET_KALLSYM = ksym("module_get_kallsym");

/** The letter that `nm` has for a symbol: elf_type(). Plain. */
function elf_type(info: LoadInfo, stInfo: number, shndx: number): string {
  if (stInfo >> 4 === STB_WEAK) {
    return (stInfo & 15) === STT_OBJECT ? "v" : "w";
  }
  if (shndx === SHN_UNDEF) return "U";
  if (shndx === SHN_ABS) return "a";
  if (shndx >= SHN_LORESERVE) return "?";
  const { flags, type, name } = info.section(shndx);
  if ((flags & SHF_EXECINSTR) !== 0) return "t";
  if ((flags & SHF_ALLOC) !== 0 && type !== SHT_NOBITS) {
    return (flags & SHF_WRITE) === 0 ? "r" : "d";
  }
  if (type === SHT_NOBITS) return "b";
  return name.startsWith(".debug") ? "n" : "?";
}

/** Writes each symbol's letter over its `st_info`. Symbols are resolved, so all sections exist. */
export function* add_kallsyms(
  t: Thread,
  info: LoadInfo,
  mod: Module,
): Steps {
  enter(t, ADD_KALLSYMS);
  for (let i = 1; i < mod.num_symtab; i++) {
    charge(t, 20);
    const at = mod.symtab + i * SYM_BYTES;
    const stInfo = yield* get_le(t, at + SYM.info, 1);
    const shndx = yield* get_le(t, at + SYM.shndx, 2);
    const letter = elf_type(info, stInfo, shndx).charCodeAt(0);
    yield* vstore(t, at + SYM.info, 1, letter);
  }
  leave(t);
}

/**
 * Lines of /proc/kallsyms for every module: address, letter (a capital if the
 * symbol is exported), name, module.
 *
 * Context: process.
 * Locks: takes module_mutex.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   labModules,
 *   module_kallsyms,
 *   sys_init_module,
 * } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const { lab_base } = await labModules();
 * const lines = boot().run(function* (t) {
 *   yield* sys_init_module(t, lab_base);
 *   return yield* module_kallsyms(t);
 * });
 * assert(lines.some((line) => line.endsWith(" T lab_call\t[lab_base]")));
 * ```
 */
export function* module_kallsyms(t: Thread): Steps<string[]> {
  enter(t, MODULE_GET_KALLSYM);
  const { module_mutex, modules } = module_state(t.k);
  const lines: string[] = [];
  yield* mutex_lock(t, module_mutex);
  for (let p = modules.next; p !== modules; p = p.next) {
    const mod = p.owner!;
    for (let i = 1; i < mod.num_symtab; i++) {
      charge(t, 30);
      const at = mod.symtab + i * SYM_BYTES;
      const offset = yield* get_le(t, at + SYM.name, 4);
      const name = yield* get_string(t, mod.strtab + offset, mod.strtab_end);
      if (name === "") continue;
      const letter = String.fromCharCode(yield* get_le(t, at + SYM.info, 1));
      const value = hex64(yield* get_le64(t, at + SYM.value));
      const exported = mod.syms.some((sym) => sym.name === name);
      lines.push(
        `${value} ${
          exported ? letter.toUpperCase() : letter
        } ${name}\t[${mod.name}]`,
      );
    }
  }
  yield* mutex_unlock(t, module_mutex);
  leave(t);
  return lines;
}
