/**
 * The file as it was handed in: copied to a vmalloc buffer, its headers checked
 * and its sections found there (first half of load_module(), kernel/module.c).
 *
 * Stricter than 2.6.28, which believes most of what a file says and oopses, or
 * worse: whatever the rest of the loader follows (names, links, sizes of
 * entries, alignments) is checked here, before anything is allocated, and
 * sections that share bytes of the file are refused.
 */
import { charge, type Steps } from "../../arch/asm.ts";
import { ENOEXEC, err, type Errno } from "../lib/errno.ts";
import { number64 } from "../lib/u64.ts";
import { KERN_ERR, KERN_WARNING, printk } from "../printk.ts";
import type { Thread } from "../thread.ts";
import { get_le, get_le64, get_string } from "./access.ts";
import {
  EHDR,
  EHDR_BYTES,
  ELF_MAGIC,
  ELFCLASS64,
  ELFDATA2LSB,
  EM_X86_64,
  ET_REL,
  RELA_BYTES,
  type Section,
  SHDR,
  SHDR_BYTES,
  SHF_ALLOC,
  SHT_NOBITS,
  SHT_PROGBITS,
  SHT_RELA,
  SHT_STRTAB,
  SHT_SYMTAB,
  SYM_BYTES,
} from "./elf.ts";

/** Where `struct module` has its name: after the state and the list (64-bit kernels, then and now). */
const MODULE_NAME_OFFSET = 24;
/** MODULE_NAME_LEN on 64 bits, the final zero included. */
export const MODULE_NAME_LEN = 56;

/** A file on its way in. */
export class LoadInfo {
  sections: Section[] = [];
  // Numbers of sections; 0 = there is none.
  symindex = 0;
  strindex = 0;
  modindex = 0;
  infoindex = 0;
  versindex = 0;
  pcpuindex = 0;
  /** The module's name. */
  name = "";

  /**
   * @param hdr Address of the copy.
   * @param len Its bytes.
   */
  constructor(readonly hdr: number, readonly len: number) {}

  /** The section number `index`, which is not 0. */
  section(index: number): Section {
    return this.sections[index];
  }
}

/** Refuses a file. @returns -ENOEXEC. */
export function refuse(t: Thread, what: string): Errno {
  printk(t, KERN_ERR, what);
  return err(ENOEXEC);
}

function truncated(t: Thread, len: number): Errno {
  return refuse(t, `Module len ${len} truncated`);
}

/** Checks the header, reads the section table, and finds the sections that matter. */
export function* read_image(t: Thread, info: LoadInfo): Steps<Errno | 0> {
  const { hdr, len } = info;
  charge(t, 30);
  if (!(yield* check_arch(t, hdr))) return err(ENOEXEC);
  const shoff = number64(yield* get_le64(t, hdr + EHDR.shoff));
  const shnum = yield* get_le(t, hdr + EHDR.shnum, 2);
  const shstrndx = yield* get_le(t, hdr + EHDR.shstrndx, 2);
  if (shoff + shnum * SHDR_BYTES > len) return truncated(t, len);
  if (shstrndx === 0 || shstrndx >= shnum) {
    return refuse(t, "Module has no section names");
  }
  const names = yield* string_table(t, info, hdr + shoff, shstrndx);
  if (typeof names === "number") return names;
  for (let i = 0; i < shnum; i++) {
    const at = hdr + shoff + i * SHDR_BYTES;
    const section = yield* read_section(t, info, i, at, names);
    if (typeof section === "number") return section;
    info.sections.push(section);
  }
  const shared = overlap(info.sections);
  if (shared !== null) return refuse(t, shared);
  return yield* find_sections(t, info);
}

/** ELF for this machine, as elf_check_arch() and what stands around it have it. */
function* check_arch(t: Thread, hdr: number): Steps<boolean> {
  const magic = yield* get_le(t, hdr, 4);
  const elfClass = yield* get_le(t, hdr + EHDR.class, 1);
  const data = yield* get_le(t, hdr + EHDR.data, 1);
  const type = yield* get_le(t, hdr + EHDR.type, 2);
  const machine = yield* get_le(t, hdr + EHDR.machine, 2);
  const shentsize = yield* get_le(t, hdr + EHDR.shentsize, 2);
  return magic === ELF_MAGIC && elfClass === ELFCLASS64 &&
    data === ELFDATA2LSB && type === ET_REL && machine === EM_X86_64 &&
    t.machine.mmu.format.name === "x86-64" && shentsize === SHDR_BYTES;
}

interface StringTable {
  readonly start: number;
  readonly end: number;
}

/** The section names, before there are sections. */
function* string_table(
  t: Thread,
  { hdr, len }: LoadInfo,
  table: number,
  index: number,
): Steps<StringTable | Errno> {
  const at = table + index * SHDR_BYTES;
  const type = yield* get_le(t, at + SHDR.type, 4);
  const offset = number64(yield* get_le64(t, at + SHDR.offset));
  const size = number64(yield* get_le64(t, at + SHDR.size));
  if (offset + size > len) return truncated(t, len);
  const start = hdr + offset;
  if (
    type !== SHT_STRTAB || size === 0 ||
    (yield* get_le(t, start + size - 1, 1)) !== 0
  ) {
    return refuse(t, "Module has no section names");
  }
  return { start, end: start + size };
}

function* read_section(
  t: Thread,
  info: LoadInfo,
  index: number,
  at: number,
  names: StringTable,
): Steps<Section | Errno> {
  charge(t, 12);
  const nameOffset = yield* get_le(t, at + SHDR.name, 4);
  const type = yield* get_le(t, at + SHDR.type, 4);
  const flags = (yield* get_le64(t, at + SHDR.flags)).lo;
  const offset = number64(yield* get_le64(t, at + SHDR.offset));
  const size = number64(yield* get_le64(t, at + SHDR.size));
  const align = number64(yield* get_le64(t, at + SHDR.addralign));
  const section: Section = {
    name: "",
    type,
    flags: index === 0 ? 0 : flags,
    offset,
    size: index === 0 ? 0 : size,
    link: yield* get_le(t, at + SHDR.link, 4),
    info: yield* get_le(t, at + SHDR.info, 4),
    addralign: align === 0 ? 1 : align,
    entsize: number64(yield* get_le64(t, at + SHDR.entsize)),
    addr: index === 0 ? 0 : info.hdr + offset,
    region: "none",
    place: 0,
  };
  if (index === 0) return section;
  if (type !== SHT_NOBITS && offset + size > info.len) {
    return truncated(t, info.len);
  }
  if (names.start + nameOffset >= names.end) {
    return refuse(t, `Module section ${index} has a name outside the table`);
  }
  if (!isPowerOfTwo(section.addralign)) {
    return refuse(t, `Module section ${index} has a bad alignment`);
  }
  const name = yield* get_string(t, names.start + nameOffset, names.end);
  return { ...section, name };
}

/** Exact: doubles hold every power of two. */
function isPowerOfTwo(x: number): boolean {
  return 2 ** Math.round(Math.log2(x)) === x;
}

/** Says which two sections share bytes of the file; `null` = none do. */
function overlap(sections: readonly Section[]): string | null {
  const inFile = sections.slice(1)
    .filter(({ type, size }) => type !== SHT_NOBITS && size > 0)
    .sort((a, b) => a.offset - b.offset);
  for (let i = 1; i < inFile.length; i++) {
    const [a, b] = [inFile[i - 1], inFile[i]];
    if (a.offset + a.size > b.offset) {
      return `Module sections ${printable(a.name)} and ${
        printable(b.name)
      } overlap`;
    }
  }
  return null;
}

/** For messages: what is not printable ASCII becomes a question mark. */
export function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, "?");
}

/** find_sec(), for each that matters. */
function* find_sections(t: Thread, info: LoadInfo): Steps<Errno | 0> {
  const { sections } = info;
  for (let i = 1; i < sections.length; i++) {
    charge(t, 60); // each find_sec() compares all names
    const { name, type, flags } = sections[i];
    if (type === SHT_SYMTAB) {
      info.symindex = i;
      info.strindex = sections[i].link;
    }
    if ((flags & SHF_ALLOC) === 0) continue;
    if (name === ".gnu.linkonce.this_module") info.modindex ||= i;
    if (name === ".modinfo" && type !== SHT_NOBITS) info.infoindex ||= i;
    if (name === "__versions") info.versindex ||= i;
    if (name === ".data.percpu" || name === ".data..percpu") {
      info.pcpuindex ||= i;
    }
  }
  const error = yield* find_name(t, info);
  return error === 0 ? yield* check_symbols(t, info) : error;
}

/** Reads the name in `struct module`. */
function* find_name(t: Thread, info: LoadInfo): Steps<Errno | 0> {
  const { type, addr, size } = info.section(info.modindex);
  if (
    info.modindex === 0 || type !== SHT_PROGBITS ||
    size < MODULE_NAME_OFFSET + MODULE_NAME_LEN
  ) {
    printk(t, KERN_WARNING, "No module found in object");
    return err(ENOEXEC);
  }
  const start = addr + MODULE_NAME_OFFSET;
  const name = yield* get_string(t, start, start + MODULE_NAME_LEN);
  if (
    name === "" || name.length >= MODULE_NAME_LEN || /[^\x21-\x7e]/.test(name)
  ) {
    printk(t, KERN_WARNING, "No module found in object");
    return err(ENOEXEC);
  }
  info.name = name;
  return 0;
}

/** The symbol table, its strings, and the relocations that point into it. */
function* check_symbols(t: Thread, info: LoadInfo): Steps<Errno | 0> {
  const { name, sections, symindex, strindex, pcpuindex } = info;
  if (symindex === 0) {
    printk(t, KERN_WARNING, `${name}: module has no symbols (stripped?)`);
    return err(ENOEXEC);
  }
  const { size, entsize } = sections[symindex];
  const strings = strindex > 0 && strindex < sections.length
    ? sections[strindex]
    : null;
  if (entsize !== SYM_BYTES || size % SYM_BYTES !== 0 || size === 0) {
    return refuse(t, `${name}: symbol table has entries of a wrong size`);
  }
  if (
    strings === null || strings.type !== SHT_STRTAB || strings.size === 0 ||
    (yield* get_le(t, strings.addr + strings.size - 1, 1)) !== 0
  ) {
    return refuse(t, `${name}: symbol table has no strings`);
  }
  if (pcpuindex !== 0 && sections[pcpuindex].type !== SHT_PROGBITS) {
    return refuse(t, `${name}: per-CPU data must have contents`);
  }
  for (let i = 1; i < sections.length; i++) {
    const rela = sections[i];
    if (rela.type !== SHT_RELA) continue;
    const bad = rela.size % RELA_BYTES !== 0 || rela.entsize !== RELA_BYTES ||
      rela.link !== symindex;
    if (bad) {
      return refuse(
        t,
        `${name}: ${printable(rela.name)} is no table of relocations`,
      );
    }
  }
  return 0;
}

/** Bytes that the file header needs at least. */
export const MIN_BYTES = EHDR_BYTES;
