/**
 * ELF for x86-64, as far as a relocatable file takes (System V ABI, and its
 * AMD64 supplement): constants, and the fields of the tables that the loader
 * keeps out of the image. Little-endian, 64 bits.
 */
import type { U64 } from "../lib/u64.ts";

/** Bytes of the file header. */
export const EHDR_BYTES = 64;
/** Bytes of a section header. */
export const SHDR_BYTES = 64;
/** Bytes of a symbol. */
export const SYM_BYTES = 24;
/** Bytes of a relocation with addend. */
export const RELA_BYTES = 24;

/** First four bytes of a file, as a little-endian word. */
export const ELF_MAGIC = 0x464c457f;
/** 64 bits. */
export const ELFCLASS64 = 2;
/** Little-endian. */
export const ELFDATA2LSB = 1;
/** Relocatable file. */
export const ET_REL = 1;
/** AMD64. */
export const EM_X86_64 = 62;

/** Fields of the file header: offsets. */
export const EHDR = {
  class: 4,
  data: 5,
  type: 16,
  machine: 18,
  shoff: 40,
  shentsize: 58,
  shnum: 60,
  shstrndx: 62,
} as const;

/** Fields of a section header: offsets. */
export const SHDR = {
  name: 0,
  type: 4,
  flags: 8,
  offset: 24,
  size: 32,
  link: 40,
  info: 44,
  addralign: 48,
  entsize: 56,
} as const;

/** Fields of a symbol: offsets. */
export const SYM = {
  name: 0,
  info: 4,
  shndx: 6,
  value: 8,
  size: 16,
} as const;

/** Fields of a relocation: offsets. */
export const RELA = { offset: 0, type: 8, sym: 12, addend: 16 } as const;

/** Contents of the program's own. */
export const SHT_PROGBITS = 1;
/** Symbol table. */
export const SHT_SYMTAB = 2;
/** String table. */
export const SHT_STRTAB = 3;
/** Relocations with addends. */
export const SHT_RELA = 4;
/** No bytes in the file, zeros in memory. */
export const SHT_NOBITS = 8;
/** Relocations without addends. */
export const SHT_REL = 9;

/** Written at run time. */
export const SHF_WRITE = 1;
/** Takes memory at run time. */
export const SHF_ALLOC = 2;
/** Machine code. */
export const SHF_EXECINSTR = 4;

/** Undefined symbol. */
export const SHN_UNDEF = 0;
/** From here on indices mean something else. */
export const SHN_LORESERVE = 0xff00;
/** The value is absolute. */
export const SHN_ABS = 0xfff1;
/** Not allocated yet. */
export const SHN_COMMON = 0xfff2;

/** Weak binding, in the upper half of `st_info`. */
export const STB_WEAK = 2;
/** A data object, in the lower half of `st_info`. */
export const STT_OBJECT = 1;

/** Relocation types that the loader knows. */
export const R_X86_64_NONE = 0;
/** S + A, 64 bits. */
export const R_X86_64_64 = 1;
/** S + A - P, 32 bits, signed. */
export const R_X86_64_PC32 = 2;
/** As PC32: the procedure linkage table is not used. */
export const R_X86_64_PLT32 = 4;
/** S + A, 32 bits, unsigned. */
export const R_X86_64_32 = 10;
/** S + A, 32 bits, signed. */
export const R_X86_64_32S = 11;
/** S + A - P, 64 bits. */
export const R_X86_64_PC64 = 24;

/** Where a section goes. */
export type Region = "core" | "init" | "none";

/** A section header, and where the section is. */
export interface Section {
  /** Its name, a character a byte. */
  readonly name: string;
  readonly type: number;
  /** Low half of `sh_flags`; the loader changes SHF_ALLOC. */
  flags: number;
  /** In the file, bytes. */
  readonly offset: number;
  /** Bytes; may be above 2^53, inexactly then. */
  readonly size: number;
  readonly link: number;
  readonly info: number;
  /** A power of two; 1 for none. */
  readonly addralign: number;
  readonly entsize: number;
  /** `sh_addr`: in the copy of the file, later in its region. */
  addr: number;
  /** Where layout_sections() puts it. */
  region: Region;
  /** And at which byte of that (`sh_entsize` is reused for this in Linux). */
  place: number;
}

/** An exported symbol. */
export interface Export {
  readonly name: string;
  readonly value: U64;
  /** For modules under a compatible licence alone. */
  readonly gpl: boolean;
}
