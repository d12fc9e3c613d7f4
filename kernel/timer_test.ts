import { assert, assertEquals } from "@std/assert";
import { ktime_get } from "./timekeeping.ts";
import { usleep } from "./hrtimer.ts";
import { runKernel, spendMs } from "./testing.ts";
import type { Thread } from "./thread.ts";
import {
  add_timer,
  add_timer_on,
  del_timer,
  mod_timer,
  msleep,
  schedule_timeout_uninterruptible,
  Timer,
} from "./timer.ts";

/** Milliseconds of virtual time now. */
function ms(t: Thread): number {
  return t.k.machine.toNs(t.cpu.clock) / 1e6;
}

Deno.test("msleep() sleeps for its time and at most two ticks more", () => {
  const { result } = runKernel({ cpus: 4 }, function* (t) {
    const slept: number[] = [];
    for (const n of [1, 10, 100, 1000]) {
      const before = ms(t);
      yield* msleep(t, n);
      slept.push(ms(t) - before - n);
    }
    return slept;
  });
  for (const over of result) {
    assert(over >= 0 && over <= 8.1, `${over} ms over`);
  }
});

Deno.test("usleep() is exact to the interrupt's cost", () => {
  const { result } = runKernel({ cpus: 2 }, function* (t) {
    const over: number[] = [];
    for (const us of [20, 300, 12_345]) {
      const before = ms(t);
      yield* usleep(t, us);
      over.push((ms(t) - before) * 1000 - us);
    }
    return over;
  });
  for (const over of result) assert(over >= 0 && over < 60, `${over} us over`);
});

Deno.test("timers fire in the order of their jiffies, once, on their CPU", () => {
  const { result } = runKernel({ cpus: 4 }, function* (t) {
    const fired: [number, number, number][] = [];
    const start = t.k.tick.jiffies;
    const make = (id: number) =>
      new Timer(function* (irq) {
        fired.push([id, irq.k.tick.jiffies - start, irq.cpu.id]);
        yield* [];
      });
    const timers = [0, 1, 2, 3].map(make);
    yield* mod_timer(t, timers[0], start + 30);
    yield* mod_timer(t, timers[1], start + 10);
    timers[2].expires = start + 20;
    yield* add_timer_on(t, timers[2], 3);
    timers[3].expires = start + 25;
    yield* add_timer(t, timers[3]);
    yield* mod_timer(t, timers[0], start + 5);
    const was = yield* del_timer(t, timers[3]);
    const again = yield* del_timer(t, timers[3]);
    yield* schedule_timeout_uninterruptible(t, 50);
    return { fired, was, again, here: t.cpu.id };
  });
  assertEquals(result.was, true);
  assertEquals(result.again, false);
  assertEquals(result.fired, [[0, 5, 0], [1, 10, 0], [2, 20, 3]]);
});

Deno.test("jiffies keep up with time, busy or idle", () => {
  const { result } = runKernel({ cpus: 2 }, function* (t) {
    const { tick } = t.k;
    const drift: number[] = [];
    const check = () =>
      drift.push(
        (t.cpu.clock - tick.last_jiffies_update) / tick.periodCycles,
      );
    yield* msleep(t, 200);
    check();
    for (let i = 0; i < 200; i++) {
      yield* spendMs(t, 1);
    }
    check();
    const before = tick.jiffies;
    yield* msleep(t, 2000);
    check();
    return { drift, ticks: tick.jiffies - before };
  });
  for (const d of result.drift) assert(d >= 0 && d < 1.6, `${d} ticks behind`);
  assert(result.ticks >= 500 && result.ticks <= 503, `${result.ticks} ticks`);
});

Deno.test("ktime_get() never goes back on one CPU", () => {
  runKernel({ cpus: 1 }, function* (t) {
    let last = 0;
    for (let i = 0; i < 100; i++) {
      const now = yield* ktime_get(t);
      assert(now > last);
      last = now;
    }
  });
});
