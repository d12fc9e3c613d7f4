/**
 * The boot of the explorer's machine (machine.ts): the kernel is brought up as
 * far as the vmap layer needs it, in the order of init/main.c.
 *
 * Differs from boot/start_kernel.ts: no devices, no clock sources, no processes;
 * the other CPUs are up at once; each CPU gets a task.
 */
import { local_irq_enable, type Steps } from "../../arch/asm.ts";
import { bring_up_core, bring_up_memory } from "../../kernel/bring_up.ts";
import {
  fork_thread,
  kthread_bind,
  kthread_create,
} from "../../kernel/kthread.ts";
import { sanitize } from "../../kernel/sanitizers/index.ts";
import { cpu_idle } from "../../kernel/sched/idle.ts";
import { init_idle, set_rq_online } from "../../kernel/sched/sched.ts";
import { wake_up_process } from "../../kernel/sched/wakeup.ts";
import type { Thread } from "../../kernel/thread.ts";
import type { ExploreOptions } from "./machine.ts";

/**
 * What CPU 0 does from power-on, for ever.
 *
 * @param task What the task of each CPU does.
 * @param tasks The tasks are added here, by CPU.
 */
export function* startKernel(
  t: Thread,
  options: ExploreOptions,
  task: (p: Thread) => Steps<never>,
  tasks: Thread[],
): Steps {
  const { k } = t;
  bring_up_core(t);
  const { pages = 64, layers, sanitize: names, early } = options;
  const before = (t: Thread) => {
    if (names !== undefined) sanitize(k, names);
    return early?.(t);
  };
  yield* bring_up_memory(t, { pages, layers, before });
  yield* startCpus(t, task, tasks);
  local_irq_enable(t);
  yield* cpu_idle(t);
}

/** Brings the other CPUs up, without the time that this takes; each gets its task. */
function* startCpus(
  t: Thread,
  task: (p: Thread) => Steps<never>,
  tasks: Thread[],
): Steps {
  const { k } = t;
  const { engine } = k.machine;
  for (const cpu of engine.cpus) {
    if (cpu.id === 0) continue;
    const idle = fork_thread(t, "swapper");
    init_idle(idle, cpu.id);
    set_rq_online(t, cpu.id);
    k.cpu_online.set(cpu.id);
    idle.gen = idleLoop(idle)[Symbol.iterator]();
  }
  for (const cpu of engine.cpus) {
    const p = yield* kthread_create(t, task, `task/${cpu.id}`);
    kthread_bind(p, cpu.id);
    yield* wake_up_process(t, p);
    tasks.push(p);
  }
  for (const { id } of engine.cpus) {
    const { idle } = k.sched.rqs[id];
    if (id === 0) continue;
    engine.start(engine.cpus[id], idle, t.cpu.clock);
    k.sanitizers?.cpuStarted(t, id);
  }
}

function* idleLoop(t: Thread): Steps<never> {
  local_irq_enable(t);
  return yield* cpu_idle(t);
}
