/**
 * A driver of one's own, as an initcall: a timer interrupt puts samples into a
 * ring buffer in vmalloc space, and a kernel thread sleeps until there is one.
 *
 *     deno run examples/driver.ts
 */
import {
  boot,
  del_timer_sync,
  KERN_INFO,
  kthread_join,
  kthread_run,
  mod_timer,
  printk,
  type Steps,
  type Thread,
  Timer,
  vfree,
  vload,
  vmalloc,
  vstore,
  wait_event,
  WaitQueue,
  wake_up,
} from "../mod.ts";

const [SLOTS, SAMPLES] = [512, 2000];

class Ring {
  addr = 0; // of the buffer, a page of 8 bytes a slot
  written = 0; // samples so far; the interrupt's to change
  waiting!: WaitQueue;
  reader!: Thread;
  readonly timer: Timer = new Timer((t) => ring_interrupt(t, this));
}

/** The device: a sample, a wake-up, and the next interrupt. Context: softirq. */
function* ring_interrupt(t: Thread, ring: Ring): Steps {
  const slot = ring.addr + (ring.written % SLOTS) * 8;
  yield* vstore(t, slot, 8, t.k.tick.jiffies);
  ring.written++; // after the store: whoever sees it reads the slot
  yield* wake_up(t, ring.waiting);
  yield* mod_timer(t, ring.timer, t.k.tick.jiffies + 2);
}

/** The thread. @returns How many samples came two ticks after the one before. */
function* ring_reader(t: Thread, ring: Ring): Steps<number> {
  let [onTime, last] = [0, 0];
  for (let read = 0; read < SAMPLES; read++) {
    yield* wait_event(t, ring.waiting, () => ring.written > read);
    const sample = yield* vload(t, ring.addr + (read % SLOTS) * 8, 8);
    if (sample === last + 2) onTime++;
    last = sample;
  }
  return onTime;
}

function* ring_init(t: Thread, ring: Ring): Steps {
  ring.waiting = new WaitQueue(t.k, "ring");
  ring.addr = yield* vmalloc(t, SLOTS * 8);
  ring.reader = yield* kthread_run(t, (p) => ring_reader(p, ring), "ring");
  yield* mod_timer(t, ring.timer, t.k.tick.jiffies + 2);
}

/** @returns The lines to print. */
export function main(): string[] {
  const ring = new Ring();
  const fn = (t: Thread) => ring_init(t, ring);
  const machine = boot({ initcalls: [{ name: "ring_init", fn }] });
  machine.run(function* (t) {
    const onTime = yield* kthread_join(t, ring.reader);
    yield* del_timer_sync(t, ring.timer);
    yield* vfree(t, ring.addr);
    printk(t, KERN_INFO, `ring: ${onTime} of ${SAMPLES} samples on time`);
  });
  return machine.dmesg().slice(-1);
}

if (import.meta.main) console.log(main().join("\n"));
