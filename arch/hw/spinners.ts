/**
 * What CPUs that spin on ticket locks wait for, in a few arrays: most looks at
 * such a lock find that it was passed on to somebody else, and can then be made
 * without the CPU's context and operation (`arch/sim/parking.ts`).
 *
 * Kept by the operation (`arch/op.ts`): from its parking on until it parks for
 * something else.
 */
import type { Cpu } from "../sim/cpu.ts";
import type { SpinWatch } from "../sim/parking.ts";
import type { Sym } from "../sim/symbol.ts";
import type { ParkingPlace } from "../sim/waiters.ts";
import type { Cell } from "./cell.ts";
import type { Coherence } from "./line.ts";
import { TICKET_MASK } from "./ticket.ts";

// A constant of this module: see docs/ARCHITECTURE.md, "What V8 likes".
const OWNER_MASK = TICKET_MASK;

/** The spinners of one machine. */
export class Spinners implements SpinWatch {
  /** By CPU: the lock's word; `null` = it waits for something else. */
  readonly #words: (Cell<number> | null)[];
  /** By CPU: the ticket that it has taken. */
  readonly #tickets: Int32Array;
  /** By CPU: the call that it spins in. */
  readonly #syms: Int32Array;
  readonly #coherence: Coherence;

  /** Of `count` CPUs, none of which spins. */
  constructor(count: number, coherence: Coherence) {
    this.#words = new Array(count).fill(null);
    this.#tickets = new Int32Array(count);
    this.#syms = new Int32Array(count);
    this.#coherence = coherence;
  }

  /** `cpu` spins until `word` has `ticket` for its owner. */
  add({ id, top }: Cpu, word: Cell<number>, ticket: number): void {
    this.#words[id] = word;
    this.#tickets[id] = ticket;
    this.#syms[id] = top!.stack[top!.depth - 1];
  }

  /** `cpu` waits for something else. */
  remove({ id }: Cpu): void {
    this.#words[id] = null;
  }

  knows(id: number): boolean {
    return this.#words[id] !== null;
  }

  placeOf(id: number): ParkingPlace | null {
    const word = this.#words[id];
    return word === null || (word.value & OWNER_MASK) === this.#tickets[id]
      ? null
      : word.line;
  }

  look(id: number, from: number): number {
    return this.#coherence.readAt(id, this.#words[id]!.line, from);
  }

  symOf(id: number): Sym {
    return this.#syms[id] as Sym;
  }
}
