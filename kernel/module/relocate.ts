/**
 * Relocations of x86-64, written through the addresses at which the sections
 * are mapped (arch/x86/kernel/module_64.c).
 *
 * Changed: the place must lie in its section, which 2.6.28 does not look at;
 * PC32 is checked for overflow, which it has switched off; PLT32 and PC64,
 * which later compilers and kernels have, are known.
 */
import { charge, enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import { ENOSYS, err, type Errno } from "../lib/errno.ts";
import {
  add64,
  addr64,
  fitsS32,
  fitsU32,
  hex64,
  number64,
  sub64,
} from "../lib/u64.ts";
import { KERN_ERR, printk } from "../printk.ts";
import type { Thread } from "../thread.ts";
import { get_le, get_le64, put_le, put_le64 } from "./access.ts";
import {
  R_X86_64_32,
  R_X86_64_32S,
  R_X86_64_64,
  R_X86_64_NONE,
  R_X86_64_PC32,
  R_X86_64_PC64,
  R_X86_64_PLT32,
  RELA,
  RELA_BYTES,
  type Section,
  SHT_NOBITS,
  SHT_REL,
  SHT_RELA,
  SYM,
  SYM_BYTES,
} from "./elf.ts";
import { type LoadInfo, printable, refuse } from "./image.ts";

const APPLY_RELOCATE_ADD = ksym("apply_relocate_add");

/** Bytes that each type writes. */
const WIDTH: ReadonlyMap<number, 0 | 4 | 8> = new Map([
  [R_X86_64_NONE, 0],
  [R_X86_64_64, 8],
  [R_X86_64_PC32, 4],
  [R_X86_64_PLT32, 4],
  [R_X86_64_32, 4],
  [R_X86_64_32S, 4],
  [R_X86_64_PC64, 8],
]);

/** All relocations of sections that are loaded. @returns -ENOEXEC or -ENOSYS after saying why. */
export function* apply_relocations(
  t: Thread,
  info: LoadInfo,
): Steps<Errno | 0> {
  const { sections } = info;
  for (let i = 1; i < sections.length; i++) {
    const rel = sections[i];
    charge(t, 8);
    if (rel.type !== SHT_RELA && rel.type !== SHT_REL) continue;
    if (rel.info === 0 || rel.info >= sections.length) continue;
    const target = sections[rel.info];
    if (target.region === "none") continue;
    if (rel.type === SHT_REL) {
      printk(t, KERN_ERR, "non add relocation not supported");
      return err(ENOSYS);
    }
    const error = yield* apply_relocate_add(t, info, rel, target);
    if (error !== 0) return error;
  }
  return 0;
}

function* apply_relocate_add(
  t: Thread,
  info: LoadInfo,
  rel: Section,
  target: Section,
): Steps<Errno | 0> {
  enter(t, APPLY_RELOCATE_ADD);
  let error: Errno | 0 = 0;
  const end = rel.addr + rel.size;
  for (let at = rel.addr; at < end && error === 0; at += RELA_BYTES) {
    charge(t, 18);
    error = yield* apply_one(t, info, at, target);
  }
  leave(t);
  return error;
}

/** The relocation at `at`. */
function* apply_one(
  t: Thread,
  info: LoadInfo,
  at: number,
  target: Section,
): Steps<Errno | 0> {
  const { name } = info;
  const type = yield* get_le(t, at + RELA.type, 4);
  const width = WIDTH.get(type);
  if (width === undefined) {
    return refuse(t, `module ${name}: Unknown rela relocation: ${type}`);
  }
  if (width === 0) return 0;
  const offset = number64(yield* get_le64(t, at + RELA.offset));
  if (target.type === SHT_NOBITS || offset + width > target.size) {
    return refuse(
      t,
      `module ${name}: relocation past the end of ${printable(target.name)}`,
    );
  }
  const symtab = info.section(info.symindex);
  const sym = (yield* get_le(t, at + RELA.sym, 4)) * SYM_BYTES;
  if (sym >= symtab.size) {
    return refuse(
      t,
      `module ${name}: relocation with a symbol that is not there`,
    );
  }
  const loc = target.addr + offset;
  const value = add64(
    yield* get_le64(t, symtab.addr + sym + SYM.value),
    yield* get_le64(t, at + RELA.addend),
  );
  const relative = type === R_X86_64_PC32 || type === R_X86_64_PLT32 ||
    type === R_X86_64_PC64;
  const result = relative ? sub64(value, addr64(loc)) : value;
  if (width === 8) {
    yield* put_le64(t, loc, result);
    return 0;
  }
  const fits = type === R_X86_64_32 ? fitsU32(result) : fitsS32(result);
  if (!fits) {
    refuse(t, `overflow in relocation type ${type} val ${hex64(result)}`);
    return refuse(t, `\`${name}' likely not compiled with -mcmodel=kernel`);
  }
  yield* put_le(t, loc, 4, result.lo);
  return 0;
}
