/**
 * Runs a case and tells what happens in it: the calls of each round, as they
 * find their slots, and the decisions, each with where it fell.
 */
import type { Context } from "../../arch/sim/context.ts";
import type { Observer } from "../../arch/sim/observer.ts";
import { symName } from "../../arch/sim/symbol.ts";
import { describeEvent, type ScheduleEvent } from "../explore/event.ts";
import { StepTrace } from "../explore/trace.ts";
import { describeProgram } from "../programs/program.ts";
import { type Case, type Finding, type Lab, runCase } from "../search/case.ts";

/** What {@linkcode retell} has seen. */
export interface Retelling {
  /** What ended the case; `null` = nothing did. */
  readonly finding: Finding | null;
  /** Programs and decisions, a line each. */
  readonly lines: readonly string[];
  /** Step by step, if asked for. */
  readonly trace: readonly string[];
}

/** See the file's head. */
export function retell(c: Case, trace: boolean): Retelling {
  const rounds: RoundNotes[] = [];
  const finding = runCase(c, (lab, round) => {
    const notes = new RoundNotes(c, lab, round, trace);
    rounds.push(notes);
    return notes;
  });
  return {
    finding,
    lines: rounds.flatMap((notes) => notes.lines()),
    trace: rounds.flatMap((notes) => notes.traceLines()),
  };
}

/** Watches one round. */
class RoundNotes implements Observer {
  readonly #calls: readonly string[];
  readonly #trace: StepTrace | null;
  /** Where each operation was performed: CPU and symbol, by number. */
  readonly #places: { readonly cpu: number; readonly sym: number }[] = [];

  constructor(
    readonly c: Case,
    readonly lab: Lab,
    readonly round: number,
    trace: boolean,
  ) {
    const { program } = c.rounds[round];
    this.#calls = describeProgram(program, lab.world.inUse());
    const steps = trace ? new StepTrace(lab.machine) : null;
    this.#trace = steps;
    lab.world.watcher = steps === null
      ? null
      : (t, text) => steps.note(t, text);
  }

  operation(t: Context, kind: number, place: unknown, value: number): void {
    const { step } = this.lab.machine.driver;
    this.#places[step] = { cpu: t.cpu.id, sym: t.stack[t.depth - 1] };
    this.#trace?.operation(t, kind, place, value);
  }

  interrupt(...args: Parameters<Required<Observer>["interrupt"]>): void {
    this.#trace?.interrupt(...args);
  }

  ipi(...args: Parameters<Required<Observer>["ipi"]>): void {
    this.#trace?.ipi(...args);
  }

  flush(...args: Parameters<Required<Observer>["flush"]>): void {
    this.#trace?.flush(...args);
  }

  switchTo(...args: Parameters<Required<Observer>["switchTo"]>): void {
    this.#trace?.switchTo(...args);
  }

  lines(): string[] {
    const { rounds } = this.c;
    const { clean, events } = rounds[this.round];
    const which = rounds.length === 1
      ? "Program"
      : `Round ${this.round + 1} of ${rounds.length}`;
    return [
      `${which}:`,
      ...this.#calls.map((call) => `  ${call}`),
      ...(events.length === 0 ? [] : ["  schedule:"]),
      ...events.map((event) => `    ${this.#decision(event)}`),
      ...(clean ? ["  afterwards all is given back, grace periods end"] : []),
    ];
  }

  traceLines(): string[] {
    if (this.#trace === null) return [];
    return [`Round ${this.round + 1}:`, ...this.#trace.lines(), ""];
  }

  #decision(event: ScheduleEvent): string {
    const { at } = event;
    let last = at;
    while (last > 0 && this.#places[last] === undefined) last--;
    const place = this.#places[last];
    const where = place === undefined
      ? "at the start"
      : `step ${at}, CPU ${place.cpu} in ${symName(place.sym)}`;
    return `${where}: ${describeEvent(event)}`;
  }
}
