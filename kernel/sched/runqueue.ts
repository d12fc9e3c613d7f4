/**
 * Runqueues: which threads want a CPU, and which one has it (kernel/sched.c).
 *
 * Lock order:
 *
 *     WaitQueue.lock, Mutex.wait_lock
 *       Runqueue.lock (two at a time: never; a thread that moves is on neither)
 *
 * Differs from Linux: threads of one queue are equals that take turns (2.6.28's
 * CFS orders them by virtual run time, kept in a tree); there are no priorities
 * and no load balancing of threads that run already.
 */
import type { Cpu } from "../../arch/sim/cpu.ts";
import { CacheLine } from "../../arch/hw/line.ts";
import {
  list_add_tail,
  list_del_init,
  list_empty,
  list_first_entry,
  ListHead,
} from "../lib/list.ts";
import { lockdep_assert_held, Spinlock } from "../locking/spinlock.ts";
import type { Kernel } from "../kernel.ts";
import type { Thread } from "../thread.ts";

/** CPUs that share a socket, or sockets that share a node: what placement compares. */
export class SchedGroup {
  /** Threads that run or want to, on all of the group's CPUs. */
  nr_running = 0;
  /** Online CPUs. */
  nr_cpus = 0;
  /** Sockets of a node, in order. Fixed after init. */
  readonly children: SchedGroup[] = [];
  /** Runqueues of a socket's online CPUs, in order of coming online. */
  readonly rqs: Runqueue[] = [];

  declare readonly id: number;
  /** The node of a socket. */
  declare readonly parent: SchedGroup | null;

  constructor(id: number, parent: SchedGroup | null) {
    this.id = id;
    this.parent = parent;
  }

  /** Threads a CPU; `Infinity` = nobody is online. */
  get load(): number {
    return this.nr_cpus === 0 ? Infinity : this.nr_running / this.nr_cpus;
  }
}

/** One CPU's queue. */
export class Runqueue {
  declare readonly cpu: number;
  declare readonly lock: Spinlock;
  /** The idle thread; set when the CPU is brought up. */
  declare idle: Thread;
  /** Whether the CPU is online. */
  online = false;

  // Guarded by lock.
  /** Runnable threads that do not run, in the order of their turns. */
  readonly queue: ListHead<Thread> = new ListHead<Thread>();
  /** Threads queued, and the one that runs unless it is the idle thread. */
  nr_running = 0;
  /** Who runs. */
  declare curr: Thread;
  /** Context switches so far. */
  nr_switches = 0;
  /** Who ran before: for finish_task_switch(). */
  prev: Thread | null = null;
  /** `prev`, if it may run here no more and must be put elsewhere. */
  moving: Thread | null = null;

  // Written under lock or by the CPU itself, read by the CPU without.
  /** TIF_NEED_RESCHED of whoever runs. */
  need_resched = false;
  /** TS_POLLING of the idle thread: it looks at need_resched by itself. */
  polling = true;
  /** Ticks that remain of curr's turn. */
  slice = 0;

  declare readonly socket: SchedGroup;

  constructor(k: Kernel, cpu: Cpu, socket: SchedGroup) {
    this.socket = socket;
    this.cpu = cpu.id;
    this.lock = new Spinlock(k, "rq->lock", new CacheLine(cpu.node));
  }

  /** Whether nobody runs and nobody waits: an unlocked look. */
  get is_idle(): boolean {
    return this.nr_running === 0 && this.curr === this.idle;
  }
}

function account(rq: Runqueue, by: 1 | -1): void {
  rq.nr_running += by;
  rq.socket.nr_running += by;
  rq.socket.parent!.nr_running += by;
}

/** Queues `p`, which has become runnable. Locks: rq.lock held. */
export function activate_task(t: Thread, rq: Runqueue, p: Thread): void {
  lockdep_assert_held(t, rq.lock);
  p.on_rq = true;
  list_add_tail(p.run_list, rq.queue);
  account(rq, 1);
}

/** Takes off `p`, queued or running. Locks: rq.lock held. */
export function deactivate_task(t: Thread, rq: Runqueue, p: Thread): void {
  lockdep_assert_held(t, rq.lock);
  p.on_rq = false;
  list_del_init(p.run_list);
  account(rq, -1);
}

/** Puts `p`, which goes on wanting the CPU, behind the others. Locks: rq.lock held. */
export function put_prev_task(t: Thread, rq: Runqueue, p: Thread): void {
  lockdep_assert_held(t, rq.lock);
  list_add_tail(p.run_list, rq.queue);
}

/** Whose turn is next. Locks: rq.lock held. */
export function pick_next_task(t: Thread, rq: Runqueue): Thread {
  lockdep_assert_held(t, rq.lock);
  if (list_empty(rq.queue)) return rq.idle;
  const next = list_first_entry(rq.queue);
  list_del_init(next.run_list);
  return next;
}
