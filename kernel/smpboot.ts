/**
 * Bringing CPUs up (arch/x86/kernel/smpboot.c, kernel/cpu.c).
 *
 * On ia64 CPUs wait in firmware for one interrupt (arch/ia64/kernel/smpboot.c).
 *
 * Differs from Linux: of the startup sequence only its waits and its handshake
 * are kept: INIT, 10 ms, two startup messages, then the new CPU says that it is
 * there. No delay-loop calibration and no clock synchronisation on the new CPU.
 */
import {
  charge,
  charge_cycles,
  enter,
  ksym,
  leave,
  local_irq_enable,
  read_line,
  spin_until,
  type Steps,
  WRITE_ONCE,
} from "../arch/asm.ts";
import { Cell } from "../arch/hw/cell.ts";
import { CpuState } from "../arch/sim/cpu.ts";
import { BUG_ON } from "./bug.ts";
import { EINVAL, err, type Errno } from "./lib/errno.ts";
import { fork_thread } from "./kthread.ts";
import { KERN_INFO, printk } from "./printk.ts";
import { cpu_idle } from "./sched/idle.ts";
import { init_idle, set_rq_online, this_rq } from "./sched/sched.ts";
import type { Thread } from "./thread.ts";
import { tick_setup_sched_timer } from "./tick.ts";

const NATIVE_CPU_UP = ksym("native_cpu_up");
const START_SECONDARY = ksym("start_secondary");
const __DELAY = ksym("__delay");
const IA64_SN_UDELAY = ksym("ia64_sn_udelay");
const DO_BOOT_CPU = ksym("do_boot_cpu");
const SMP_INIT = ksym("smp_init");
const SETUP_SECONDARY_CLOCK = ksym("setup_secondary_clock");

/** Longest stretch of a delay loop that no interrupt can end, microseconds. */
const DELAY_CHUNK_US = 100;
/** Between the INIT message's two halves, microseconds. */
const INIT_DELAY_US = 10_000;
/** After each startup message, microseconds. */
const STARTUP_DELAY_US = 300;
/** Start of a new CPU's code, real mode to long mode, microseconds. (ia64: out of SAL's rendezvous.) */
const TRAMPOLINE_US = 50;
/** Between looks for a new CPU of ia64, microseconds. */
const CALLIN_POLL_US = 100;

/** Spins for `us` microseconds. Context: any. */
export function* udelay(t: Thread, us: number): Steps {
  enter(t, t.k.arch === "ia64" ? IA64_SN_UDELAY : __DELAY);
  // Not cpu_relax(): that would park on whatever was loaded before.
  const { line } = this_rq(t).lock.slock;
  for (let left = us; left > 0; left -= DELAY_CHUNK_US) {
    const chunk = Math.min(left, DELAY_CHUNK_US);
    charge_cycles(t, t.k.machine.toCycles(chunk * 1000));
    yield* read_line(t, line); // interrupts come in here
  }
  leave(t);
}

/**
 * Starts CPU number `cpu`, and waits until it is online.
 *
 * Context: process, interrupts on.
 *
 * @returns 0, or -EINVAL if it is not present or online already.
 */
export function* cpu_up(t: Thread, cpu: number): Steps<0 | Errno> {
  const { k } = t;
  const ia64 = k.arch === "ia64";
  enter(t, ia64 ? DO_BOOT_CPU : NATIVE_CPU_UP);
  charge(t, 500);
  if (!k.cpu_present.has(cpu) || k.cpu_online.has(cpu)) {
    leave(t);
    return err(EINVAL);
  }
  const target = k.machine.engine.cpus[cpu];
  BUG_ON(t, target.state !== CpuState.OFFLINE, `CPU ${cpu} runs already`);
  const callin = new Cell("cpu_callin_map", 0);
  const idle = fork_thread(t, "swapper");
  idle.stack[0] = START_SECONDARY;
  init_idle(idle, cpu);
  idle.gen = start_secondary(idle, callin)[Symbol.iterator]();
  if (!ia64) yield* udelay(t, INIT_DELAY_US);
  const at = t.cpu.clock + k.machine.toCycles(TRAMPOLINE_US * 1000);
  k.machine.engine.start(target, idle, at);
  k.sanitizers?.cpuStarted(t, cpu);
  yield* udelay(t, ia64 ? CALLIN_POLL_US : STARTUP_DELAY_US);
  yield* spin_until(t, callin, 1, 1);
  leave(t);
  return 0;
}

/** A new CPU's first kernel code. */
function* start_secondary(t: Thread, callin: Cell<number>): Steps<never> {
  charge(t, 3000); // cpu_init(), fpu, local APIC
  const cpu = t.cpu.id;
  set_rq_online(t, cpu);
  t.k.cpu_online.set(cpu);
  enter(t, SETUP_SECONDARY_CLOCK);
  yield* tick_setup_sched_timer(t);
  leave(t);
  yield* WRITE_ONCE(t, callin, 1);
  local_irq_enable(t);
  return yield* cpu_idle(t);
}

/** Starts this CPU's own tick: the boot CPU's part of smp_prepare_cpus(). */
export function* setup_boot_clock(t: Thread): Steps {
  yield* tick_setup_sched_timer(t);
}

/** Brings every present CPU up. Context: process. */
export function* smp_init(t: Thread): Steps {
  enter(t, SMP_INIT);
  const { k } = t;
  for (const cpu of k.cpu_present.list) {
    if (k.cpu_online.has(cpu)) continue;
    // ia64 says nothing unless it fails.
    if (k.arch === "x86") {
      printk(
        t,
        KERN_INFO,
        `Booting processor ${cpu} APIC 0x${cpu.toString(16)} ip 0x6000`,
      );
    }
    yield* cpu_up(t, cpu);
  }
  printk(t, KERN_INFO, `Brought up ${k.cpu_online.weight} CPUs`);
  leave(t);
}
