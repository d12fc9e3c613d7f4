import { assert, assertEquals } from "@std/assert";
import { kthread_join, kthread_run } from "../kthread.ts";
import { runKernel } from "../testing.ts";
import { TASK_UNINTERRUPTIBLE, type Thread } from "../thread.ts";
import { msleep } from "../timer.ts";
import { schedule } from "./sched.ts";
import {
  finish_wait,
  prepare_to_wait_exclusive,
  Wait,
  wait_event,
  wait_event_timeout,
  WaitQueue,
  waitqueue_active,
  wake_up,
  wake_up_all,
} from "./wait.ts";

Deno.test("wait_event() sleeps until the condition holds", () => {
  const { result } = runKernel({ cpus: 4 }, function* (t) {
    const wq = new WaitQueue(t.k, "test");
    let ready = false;
    const p = yield* kthread_run(t, function* (p) {
      yield* wait_event(p, wq, () => ready);
      return p.cpu.clock;
    }, "waiter");
    yield* msleep(t, 5);
    yield* wake_up(t, wq); // in vain
    yield* msleep(t, 5);
    const wchan = p.wchan;
    ready = true;
    const at = t.cpu.clock;
    yield* wake_up(t, wq);
    const woken = (yield* kthread_join(t, p)) as number;
    return { wchan, late: woken - at, active: waitqueue_active(wq) };
  });
  assertEquals(result.wchan, "test");
  assertEquals(result.active, false);
  assert(result.late > 2000 && result.late < 30_000, `${result.late} cycles`);
});

Deno.test("wake_up() wakes one exclusive waiter in order, wake_up_all() all", () => {
  const { result } = runKernel({ cpus: 8 }, function* (t) {
    const wq = new WaitQueue(t.k, "test");
    const woken: number[] = [];
    const threads: Thread[] = [];
    for (let i = 0; i < 4; i++) {
      threads.push(
        yield* kthread_run(t, function* (p) {
          const wait = new Wait(p);
          yield* prepare_to_wait_exclusive(p, wq, wait, TASK_UNINTERRUPTIBLE);
          yield* schedule(p);
          yield* finish_wait(p, wq, wait);
          woken.push(i);
        }, `w/${i}`),
      );
      yield* msleep(t, 1);
    }
    yield* wake_up(t, wq);
    yield* msleep(t, 1);
    const one = [...woken];
    yield* wake_up_all(t, wq);
    for (const p of threads) yield* kthread_join(t, p);
    return { one, all: woken.sort() };
  });
  assertEquals(result, { one: [0], all: [0, 1, 2, 3] });
});

Deno.test("wait_event_timeout() gives up after its time", () => {
  const { result } = runKernel({ cpus: 2 }, function* (t) {
    const wq = new WaitQueue(t.k, "test");
    const before = t.k.tick.jiffies;
    const left = yield* wait_event_timeout(t, wq, () => false, 10);
    return { left, waited: t.k.tick.jiffies - before };
  });
  assertEquals(result, { left: 0, waited: 10 });
});
