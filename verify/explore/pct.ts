/**
 * Probabilistic concurrency testing (Burckhardt, Kothari, Musuvathi and
 * Nagarakatte, ASPLOS 2010): CPUs have random priorities, the highest that can
 * run does, and at `depth - 1` random operations the one that runs falls below
 * all others. A bug that takes `depth` ordering constraints is found with
 * probability of at least 1 / (cpus * steps ^ (depth - 1)) in each round.
 *
 * Differs: the number of operations of a round, which the method wants to know,
 * is the one of the longest of the last rounds; beside changes of priority there
 * are ticks, migrations and TLB fills, as in the random walk, a few a round.
 */
import type { Cpu } from "../../arch/sim/cpu.ts";
import type { Rng } from "../../arch/sim/random.ts";
import type { Chooser } from "./chooser.ts";
import type { Driver } from "./driver.ts";

/** What happens at a point that changes no priority. */
const TICK = 0;
const MIGRATE = 1;
const FILL = 2;
/** Such points in a round, at most. */
const EXTRAS = 4;
/** Operations that the first round is taken to have. */
const FIRST_LENGTH = 200;

interface Point {
  readonly at: number;
  /** One of the above; -1 = a change of priority. */
  readonly what: number;
}

/** See the file's head. */
export class Pct implements Chooser {
  due = Infinity;
  #length = FIRST_LENGTH;
  #last = 0;
  #lowest = 0;
  #points: Point[] = [];
  /** By CPU number. */
  #priorities: number[] = [];

  constructor(
    readonly rng: Rng,
    readonly depth: number,
    readonly failPercent = 0,
  ) {}

  begin(d: Driver): void {
    const { rng } = this;
    this.#length = Math.max(this.#last, Math.floor(this.#length * 0.9), 20);
    this.#last = 0;
    this.#priorities = d.k.machine.engine.cpus.map((_, i) => i + 1);
    rng.shuffle(this.#priorities);
    this.#lowest = 0;
    this.#points = [];
    for (let i = 1; i < this.depth; i++) {
      this.#points.push({ at: rng.below(this.#length), what: -1 });
    }
    for (let n = rng.below(EXTRAS + 1); n > 0; n--) {
      this.#points.push({
        at: rng.below(this.#length),
        what: rng.below(FILL + 1),
      });
    }
    this.#points.sort((a, b) => b.at - a.at);
    this.#setDue();
  }

  decide(d: Driver): void {
    const { rng } = this;
    this.#last = Math.max(this.#last, d.step);
    const { what } = this.#points.pop()!;
    const { cpus } = d.k.machine.engine;
    const cpu = cpus[rng.below(cpus.length)];
    if (what === TICK) d.tick(cpu);
    else if (what === MIGRATE) d.migrate(d.current!, cpu);
    else if (what === FILL) {
      const { start, end, page_size } = d.k.vmalloc;
      d.fill(cpu, rng.below((end - start) / page_size));
    } else {
      this.#priorities[d.current!.id] = this.#lowest--;
      const first = this.#highest(d);
      if (first !== null && first !== d.current) d.run(first);
    }
    this.#setDue();
  }

  blocked(d: Driver): Cpu | null {
    this.#last = Math.max(this.#last, d.step);
    return this.#highest(d);
  }

  fails(): boolean {
    return this.failPercent > 0 && this.rng.below(100) < this.failPercent;
  }

  #highest(d: Driver): Cpu | null {
    let best: Cpu | null = null;
    for (const cpu of d.k.machine.engine.cpus) {
      if (!d.canRun(cpu)) continue;
      if (
        best === null || this.#priorities[cpu.id] > this.#priorities[best.id]
      ) best = cpu;
    }
    return best;
  }

  #setDue(): void {
    this.due = this.#points.length === 0 ? Infinity : this.#points.at(-1)!.at;
  }
}
