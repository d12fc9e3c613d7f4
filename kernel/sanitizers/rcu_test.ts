import { assertEquals, assertThrows } from "@std/assert";
import { charge_cycles, read_line, type Steps } from "../../arch/asm.ts";
import { CacheLine } from "../../arch/hw/line.ts";
import { kthread_join, kthread_run } from "../kthread.ts";
import { list_add, list_del_init, ListHead } from "../lib/list.ts";
import { spin_lock, spin_unlock, Spinlock } from "../locking/spinlock.ts";
import {
  PAGE_SIZE,
  PROT,
  runVm,
  take_pages,
  type VmOptions,
} from "../mm/vm_testing.ts";
import {
  vfree,
  vm_map_ram,
  vm_unmap_aliases,
  vm_unmap_ram,
  vmalloc,
} from "../mm/vmalloc.ts";
import {
  call_rcu,
  rcu_barrier,
  rcu_read_lock,
  rcu_read_unlock,
  RcuHead,
} from "../rcu.ts";
import { cond_resched, schedule } from "../sched/sched.ts";
import { smp_call_function_single } from "../smp.ts";
import {
  __raise_softirq_irqoff,
  local_bh_disable,
  local_bh_enable,
  RCU_SOFTIRQ,
} from "../softirq.ts";
import { type KernelRun, spend } from "../testing.ts";
import type { Thread } from "../thread.ts";
import { runUnder } from "./found_testing.ts";
import { SanitizerReport } from "./report.ts";

/** Runs `main` with the rcu sanitizer on. */
function run<T>(
  main: (t: Thread) => Steps<T>,
  options: VmOptions = {},
): KernelRun<T> {
  return runUnder("rcu", main, options);
}

/** What the sanitizer says of `main`: headline, and titles of sections. */
function report(
  main: (t: Thread) => Steps<unknown>,
  options: VmOptions = {},
): string[] {
  const { headline, sections } = assertThrows(
    () => run(main, options),
    SanitizerReport,
  );
  return [headline, ...sections.map(({ title }) => title.split(" at ")[0])];
}

/** Ends the grace period of this CPU's callbacks here and now, whoever reads. */
function* end_grace_period_early(t: Thread): Steps {
  const rdp = t.k.rcu.data.get(t.cpu.id);
  local_bh_disable(t);
  rdp.done.take(rdp.nxt);
  __raise_softirq_irqoff(t, RCU_SOFTIRQ);
  yield* local_bh_enable(t);
}

function* reader(t: Thread): Steps {
  const line = new CacheLine(0);
  rcu_read_lock(t);
  for (let i = 0; i < 100; i++) {
    charge_cycles(t, 100_000);
    yield* read_line(t, line);
  }
  rcu_read_unlock(t);
}

Deno.test("a callback that is called while an earlier reader runs: grace period too short", () => {
  const found = report(function* (t) {
    const p = yield* kthread_run(t, reader, "reader");
    while (p.rcu_read_depth === 0) yield* spend(t, 1000);
    yield* call_rcu(t, new RcuHead(null), () => {});
    yield* end_grace_period_early(t);
  }, { cpus: 2 });
  assertEquals(found, [
    "BUG: RCU: grace period too short: an earlier reader still runs in kthread",
    "section begun by reader:2 on CPU 1",
    "call_rcu() by init:1 on CPU 0",
  ]);
});

Deno.test("a reader that began after call_rcu() may outlast the callback", () => {
  const { result } = run(function* (t) {
    let called = 0;
    yield* call_rcu(t, new RcuHead(null), () => void called++);
    const p = yield* kthread_run(t, reader, "reader");
    while (p.rcu_read_depth === 0) yield* spend(t, 1000);
    yield* end_grace_period_early(t);
    const during = p.rcu_read_depth;
    yield* kthread_join(t, p);
    return [called, during];
  }, { cpus: 2 });
  assertEquals(result, [1, 1]);
});

Deno.test("call_rcu() of a head that waits already", () => {
  const found = report(function* (t) {
    const head = new RcuHead(null);
    yield* call_rcu(t, head, () => {});
    yield* rcu_barrier(t);
    yield* call_rcu(t, head, () => {}); // it has been called
    yield* call_rcu(t, head, () => {});
  });
  assertEquals(found, [
    "BUG: RCU: call_rcu() of a head that waits already in call_rcu",
    "first call_rcu() by init:1 on CPU 0",
  ]);
});

Deno.test("rcu_read_unlock() without rcu_read_lock()", () => {
  // deno-lint-ignore require-yield -- a thread's function
  const found = report(function* (t) {
    rcu_read_lock(t);
    rcu_read_lock(t); // nests
    rcu_read_unlock(t);
    rcu_read_unlock(t);
    rcu_read_unlock(t);
  });
  assertEquals(found, [
    "BUG: RCU: rcu_read_unlock() without rcu_read_lock() in kthread",
  ]);
});

Deno.test("schedule() and a thread's end in a read-side section", () => {
  const section = "section begun by init:1 on CPU 0";
  const scheduled = report(function* (t) {
    rcu_read_lock(t);
    yield* cond_resched(t); // does nothing with preemption off
    yield* schedule(t);
  });
  assertEquals(scheduled, [
    "BUG: RCU: schedule() in an RCU read-side section in kthread",
    section,
  ]);
  // deno-lint-ignore require-yield -- a thread's function
  const ended = report(function* (t) {
    rcu_read_lock(t);
  });
  assertEquals(ended, [
    "BUG: RCU: thread ended in an RCU read-side section in kthread",
    section,
  ]);
});

Deno.test("an interrupt handler that ends in a read-side section", () => {
  const found = report(function* (t) {
    const other = 1 - t.cpu.id;
    for (let i = 0; i < 2; i++) {
      yield* smp_call_function_single(t, other, rcu_read_lock, null, true);
    }
  }, { cpus: 2 });
  assertEquals(
    found[0].replace(/ in \w+$/, ""),
    "BUG: RCU: interrupt handler ended in an RCU read-side section",
  );
});

/** An element of a list that is walked under RCU, with a lock of its own. */
class Item {
  readonly link: ListHead<Item> = new ListHead<Item>(this);
  readonly line: CacheLine = new CacheLine(0);
  readonly lock: Spinlock;

  constructor(t: Thread) {
    this.lock = new Spinlock(t.k, "item");
  }
}

function* walk(t: Thread, list: ListHead<Item>, locks: boolean): Steps {
  rcu_read_lock(t);
  for (let p = list.next; p !== list; p = p.next) {
    const { line, lock } = p.owner!;
    if (!locks) yield* read_line(t, line);
    else {
      yield* spin_lock(t, lock);
      yield* spin_unlock(t, lock);
    }
    yield* spend(t, 100_000);
  }
  rcu_read_unlock(t);
}

for (const locks of [false, true]) {
  const how = locks ? "takes locks" : "reads lines";
  Deno.test(`unlink with reinit under a reader who ${how}: endless walk`, () => {
    const found = report(function* (t) {
      const list = new ListHead<Item>();
      const item = new Item(t);
      list_add(item.link, list);
      const p = yield* kthread_run(t, (p) => walk(p, list, locks), "reader");
      while (p.rcu_read_depth === 0) yield* spend(t, 100);
      list_del_init(item.link); // list_del_rcu() would let the reader go on
      yield* kthread_join(t, p);
    }, { cpus: 2 });
    assertEquals(found, [
      "BUG: RCU: endless walk in an RCU read-side section in kthread",
      "section begun by reader:2 on CPU 1",
    ]);
  });
}

Deno.test("walks of many areas and blocks are no endless walks", () => {
  const params = { vmap_max_alloc: 1, vmap_space: 0 }; // blocks of two pages
  const { result } = run(function* (t) {
    const pages = yield* take_pages(t, 1);
    const areas: number[] = [];
    for (let i = 0; i < 600; i++) areas.push(yield* vmalloc(t, PAGE_SIZE));
    for (let i = 0; i < 600; i++) {
      const addr = yield* vm_map_ram(t, pages, 1, -1, PROT);
      if (i % 2 === 0) yield* vm_unmap_ram(t, addr, 1);
    }
    for (const addr of areas) yield* vfree(t, addr);
    yield* vm_unmap_aliases(t);
    return t.k.vmap.counters().purges;
  }, { params });
  assertEquals(result > 0, true);
});

Deno.test("CPUs at work: nothing found, and the same clocks as without", () => {
  const churn = function* (t: Thread): Steps {
    const pages = yield* take_pages(t, 4);
    for (let i = 0; i < 40; i++) {
      const a = yield* vmalloc(t, (1 + i % 4) * PAGE_SIZE);
      const b = yield* vm_map_ram(t, pages, 1 + i % 4, -1, PROT);
      if (b !== 0) yield* vm_unmap_ram(t, b, 1 + i % 4);
      yield* vfree(t, a);
    }
  };
  const main = function* (t: Thread): Steps<number> {
    const threads: Thread[] = [];
    for (let i = 0; i < 3; i++) threads.push(yield* kthread_run(t, churn, "c"));
    for (const p of threads) yield* kthread_join(t, p);
    yield* rcu_barrier(t);
    return t.k.rcu.invoked;
  };
  const options = { cpus: 3, pages: 512, params: { lazy_max: 8 } };
  const off = runVm(options, main);
  const on = run(main, options);
  assertEquals([on.clocks, on.result], [off.clocks, off.result]);
});
