/**
 * What programs and schedules have reached: edges from the kernel function of
 * one operation on shared state to that of the next, whichever CPU performs it,
 * and features of the states that rounds end in. Each is hashed to one of 65 536
 * numbers; a few share one, which costs a few programs and nothing else.
 *
 * A symbol counts by its name, not its number, which depends on the order of
 * imports.
 */
import type { Context } from "../../arch/sim/context.ts";
import type { Observer } from "../../arch/sim/observer.ts";
import { MAX_SYMBOLS, symName } from "../../arch/sim/symbol.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import { list_entries } from "../../kernel/lib/list.ts";
import { radix_tree_gang_lookup } from "../../kernel/lib/radix_tree.ts";
import { RewriteLayer } from "../../kernel/mm/rewrite_layer.ts";

/** Numbers there are. */
const BITS = 65_536;
/** Most different ones of a round that are remembered. */
const ROUND = 4096;

/** See the file's head. One for each search; a round at a time. */
export class Coverage implements Observer {
  /** In how many rounds each was reached, up to 255. */
  readonly map: Uint8Array = new Uint8Array(BITS);
  /** How many have been reached. */
  count = 0;
  #new = 0;
  #prev = 0;
  #prevCpu = 0;
  /** Number of the round that reached it last. */
  readonly #stamp: Uint32Array = new Uint32Array(BITS);
  #round = 1;
  /** Those of this round. */
  readonly #reached: Uint16Array = new Uint16Array(ROUND);
  #nrReached = 0;
  /** By symbol: a hash of its name; 0 = not computed yet. */
  readonly #hashes: Uint32Array = new Uint32Array(MAX_SYMBOLS);

  /** A round begins. */
  begin(): void {
    this.#round++;
    this.#nrReached = 0;
    this.#prev = 0;
    this.#prevCpu = 0;
  }

  operation(t: Context, kind: number): void {
    const sym = t.stack[t.depth - 1];
    const hash = this.#hashes[sym] || this.#hashOf(sym);
    const cpu = t.cpu.id;
    const changed = cpu === this.#prevCpu ? 0 : 0x5bd1;
    const bit = (this.#prev ^ hash ^ changed ^ Math.imul(kind, 0x2f0b)) &
      (BITS - 1);
    // Turned, so that an edge and its reverse differ.
    this.#prev = (hash << 1 | hash >>> 15) & (BITS - 1);
    this.#prevCpu = cpu;
    if (this.#stamp[bit] !== this.#round) this.#reach(bit);
  }

  /** Counts features of the state of `k`: once a round, while nothing is under way. */
  state(k: Kernel): void {
    const { areas, lazy_nr, blocks } = k.vmap.counters();
    this.#feature(1, areas);
    this.#feature(2, lazy_nr);
    this.#feature(3, blocks);
    this.#feature(4, staleEntries(k));
    const { vmap } = k;
    if (!(vmap instanceof RewriteLayer)) return;
    const w = vmap.state;
    for (const vb of radix_tree_gang_lookup(w.vmap_block_tree, 0, Infinity)) {
      this.#feature(5, vb.free * 64 + vb.dirty);
    }
    for (const cpu of k.cpu_possible.list) {
      const vbq = w.vmap_block_queue.peek(cpu);
      this.#feature(6, vbq === null ? 0 : list_entries(vbq.free).length);
    }
  }

  /** How many have been reached for the first time since last asked. */
  get newBits(): number {
    const count = this.#new;
    this.#new = 0;
    return count;
  }

  /** Those that this round has reached, to be kept. */
  reached(): Uint16Array {
    return this.#reached.slice(0, this.#nrReached);
  }

  #feature(which: number, value: number): void {
    const counted = which === 5 ? value : bucketOf(value);
    const bit = Math.imul(which * 0x10001 + counted + 1, 0x9e3779b1) >>> 16;
    if (this.#stamp[bit] !== this.#round) this.#reach(bit);
  }

  #reach(bit: number): void {
    this.#stamp[bit] = this.#round;
    if (this.#nrReached < ROUND) this.#reached[this.#nrReached++] = bit;
    const rounds = this.map[bit];
    if (rounds === 0) {
      this.#new++;
      this.count++;
    }
    if (rounds < 255) this.map[bit] = rounds + 1;
  }

  /** FNV-1a, folded to 16 bits; never 0. */
  #hashOf(sym: number): number {
    const name = symName(sym);
    let hash = 0x811c9dc5;
    for (let i = 0; i < name.length; i++) {
      hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
    }
    const folded = (hash ^ (hash >>> 16)) & (BITS - 1);
    return this.#hashes[sym] = folded === 0 ? 1 : folded;
  }
}

/** Below 8 the number itself; from there on two numbers for each power of two. Exact on every engine. */
function bucketOf(value: number): number {
  if (value < 8) return value;
  const exponent = 31 - Math.clz32(value);
  return 2 + 2 * exponent + ((value >>> (exponent - 1)) & 1);
}

/** TLB entries of vmalloc space, of all CPUs, that the page table no longer has. */
function staleEntries(k: Kernel): number {
  const { mmu } = k.machine;
  const { start, end, page_size } = k.vmalloc;
  const first = start / page_size;
  const last = end / page_size;
  let stale = 0;
  for (const tlb of mmu.tlbs) {
    tlb.forEach((vpn, pfn) => {
      if (vpn < first || vpn >= last) return;
      if (mmu.peek(k.init_mm.pgd, vpn * page_size) !== pfn) stale++;
    });
  }
  return stale;
}
