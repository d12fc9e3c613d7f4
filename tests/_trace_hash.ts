/** Everything that a machine does, as one number. */
import type { Context } from "../arch/sim/context.ts";
import type { Cpu } from "../arch/sim/cpu.ts";
import type { Observer } from "../arch/sim/observer.ts";

const FNV_OFFSET = 0x811c9dc5;
const FNV_PRIME = 0x01000193;
const TWO_32 = 2 ** 32;

/**
 * Hashes each operation with its CPU, time, place and result, each interrupt,
 * flush and switch, in order. Places that are objects count by when they were
 * first seen.
 */
export class TraceHash implements Observer {
  operations = 0;
  interrupts = 0;
  flushes = 0;
  switches = 0;
  #hash = FNV_OFFSET;
  readonly #places = new Map<unknown, number>();

  /** Two runs with the same are the same, operation by operation. */
  get digest(): string {
    const { operations, interrupts, flushes, switches } = this;
    const hash = (this.#hash >>> 0).toString(16);
    return `${hash} ${operations} ${interrupts} ${flushes} ${switches}`;
  }

  operation(t: Context, kind: number, place: unknown, value: unknown): void {
    this.operations++;
    this.#event(t.cpu, kind);
    this.#add(typeof place === "number" ? place : this.#place(place));
    if (typeof value === "number") this.#add(value);
  }

  interrupt(cpu: Cpu, vector: number): void {
    this.interrupts++;
    this.#event(cpu, 1000 + vector);
  }

  flush(cpu: Cpu, global: boolean): void {
    this.flushes++;
    this.#event(cpu, global ? 2000 : 2001);
  }

  switchTo(cpu: Cpu, next: Context): void {
    this.switches++;
    this.#event(cpu, 3000);
    this.#add(this.#place(next));
  }

  #event(cpu: Cpu, what: number): void {
    this.#add(cpu.id);
    this.#add(cpu.clock);
    this.#add(what);
  }

  #place(place: unknown): number {
    let n = this.#places.get(place);
    if (n === undefined) this.#places.set(place, n = this.#places.size);
    return n;
  }

  #add(n: number): void {
    const low = Math.imul(this.#hash ^ (n | 0), FNV_PRIME);
    this.#hash = Math.imul(low ^ Math.floor(n / TWO_32), FNV_PRIME);
  }
}
