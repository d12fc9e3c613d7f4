import { assert, assertEquals } from "@std/assert";
import { set_cpus_allowed } from "./sched/migrate.ts";
import { runKernel } from "./testing.ts";
import { in_interrupt } from "./thread.ts";
import { msleep } from "./timer.ts";
import {
  cancel_delayed_work,
  create_workqueue,
  DelayedWork,
  flush_scheduled_work,
  flush_workqueue,
  queue_work,
  queue_work_on,
  schedule_delayed_work,
  schedule_work,
  Work,
} from "./workqueue.ts";

Deno.test("work runs in a thread of the CPU that queued it, once for each time", () => {
  const { result } = runKernel({ cpus: 4 }, function* (t) {
    const wq = create_workqueue(t, "test");
    const ran: [string, number][] = [];
    const work = new Work(function* (w) {
      assert(!in_interrupt(w));
      yield* msleep(w, 1);
      ran.push([w.name, w.cpu.id]);
    });
    yield* set_cpus_allowed(t, t, [2]);
    const first = yield* queue_work(t, wq, work);
    const second = yield* queue_work(t, wq, work);
    yield* flush_workqueue(t, wq);
    yield* queue_work_on(t, 3, wq, work);
    yield* flush_workqueue(t, wq);
    return { first, second, ran };
  });
  assertEquals(result, {
    first: true,
    second: false,
    ran: [["test/2", 2], ["test/3", 3]],
  });
});

Deno.test("flush waits for work that is running and work that is queued", () => {
  const { result } = runKernel({ cpus: 2 }, function* (t) {
    const done: number[] = [];
    const works = [0, 1, 2].map((i) =>
      new Work(function* (w) {
        yield* msleep(w, 5);
        done.push(i);
      })
    );
    for (const work of works) yield* schedule_work(t, work);
    yield* msleep(t, 2);
    yield* flush_scheduled_work(t);
    return done;
  });
  assertEquals(result, [0, 1, 2]);
});

Deno.test("delayed work waits its time, and can be called off", () => {
  const { result, stopped } = runKernel({ cpus: 2 }, function* (t) {
    const ran: number[] = [];
    const start = t.k.tick.jiffies;
    const work = new DelayedWork(function* (w) {
      ran.push(w.k.tick.jiffies - start);
      yield* [];
    });
    const never = new DelayedWork(function* () {
      ran.push(-1);
      yield* [];
    });
    yield* schedule_delayed_work(t, work, 10);
    yield* schedule_delayed_work(t, never, 12);
    yield* msleep(t, 20);
    const off = yield* cancel_delayed_work(t, never);
    yield* msleep(t, 100);
    yield* flush_scheduled_work(t);
    return { ran, off };
  });
  assertEquals(result, { ran: [10], off: true });
  assertEquals(stopped, "idle");
});
