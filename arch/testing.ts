/** Bare machines for tests of the layers below the kernel. */
import { MachineContext, read_line, type Steps } from "./asm.ts";
import { CacheLine } from "./hw/line.ts";
import type { Cpu } from "./sim/cpu.ts";
import type { Engine, EngineOptions, InterruptHandler } from "./sim/engine.ts";
import { type Policy, TimedPolicy } from "./sim/policy.ts";
import { Rng } from "./sim/random.ts";
import { Machine } from "./hw/machine.ts";
import { findPreset } from "./hw/presets/index.ts";
import type { MachineSpec } from "./hw/spec.ts";

/** Time as usual, but no sections, and every CPU looks by itself. */
export class OneByOne extends TimedPolicy {}

/** A machine of the default preset, changed by `change`, with interrupts that run `onIrq`. */
export function bareMachine(
  change: Partial<MachineSpec> = {},
  options: EngineOptions = {},
  onIrq: (t: MachineContext, vector: number) => Steps<unknown> = noHandler,
): Machine {
  const preset = findPreset("opteron-2x4");
  const machine = new Machine(
    // Without jitter, so that tests can state cycles.
    { ...preset, cache: { ...preset.cache, jitterCycles: 0 }, ...change },
    1,
    options,
  );
  const interrupts: InterruptHandler = {
    context: (cpu) => new MachineContext(machine, `irq/${cpu.id}`, true),
    ended: () => {},
    start: (t, vector) => onIrq(t as MachineContext, vector)[Symbol.iterator](),
  };
  machine.engine.interrupts = interrupts;
  return machine;
}

/** Starts `program` on CPU `id` at cycle 0, interrupts on. */
export function startOn(
  machine: Machine,
  id: number,
  program: (t: MachineContext) => Steps<unknown>,
): MachineContext {
  const t = new MachineContext(machine, `test/${id}`, false);
  t.gen = program(t)[Symbol.iterator]();
  const cpu = machine.engine.cpus[id];
  machine.engine.start(cpu, t, 0);
  cpu.irqsOn = true;
  return t;
}

function* noHandler(t: MachineContext): Steps<void> {
  yield* read_line(t, new CacheLine(0));
}

/** Any CPU that is due soon, by seed: orders that exact time never gives. */
export class Jitter implements Policy {
  readonly #random: Rng;

  constructor(seed: number) {
    this.#random = new Rng(seed);
  }

  pick(engine: Engine): Cpu | null {
    const first = engine.queue.keyOf(engine.queue.first());
    if (first === Infinity) return null;
    const due = engine.cpus.filter((c) =>
      engine.queue.keyOf(c.id) < first + 20000
    );
    return due[this.#random.below(due.length)];
  }

  horizon(): number {
    return -Infinity;
  }
}
