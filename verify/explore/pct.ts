/**
 * Probabilistic concurrency testing (Burckhardt, Kothari, Musuvathi and
 * Nagarakatte, "A randomized scheduler with probabilistic guarantees of finding
 * bugs", ASPLOS 2010): CPUs have random priorities, the highest that can run
 * does, at every operation; at `depth - 1` random operations the one that runs
 * falls below all that have not fallen.
 *
 * A bug that takes `depth` ordering constraints is found with a probability of
 * at least 1 / (cpus * steps ^ (depth - 1)) in each round without extras, if
 * `steps` is no less than the operations that the round takes, and if it is a
 * matter of who runs when. It does not hold for a bug that takes an interrupt at
 * a certain place: one that is on its way to a CPU arrives when that CPU goes on
 * after others, or has halted, so that most places are never tried.
 *
 * Differs: the number of operations of a round, which the method wants to know,
 * is the one of the longest of the last rounds, and may be too low. Extras, up
 * to four a round and most often some, are what bugs take beside an order: ticks,
 * interrupts held back, migrations, TLB fills and evictions. A CPU that an extra
 * has let go on is in the place of the highest until priorities are asked next.
 */
import type { Cpu } from "../../arch/sim/cpu.ts";
import type { Rng } from "../../arch/sim/random.ts";
import type { Chooser } from "./chooser.ts";
import type { Driver } from "./driver.ts";
import { canRun } from "./moves.ts";

/** Extras: what happens at a point that changes no priority. */
const TICK = 0;
const MIGRATE = 1;
const FILL = 2;
const HOLD = 3;
const EVICT = 4;
/** Such points in a round, at most. */
const EXTRAS = 4;
/** Operations that the first round is taken to have, and that any is, at least. */
const FIRST_LENGTH = 200;
const LEAST_LENGTH = 20;

interface Point {
  readonly at: number;
  /** One of the above; -1 = a change of priority. */
  readonly what: number;
  /** Of a change: the new priority. */
  readonly priority: number;
}

/** See the file's head. */
export class Pct implements Chooser {
  due = Infinity;
  #length = FIRST_LENGTH;
  #last = 0;
  /** Latest first. */
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
    this.#length = Math.max(
      this.#last,
      Math.floor(this.#length * 0.9),
      LEAST_LENGTH,
    );
    this.#last = 0;
    this.#priorities = d.k.machine.engine.cpus.map((_, i) => i + 1);
    rng.shuffle(this.#priorities);
    this.#points = [];
    // Each has a priority of its own, in any order in time.
    for (let i = 1; i < this.depth; i++) this.#add(-1, -i);
    for (let n = rng.below(EXTRAS + 1); n > 0; n--) {
      this.#add(rng.below(EVICT + 1), 0);
    }
    this.#points.sort((a, b) => b.at - a.at);
    this.#setDue();
  }

  decide(d: Driver): void {
    const { rng } = this;
    this.#last = Math.max(this.#last, d.step);
    const { what, priority } = this.#points.pop()!;
    this.#setDue();
    if (what < 0) {
      this.#priorities[d.current!.id] = priority;
      const first = this.#highest(d);
      if (first !== null && first !== d.current) d.run(first);
      return;
    }
    const { cpus } = d.k.machine.engine;
    const cpu = cpus[rng.below(cpus.length)];
    if (what === TICK) d.tick(cpu);
    else if (what === MIGRATE) d.migrate(d.current!, cpu);
    else if (what === HOLD) d.hold(cpu);
    else {
      const { start, end, page_size } = d.k.vmalloc;
      const page = rng.below((end - start) / page_size);
      if (what === FILL) d.fill(cpu, page);
      else if (what === EVICT) d.evict(cpu, page);
    }
  }

  blocked(d: Driver): Cpu | null {
    this.#last = Math.max(this.#last, d.step);
    return this.#highest(d);
  }

  prefers(d: Driver): Cpu | null {
    return this.#highest(d);
  }

  fails(): boolean {
    return this.failPercent > 0 && this.rng.below(100) < this.failPercent;
  }

  #add(what: number, priority: number): void {
    const at = this.rng.below(this.#length);
    this.#points.push({ at, what, priority });
  }

  #highest(d: Driver): Cpu | null {
    const { cpus } = d.k.machine.engine;
    const priorities = this.#priorities;
    let best: Cpu | null = null;
    for (let i = 0; i < cpus.length; i++) {
      if (best !== null && priorities[i] < priorities[best.id]) continue;
      if (canRun(cpus[i])) best = cpus[i];
    }
    return best;
  }

  #setDue(): void {
    this.due = this.#points.length === 0 ? Infinity : this.#points.at(-1)!.at;
  }
}
