/**
 * rest_init() and kernel_init() (init/main.c): from one CPU with one thread to
 * all CPUs, initcalls, and pid 1, which then does what the host asks of it.
 */
import {
  call_host,
  charge,
  enter,
  ksym,
  leave,
  type Steps,
} from "../arch/asm.ts";
import { kthread_run } from "../kernel/kthread.ts";
import { KERN_INFO, printk } from "../kernel/printk.ts";
import { cpu_idle } from "../kernel/sched/idle.ts";
import { schedule } from "../kernel/sched/sched.ts";
import { setup_boot_clock, smp_init } from "../kernel/smpboot.ts";
import { smp_call_init } from "../kernel/smp.ts";
import {
  preempt_disable,
  preempt_enable,
  type Thread,
} from "../kernel/thread.ts";
import { init_workqueues } from "../kernel/workqueue.ts";
import { free_initmem } from "./free_initmem.ts";
import { HostDoor } from "./host_door.ts";
import { type BootStep, nothing, runSteps, step } from "./step.ts";

const REST_INIT = ksym("rest_init");
const KERNEL_INIT = ksym("kernel_init");

/** The steps of kernel_init() and do_basic_setup(). */
export const KERNEL_INIT_STEPS: readonly BootStep[] = [
  nothing("lock_kernel", "no big kernel lock"),
  step("smp_prepare_cpus", ["tick"], setup_boot_clock),
  step("do_pre_smp_initcalls", ["irq"], smp_call_init),
  step("smp_init", ["sched", "smp", "tick"], smp_init),
  nothing("sched_init_smp", "domains follow the machine's topology"),
  nothing("cpuset_init_smp", "no control groups in the model"),
  nothing("rcu_init_sched", "classic RCU is up"),
  step("init_workqueues", ["sched", "slab"], init_workqueues),
  nothing("usermodehelper_init", "no user mode"),
  nothing("driver_init", "no device model"),
  nothing("init_irq_proc", "no /proc: BootedMachine has counters"),
  step("do_initcalls", ["workqueues"], do_initcalls),
  nothing("prepare_namespace", "no root file system"),
  step("free_initmem", ["pages"], free_initmem),
  nothing("mark_rodata_ro", "the mixed run calls it, on its stand-in for text"),
];

/** Starts pid 1 and turns the boot thread into CPU 0's idle thread. Does not return. */
export function* rest_init(t: Thread): Steps {
  enter(t, REST_INIT);
  charge(t, 60);
  yield* kthread_run(t, kernel_init, "init");
  preempt_enable(t); // it counts as an idle thread until now
  yield* schedule(t);
  preempt_disable(t);
  leave(t);
  yield* cpu_idle(t);
}

function* do_initcalls(t: Thread): Steps {
  for (const { name, fn } of HostDoor.of(t.k).initcalls) {
    enter(t, ksym(name));
    const before = t.preempt_count;
    yield* fn(t);
    if (t.preempt_count !== before) {
      t.k.printk.warn(t, `initcall ${name} returned with preemption imbalance`);
      t.preempt_count = before;
    }
    leave(t);
  }
}

/** Pid 1: brings the other CPUs up, runs the initcalls, then serves the host. */
function* kernel_init(t: Thread): Steps {
  enter(t, KERNEL_INIT);
  yield* runSteps(t, KERNEL_INIT_STEPS);
  printk(
    t,
    KERN_INFO,
    `Boot complete: ${t.k.cpu_online.weight} CPUs, vmap=${t.k.vmap.name}`,
  );
  t.k.faults.arm();
  const door = HostDoor.of(t.k);
  door.booted = true;
  for (;;) {
    yield* call_host(t);
    const job = door.take();
    if (job === null) continue;
    job.result = yield* job.fn(t);
    job.done = true;
  }
}
