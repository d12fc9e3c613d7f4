/**
 * A second linker, which knows nothing of the first: relocates a module's
 * sections on the host, by BigInt on the bytes of the file, to say what each
 * must hold in memory once it is loaded.
 *
 * Of the loader it takes only where the sections are and what the symbols of
 * others are; the types of relocation are those of the AMD64 supplement to the
 * System V ABI.
 */

/** Where a loaded section is. */
export interface PlacedSection {
  /** Its number in the file. */
  readonly index: number;
  /** Address, all 64 bits. */
  readonly addr: bigint;
}

/** What the file's symbols refer to. */
export interface Surroundings {
  readonly sections: readonly PlacedSection[];
  /** Address of the per-CPU section; `null` = the module has none. */
  readonly percpu: bigint | null;
  /** Addresses of symbols that others export; `undefined` = nobody does. */
  readonly symbol: (name: string) => bigint | undefined;
}

/** What a module is to be in memory. */
export interface Expected {
  /** Bytes by number of the section. */
  readonly contents: ReadonlyMap<number, Uint8Array>;
  /** Number of the symbol table. */
  readonly table: number;
  /** Symbols of sections that are not loaded: their value and kind mean nothing, and are 0 in `contents`. */
  readonly dropped: readonly number[];
}

interface Header {
  readonly name: string;
  readonly type: number;
  readonly flags: number;
  readonly offset: number;
  readonly size: number;
  readonly link: number;
  readonly info: number;
}

interface Symbol {
  readonly name: string;
  readonly bind: number;
  readonly kind: number;
  readonly shndx: number;
  readonly value: bigint;
  readonly size: bigint;
}

const U64 = (x: bigint) => BigInt.asUintN(64, x);
const SYMTAB = 2;
const NOBITS = 8;
const RELA = 4;
const STB_WEAK = 2;
const ABS = 0xfff1;

/** A file taken apart. */
export class ModuleOracle {
  readonly #view: DataView;
  readonly headers: readonly Header[];

  /** @param file A relocatable file for x86-64, all right in every respect. */
  constructor(readonly file: Uint8Array) {
    this.#view = new DataView(file.buffer, file.byteOffset, file.length);
    const view = this.#view;
    const shoff = Number(view.getBigUint64(40, true));
    const count = view.getUint16(60, true);
    const raw = Array.from({ length: count }, (_, i) => shoff + 64 * i);
    const names = Number(
      view.getBigUint64(raw[view.getUint16(62, true)] + 24, true),
    );
    this.headers = raw.map((at) => ({
      name: this.#text(names + view.getUint32(at, true)),
      type: view.getUint32(at + 4, true),
      flags: Number(view.getBigUint64(at + 8, true)),
      offset: Number(view.getBigUint64(at + 24, true)),
      size: Number(view.getBigUint64(at + 32, true)),
      link: view.getUint32(at + 40, true),
      info: view.getUint32(at + 44, true),
    }));
  }

  /** What each section is to hold; those that are not loaded: as in the file. */
  relocated(around: Surroundings): Expected {
    const at = new Map(around.sections.map(({ index, addr }) => [index, addr]));
    const contents = new Map<number, Uint8Array>();
    this.headers.forEach(({ type, offset, size }, index) => {
      contents.set(
        index,
        type === NOBITS
          ? new Uint8Array(size)
          : this.file.slice(offset, offset + size),
      );
    });
    const table = this.headers.findIndex(({ type }) => type === SYMTAB);
    const symbols = this.#symbols(table);
    const values = symbols.map((symbol) => this.#value(symbol, at, around));
    for (const { type, offset, size, info } of this.headers) {
      const base = at.get(info);
      if (type !== RELA || base === undefined) continue;
      for (let r = offset; r < offset + size; r += 24) {
        this.#relocate(contents.get(info)!, base, r, values);
      }
    }
    this.#finishSymbols(contents.get(table)!, symbols, values);
    const dropped = values.flatMap((value, i) => value === null ? [i] : []);
    return { contents, table, dropped };
  }

  /** Names of symbols that others must have. */
  undefinedSymbols(): string[] {
    return this.#symbols(this.headers.findIndex(({ type }) => type === SYMTAB))
      .filter(({ name, shndx, bind }) =>
        shndx === 0 && name !== "" && bind !== STB_WEAK
      ).map(({ name }) => name);
  }

  #text(at: number): string {
    let end = at;
    while (this.file[end] !== 0) end++;
    return new TextDecoder("latin1").decode(this.file.subarray(at, end));
  }

  #symbols(table: number): Symbol[] {
    const { offset, size, link } = this.headers[table];
    const strings = this.headers[link].offset;
    const view = this.#view;
    return Array.from({ length: size / 24 }, (_, i) => {
      const at = offset + 24 * i;
      const info = view.getUint8(at + 4);
      return {
        name: this.#text(strings + view.getUint32(at, true)),
        bind: info >> 4,
        kind: info & 15,
        shndx: view.getUint16(at + 6, true),
        value: view.getBigUint64(at + 8, true),
        size: view.getBigUint64(at + 16, true),
      };
    });
  }

  /** `null` = it lies in a section that is not loaded. */
  #value(
    { name, shndx, value, bind }: Symbol,
    at: ReadonlyMap<number, bigint>,
    { symbol, percpu }: Surroundings,
  ): bigint | null {
    if (shndx === ABS) return value;
    if (shndx === 0) {
      if (name === "") return 0n;
      const found = symbol(name);
      if (found === undefined && bind !== STB_WEAK) {
        throw new RangeError(`Cannot link as nobody has ${name}`);
      }
      return found ?? 0n;
    }
    const header = this.headers[shndx];
    const isPercpu = /^\.data\.{1,2}percpu$/.test(header.name);
    const base = isPercpu ? percpu : at.get(shndx) ?? null;
    return base === null ? null : U64(base + value);
  }

  #relocate(
    section: Uint8Array,
    base: bigint,
    r: number,
    values: readonly (bigint | null)[],
  ): void {
    const view = this.#view;
    const offset = view.getBigUint64(r, true);
    const type = view.getUint32(r + 8, true);
    const s = values[view.getUint32(r + 12, true)];
    const a = view.getBigInt64(r + 16, true);
    if (s === null) {
      throw new RangeError("Cannot link as a symbol is not loaded");
    }
    const p = base + offset;
    const out = new DataView(section.buffer, section.byteOffset);
    const place = Number(offset);
    switch (type) {
      case 0:
        return;
      case 1:
        return out.setBigUint64(place, U64(s + a), true);
      case 24:
        return out.setBigUint64(place, U64(s + a - p), true);
      case 10:
      case 11:
        return out.setUint32(place, Number(BigInt.asUintN(32, s + a)), true);
      case 2:
      case 4:
        return out.setUint32(
          place,
          Number(BigInt.asUintN(32, s + a - p)),
          true,
        );
      default:
        throw new RangeError(`Cannot link relocation type ${type}`);
    }
  }

  /** The table as it is kept: addresses for values, letters for kinds. */
  #finishSymbols(
    section: Uint8Array,
    symbols: readonly Symbol[],
    values: readonly (bigint | null)[],
  ): void {
    const out = new DataView(section.buffer, section.byteOffset);
    for (let i = 1; i < symbols.length; i++) {
      const value = values[i];
      if (value === null) {
        // It points into the copy of the file, which is gone.
        out.setUint8(24 * i + 4, 0);
        out.setBigUint64(24 * i + 8, 0n, true);
        continue;
      }
      out.setUint8(24 * i + 4, this.#letter(symbols[i]).charCodeAt(0));
      out.setBigUint64(24 * i + 8, value, true);
    }
  }

  #letter({ bind, kind, shndx }: Symbol): string {
    if (bind === STB_WEAK) return kind === 1 ? "v" : "w";
    if (shndx === 0) return "U";
    if (shndx === ABS) return "a";
    const { flags, type, name } = this.headers[shndx];
    if ((flags & 4) !== 0) return "t";
    const percpu = /^\.data\.{1,2}percpu$/.test(name);
    const dropped = percpu || name === ".modinfo" || name === "__versions";
    if ((flags & 2) !== 0 && type !== NOBITS && !dropped) {
      return (flags & 1) !== 0 ? "d" : "r";
    }
    if (type === NOBITS) return "b";
    return name.startsWith(".debug") ? "n" : "?";
  }
}
