/**
 * Random walk: now and then, after a random number of operations, something
 * random happens. Most often another CPU goes on.
 */
import type { Cpu } from "../../arch/sim/cpu.ts";
import type { Rng } from "../../arch/sim/random.ts";
import type { Chooser } from "./chooser.ts";
import type { Driver } from "./driver.ts";

/** What a decision is, in hundredths: the rest is a switch. */
const HOLD = 6;
const TICK = 14;
const MIGRATE = 8;
const FILL = 12;
const EVICT = 3;
/** Most operations between decisions, of each of a few kinds of rounds. */
const GAPS = [6, 20, 60, 200];

/** See the file's head. */
export class RandomWalk implements Chooser {
  due = 0;
  #gap = 0;

  constructor(readonly rng: Rng, readonly failPercent = 0) {}

  begin(): void {
    // Some bugs want many switches, others few in the right places.
    this.#gap = GAPS[this.rng.below(GAPS.length)];
    this.due = this.rng.below(this.#gap);
  }

  decide(d: Driver): void {
    const { rng } = this;
    const { cpus } = d.k.machine.engine;
    const cpu = cpus[rng.below(cpus.length)];
    let kind = rng.below(100);
    if ((kind -= HOLD) < 0) d.hold(cpu);
    else if ((kind -= TICK) < 0) d.tick(cpu);
    else if ((kind -= MIGRATE) < 0) {
      d.migrate(cpu, cpus[rng.below(cpus.length)]);
    } else if ((kind -= FILL) < 0) d.fill(cpu, this.#page(d));
    else if ((kind -= EVICT) < 0) d.evict(cpu, this.#page(d));
    else d.run(cpu);
    this.due = d.step + 1 + rng.below(this.#gap);
  }

  blocked(d: Driver): Cpu | null {
    const { cpus } = d.k.machine.engine;
    return cpus[this.rng.below(cpus.length)];
  }

  fails(): boolean {
    return this.failPercent > 0 && this.rng.below(100) < this.failPercent;
  }

  #page({ k }: Driver): number {
    const { start, end, page_size } = k.vmalloc;
    return this.rng.below((end - start) / page_size);
  }
}
