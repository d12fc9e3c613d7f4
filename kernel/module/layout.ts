/**
 * Where the sections go: code first, then what is read-only, then what is
 * written; sections whose names start with `.init` to a region of their own,
 * which is freed when the module is up (layout_sections(), kernel/module.c).
 */
import { charge, enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import { ALIGN } from "../lib/bitops.ts";
import type { Thread } from "../thread.ts";
import { memcpy_at } from "./access.ts";
import { SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE, SHT_NOBITS } from "./elf.ts";
import type { LoadInfo } from "./image.ts";
import type { LoadedSection, Module } from "./module.ts";

const LAYOUT_SECTIONS = ksym("layout_sections");

/** Flags that a section must have, and must not have, to be laid out in each turn. */
const TURNS: readonly (readonly [number, number])[] = [
  [SHF_EXECINSTR | SHF_ALLOC, 0],
  [SHF_ALLOC, SHF_WRITE],
  [SHF_WRITE | SHF_ALLOC, 0],
  [SHF_ALLOC, 0],
];

/**
 * Gives every section that takes memory its place, and `mod` its sizes. Plain.
 * Sizes of a bad file may come out as anything up to 2^80: module_alloc()
 * refuses them.
 */
export function layout_sections(t: Thread, info: LoadInfo, mod: Module): void {
  enter(t, LAYOUT_SECTIONS);
  const { sections } = info;
  for (const section of sections) section.region = "none";
  for (const isInit of [false, true]) {
    const region = isInit ? "init" : "core";
    let size = 0;
    TURNS.forEach(([must, mustNot], turn) => {
      for (const section of sections) {
        charge(t, 10);
        const { flags, name } = section;
        if (
          (flags & must) !== must || (flags & mustNot) !== 0 ||
          section.region !== "none" || name.startsWith(".init") !== isInit
        ) continue;
        section.region = region;
        section.place = ALIGN(size, section.addralign);
        size = section.place + section.size;
      }
      if (turn !== 0) return;
      if (isInit) mod.init_text_size = size;
      else mod.core_text_size = size;
    });
    if (isInit) mod.init_size = size;
    else mod.core_size = size;
  }
  leave(t);
}

/**
 * Copies the sections to their places; `addr` of each is there from now on.
 * The regions are zeroed.
 */
export function* move_sections(
  t: Thread,
  info: LoadInfo,
  mod: Module,
): Steps {
  const loaded: LoadedSection[] = [];
  for (let index = 1; index < info.sections.length; index++) {
    const section = info.sections[index];
    const { region, name, size, type } = section;
    charge(t, 12);
    if (region === "none") continue;
    const addr = (region === "init" ? mod.init : mod.core) + section.place;
    if (type !== SHT_NOBITS) yield* memcpy_at(t, addr, section.addr, size);
    section.addr = addr;
    loaded.push({ name, index, addr, size, region });
  }
  mod.sections = loaded;
}
