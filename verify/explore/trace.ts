/**
 * A round step by step, for people: a line for each operation on shared state,
 * a column for each CPU, who holds which locks at its right.
 *
 *      step  CPU 0                            CPU 1                            Held
 *         1  [interrupt RESCHEDULE]
 *         2  my_fn: LOAD counter = 0
 *         3  * CPU 1 goes on (s1)
 *         3                                   my_fn: STORE counter = 1         1: my_lock
 *
 * Lines that begin with `*` are the decisions of the schedule, as they stand in
 * its text form; where there is none, the rule of event.ts has chosen. A line
 * with nothing before the colon is what happens outside of any kernel function.
 * `?` is somebody who waits: he has not got what he asks for.
 *
 * A lock that readers share shows as held by its writer alone. What is too long
 * for its column goes on in the next line: nothing is left out.
 */
import { OpKind } from "../../arch/asm.ts";
import { Cell } from "../../arch/hw/cell.ts";
import type { Context } from "../../arch/sim/context.ts";
import { type Cpu, CpuState } from "../../arch/sim/cpu.ts";
import type { Observer } from "../../arch/sim/observer.ts";
import {
  CALL_FUNCTION_SINGLE_VECTOR,
  CALL_FUNCTION_VECTOR,
  INVALIDATE_TLB_VECTOR,
  LOCAL_TIMER_VECTOR,
  RESCHEDULE_VECTOR,
} from "../../kernel/irq_vectors.ts";
import { LockOwner } from "../../kernel/locking/lock_stat.ts";
import type { Thread } from "../../kernel/thread.ts";
import { describeEvent, formatEvents } from "./event.ts";
import type { ExploreMachine } from "./machine.ts";

/** Characters of a CPU's column, the gap after it included. */
const WIDTH = 56;
/** The same of the first column. */
const STEP_WIDTH = 8;
/** The first column of what is no operation. */
const NO_STEP = " ".repeat(STEP_WIDTH);

const VECTORS: Readonly<Record<number, string>> = {
  [LOCAL_TIMER_VECTOR]: "timer",
  [RESCHEDULE_VECTOR]: "RESCHEDULE",
  [CALL_FUNCTION_VECTOR]: "CALL_FUNCTION",
  [CALL_FUNCTION_SINGLE_VECTOR]: "CALL_FUNCTION_SINGLE",
  [INVALIDATE_TLB_VECTOR]: "INVALIDATE_TLB",
};

const OP_NAMES = Object.keys(OpKind);

/** Watches a round: {@linkcode Driver.watcher}. See the file's head. */
export class StepTrace implements Observer {
  readonly #lines: string[] = [];
  /** Decisions that have been written. */
  #decisions = 0;
  /** Locks that somebody has asked for, in that order. */
  readonly #locks = new Set<LockOwner>();
  // By CPU.
  /** What ran when something was written last. */
  readonly #last: (Thread | null)[];
  readonly #waiting: boolean[];
  readonly #misses: number[];
  /** Of the interrupts that the operation under way sends. */
  #sent: string[] = [];
  #step = 0;

  /** `m` is about to run a round. */
  constructor(readonly m: ExploreMachine) {
    const { cpus } = m.machine.engine;
    this.#last = cpus.map(() => null);
    this.#waiting = cpus.map(() => false);
    this.#misses = m.machine.mmu.tlbs.map(({ misses }) => misses);
    const heads = cpus.map(({ id }) => `CPU ${id}`.padEnd(WIDTH)).join("");
    this.#lines.push(`${"step".padStart(STEP_WIDTH - 2)}  ${heads}Held`);
  }

  /** The table so far, a line each; the first is its head. */
  lines(): string[] {
    this.#catchUp();
    return this.#lines.map((line) => line.trimEnd());
  }

  /** Adds a row of somebody else's in the column of `t`. */
  note(t: Context, text: string): void {
    this.#catchUp();
    this.#write(t.cpu, text);
  }

  operation(t: Context, kind: number, place: unknown, value: number): void {
    if (place instanceof Cell && place.holder instanceof LockOwner) {
      this.#locks.add(place.holder);
    }
    this.#catchUp();
    const fill = this.#fills(t.cpu) ? " (TLB fill)" : "";
    this.#row(t, `${this.#what(kind, place, value)}${fill}`);
    this.#waiting[t.cpu.id] = false;
  }

  interrupt(cpu: Cpu, vector: number): void {
    this.#catchUp();
    this.#write(cpu, `[interrupt ${vectorName(vector)}]`);
  }

  ipi(_cpu: Cpu, target: number, vector: number): void {
    this.#sent.push(`CPU ${target} ${vectorName(vector)}`);
  }

  flush(cpu: Cpu, global: boolean): void {
    this.#catchUp();
    this.#row(cpu.top!, `TLB flush${global ? ", all" : ""}`);
  }

  switchTo(cpu: Cpu, next: Context): void {
    this.#catchUp();
    this.#write(cpu, `[switch to ${next.name}]`);
  }

  /** What an operation has done, in words. */
  #what(kind: number, place: unknown, value: number): string {
    const name = OP_NAMES[kind];
    switch (kind) {
      case OpKind.IPI: {
        const to = this.#sent.join(", ");
        this.#sent = [];
        return `${name} -> ${to}`;
      }
      case OpKind.VIRT_READ:
        return `${name} ${this.#address(place as number)} = ${value}`;
      case OpKind.VIRT_WRITE:
        return `${name} ${this.#address(place as number)}`;
      case OpKind.PHYS_READ:
        return `${name} 0x${(place as number).toString(16)} = ${value}`;
      case OpKind.PHYS_WRITE:
        return `${name} 0x${(place as number).toString(16)}`;
      case OpKind.PTE_RUN:
        return `${name} in frame ${place} = ${show(value)}`;
    }
    if (!(place instanceof Cell)) return name;
    switch (kind) {
      case OpKind.STORE:
      case OpKind.WRITE_ONCE:
        return `${name} ${place.name} = ${show(place.value)}`;
      case OpKind.XCHG:
      case OpKind.CMPXCHG:
      case OpKind.ADD_UNLESS:
        return `${name} ${place.name} = ${show(value)}, now ${
          show(place.value)
        }`;
      case OpKind.TICKET_LOCK:
      case OpKind.TICKET_UNLOCK:
      case OpKind.SPIN_CMPXCHG:
        return `${name} ${place.name}`;
    }
    return `${name} ${place.name} = ${show(value)}`;
  }

  /** Such as `"page 3 + 0x10"`, of vmalloc space. */
  #address(vaddr: number): string {
    const { start, end, page_size } = this.m.k.vmalloc;
    if (vaddr < start || vaddr >= end) return `0x${vaddr.toString(16)}`;
    const offset = (vaddr - start) % page_size;
    return `page ${(vaddr - start - offset) / page_size} + 0x${
      offset.toString(16)
    }`;
  }

  #fills({ id }: Cpu): boolean {
    const { misses } = this.m.machine.mmu.tlbs[id];
    const fills = misses !== this.#misses[id];
    this.#misses[id] = misses;
    return fills;
  }

  /** Writes down what has happened since without being told. */
  #catchUp(): void {
    const { driver, machine } = this.m;
    // A part of the round that is not the schedule's begins.
    if (driver.step < this.#step) this.#decisions = 0;
    this.#step = driver.step;
    for (const cpu of machine.engine.cpus) {
      const waits = cpu.state === CpuState.PARKED && cpu.wakeAt === Infinity &&
        cpu !== machine.engine.running;
      if (waits && !this.#waiting[cpu.id]) {
        this.#waiting[cpu.id] = true;
        const { top } = cpu;
        this.#row(top!, `? ${top!.op!.describe()}`, NO_STEP);
      }
    }
    const { events } = driver;
    while (this.#decisions < events.length) {
      const event = events[this.#decisions++];
      const text = formatEvents([{ ...event, at: 0 }]);
      this.#lines.push(
        `${stepText(event.at)}* ${describeEvent(event)} (${text})`,
      );
    }
  }

  #row(t: Context, text: string, step?: string): void {
    const frame = t.backtrace()[0];
    const symbol = frame === "[unknown]" ? "" : frame;
    this.#write(t.cpu, `${symbol}: ${text}`, step);
  }

  /** Adds a row in the column of `cpu`. */
  #write(cpu: Cpu, text: string, at = stepText(this.#step)): void {
    const task = cpu.top as Thread | null;
    const moved = task !== null && task !== this.#last[cpu.id] &&
      !task.isInterrupt;
    if (moved) this.#last[cpu.id] = task;
    const parts = wrap(moved ? `(${task.name}) ${text}` : text, WIDTH - 2);
    const left = " ".repeat(cpu.id * WIDTH);
    const width = this.#last.length * WIDTH;
    parts.forEach((part, i) => {
      const step = i === 0 ? at : NO_STEP;
      const held = i === 0 ? this.#held() : "";
      this.#lines.push(`${step}${`${left}${part}`.padEnd(width)}${held}`);
    });
  }

  /** Such as `"0: vmap_area_lock, zone->lock; 1: vb->lock"`. */
  #held(): string {
    const byCpu: string[][] = this.#last.map(() => []);
    const held = [...this.#locks].filter(({ owner }) => owner !== null);
    held.sort((a, b) => a.acquiredAt - b.acquiredAt);
    for (const { owner, stats } of held) {
      byCpu[owner!.cpu.id].push(stats.name);
    }
    return byCpu.map((names, id) =>
      names.length > 0 ? `${id}: ${names.join(", ")}` : ""
    )
      .filter((text) => text !== "").join("; ");
  }
}

function vectorName(vector: number): string {
  return VECTORS[vector] ?? String(vector);
}

function stepText(step: number): string {
  return `${String(step).padStart(STEP_WIDTH - 2)}  `;
}

function show(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  return typeof value === "object" || typeof value === "function"
    ? "(object)"
    : String(value);
}

/** `text` in lines of at most `width` characters, broken at spaces where there are some. */
function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let rest = text;
  while (rest.length > width) {
    const space = rest.lastIndexOf(" ", width);
    const end = space > 2 ? space : width;
    lines.push(rest.slice(0, end));
    rest = `  ${rest.slice(end).trimStart()}`;
  }
  return [...lines, rest];
}
