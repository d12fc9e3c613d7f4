/**
 * Sets of CPU numbers, and the three maps of which CPUs there are
 * (include/linux/cpumask.h, init/main.c).
 *
 * Differs from Linux: a mask knows its weight and hands out its members as an
 * array, so that nothing walks 4096 bits to find the 8 that are set. What a
 * walk of the bits would cost is charged by the functions that use masks.
 */
import { charge, enter, ksym, leave } from "../arch/asm.ts";
import type { Kernel } from "./kernel.ts";
import type { Thread } from "./thread.ts";

const BOOT_CPU_INIT = ksym("boot_cpu_init");

/** CPU numbers in one word of a mask, as in a `Uint32Array`. */
const WORD_BITS = 32;

/**
 * A set of CPU numbers.
 *
 * Linux: include/linux/cpumask.h.
 *
 * @example
 * ```ts
 * import { CpuMask } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const mask = new CpuMask(64);
 * mask.set(3);
 * mask.set(40);
 * assertEquals(mask.list, [3, 40]);
 * assertEquals([mask.weight, mask.first(), mask.has(4)], [2, 3, false]);
 * ```
 */
export class CpuMask {
  /** Bits, 32 a word. */
  readonly words: Uint32Array;
  #weight = 0;
  /** Members in ascending order; `null` = changed since it was last asked for. */
  #list: readonly number[] | null = null;

  /** An empty mask for CPUs 0 to `size - 1`. */
  constructor(readonly size: number) {
    this.words = new Uint32Array(Math.ceil(size / WORD_BITS));
  }

  /** How many members there are. */
  get weight(): number {
    return this.#weight;
  }

  /** The members, ascending: a snapshot, which later changes leave alone. */
  get list(): readonly number[] {
    return this.#list ??= this.#members();
  }

  /** The lowest member; -1 = none. */
  first(): number {
    for (let i = 0; i < this.words.length; i++) {
      const word = this.words[i];
      if (word !== 0) return i * WORD_BITS + 31 - Math.clz32(word & -word);
    }
    return -1;
  }

  /** Whether `cpu` is a member. */
  has(cpu: number): boolean {
    return (this.words[cpu >> 5] & (1 << (cpu & 31))) !== 0;
  }

  /** Adds `cpu`. */
  set(cpu: number): void {
    if (this.has(cpu)) return;
    this.words[cpu >> 5] |= 1 << (cpu & 31);
    this.#weight++;
    this.#list = null;
  }

  /** Removes `cpu`. */
  clear(cpu: number): void {
    if (!this.has(cpu)) return;
    this.words[cpu >> 5] &= ~(1 << (cpu & 31));
    this.#weight--;
    this.#list = null;
  }

  /** Becomes `a` without the members of `b`. */
  assignAndNot(a: CpuMask, b: CpuMask): void {
    let weight = 0;
    for (let i = 0; i < this.words.length; i++) {
      const word = a.words[i] & ~b.words[i];
      this.words[i] = word;
      weight += popcount(word);
    }
    this.#weight = weight;
    this.#list = null;
  }

  #members(): number[] {
    const members: number[] = [];
    for (let i = 0; i < this.words.length; i++) {
      for (let word = this.words[i]; word !== 0; word &= word - 1) {
        members.push(i * WORD_BITS + 31 - Math.clz32(word & -word));
      }
    }
    return members;
  }
}

function popcount(word: number): number {
  let n = 0;
  for (; word !== 0; word &= word - 1) n++;
  return n;
}

/**
 * Fills the maps: every CPU of the machine, at most `nr_cpus=` of them, is
 * possible and present; the one that runs is online.
 */
export function boot_cpu_init(t: Thread): void {
  enter(t, BOOT_CPU_INIT);
  charge(t, 30);
  const k: Kernel = t.k;
  const plugged = k.machine.nrCpus;
  const nr_cpus = Math.max(1, Math.min(k.params.nr_cpus ?? plugged, plugged));
  k.cpu_possible = new CpuMask(plugged);
  k.cpu_present = new CpuMask(plugged);
  k.cpu_online = new CpuMask(plugged);
  for (let cpu = 0; cpu < nr_cpus; cpu++) {
    k.cpu_possible.set(cpu);
    k.cpu_present.set(cpu);
  }
  k.cpu_online.set(t.cpu.id);
  leave(t);
}
