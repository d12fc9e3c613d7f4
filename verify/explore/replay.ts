/** Takes the decisions of a schedule, at the operations that it says. */
import type { Cpu } from "../../arch/sim/cpu.ts";
import type { Chooser } from "./chooser.ts";
import type { Driver } from "./driver.ts";
import { EventKind, type ScheduleEvent } from "./event.ts";
import { canRun } from "./moves.ts";

/**
 * See the file's head. Decisions that cannot be carried out, as in a schedule
 * that has been shortened, are passed over.
 */
export class Replay implements Chooser {
  due = Infinity;
  /** Those taken between operations, and those that allocations ask for. */
  readonly #switches: readonly ScheduleEvent[];
  readonly #failures: readonly ScheduleEvent[];
  #next = 0;
  #nextFailure = 0;

  constructor(events: readonly ScheduleEvent[]) {
    this.#switches = events.filter(({ kind }) => kind !== EventKind.FAIL);
    this.#failures = events.filter(({ kind }) => kind === EventKind.FAIL);
  }

  begin(): void {
    this.#next = 0;
    this.#nextFailure = 0;
    this.#setDue();
  }

  decide(d: Driver): void {
    const { kind, a, b } = this.#switches[this.#next++];
    const { cpus } = d.k.machine.engine;
    const cpu = cpus[a];
    if (cpu !== undefined) {
      switch (kind) {
        case EventKind.SWITCH:
          d.run(cpu);
          break;
        case EventKind.HOLD:
          d.hold(cpu);
          break;
        case EventKind.TICK:
          d.tick(cpu);
          break;
        case EventKind.MIGRATE:
          if (b < cpus.length) d.migrate(cpu, cpus[b]);
          break;
        case EventKind.FILL:
          d.fill(cpu, b);
          break;
        case EventKind.EVICT:
          d.evict(cpu, b);
          break;
      }
    }
    this.#setDue();
  }

  /** A switch that was taken because nobody ran is the next decision, if there is one at this operation. */
  blocked(d: Driver): Cpu | null {
    const event = this.#switches[this.#next];
    if (event === undefined || event.at > d.step) return null;
    if (event.kind !== EventKind.SWITCH) return null;
    const cpu = d.k.machine.engine.cpus[event.a];
    if (cpu === undefined || !canRun(cpu)) return null;
    this.#next++;
    this.#setDue();
    return cpu;
  }

  /** By the request's number: several may be made between two operations. */
  fails(_d: Driver, request: number): boolean {
    const failures = this.#failures;
    let i = this.#nextFailure;
    while (i < failures.length && failures[i].a < request) i++;
    this.#nextFailure = i;
    return i < failures.length && failures[i].a === request;
  }

  #setDue(): void {
    const event = this.#switches[this.#next];
    this.due = event === undefined ? Infinity : event.at;
  }
}
