import { assert, assertEquals } from "@std/assert";
import {
  enter,
  ksym,
  leave,
  load,
  type Steps,
  store,
  vload,
  vstore,
} from "../../arch/asm.ts";
import { Cell } from "../../arch/hw/cell.ts";
import { Deadlock } from "../../arch/sim/engine.ts";
import {
  spin_lock,
  spin_unlock,
  Spinlock,
} from "../../kernel/locking/spinlock.ts";
import { vmalloc } from "../../kernel/mm/vmalloc.ts";
import { smp_call_function_single } from "../../kernel/smp.ts";
import type { Thread } from "../../kernel/thread.ts";
import { parseEvents, type ScheduleEvent } from "./event.ts";
import { ExploreMachine, type TaskFunction } from "./machine.ts";
import { Replay } from "./replay.ts";
import { StepTrace } from "./trace.ts";

const ADD_ONE = ksym("add_one");

function counterOn(m: ExploreMachine) {
  const lock = new Spinlock(m.k, "counter_lock");
  const counter = new Cell("counter", 0);
  return function* (t: Thread): Steps {
    enter(t, ADD_ONE);
    yield* spin_lock(t, lock);
    yield* store(t, counter, (yield* load(t, counter)) + 1);
    yield* spin_unlock(t, lock);
    leave(t);
  };
}

/** Replays one round and watches it. @returns The table, and what has ended the round; `null` = its end. */
function traceRound(
  m: ExploreMachine,
  functions: readonly TaskFunction[],
  events: readonly ScheduleEvent[],
): { readonly lines: readonly string[]; readonly error: unknown } {
  const trace = new StepTrace(m);
  const before = m.driver.watcher;
  m.driver.watcher = trace;
  let error: unknown = null;
  try {
    m.run(functions, new Replay(events));
  } catch (thrown) {
    error = thrown;
  }
  m.driver.watcher = before;
  return { lines: trace.lines(), error };
}

/** `lines` with runs of spaces as one: for what does not depend on columns. */
function squeezed(lines: readonly string[]): string[] {
  return lines.map((line) => line.replaceAll(/ +/g, " ").trim());
}

Deno.test("a round as a table: operations, decisions, who waits, who holds what", () => {
  const m = new ExploreMachine();
  const add = counterOn(m);
  const { lines, error } = traceRound(m, [add, add], parseEvents("3s1"));
  assertEquals(error, null);
  const gap = (n: number) => " ".repeat(n);
  assertEquals(lines, [
    `  step  CPU 0${gap(51)}CPU 1${gap(51)}Held`,
    `     0  (task/0) [interrupt RESCHEDULE]`,
    `     1  kthread: HALT`,
    `     2  add_one: TICKET_LOCK counter_lock${gap(79)}0: counter_lock`,
    `     3  add_one: LOAD counter = 0${gap(87)}0: counter_lock`,
    `     3  * CPU 1 goes on, an interrupt on its way arrives (s1)`,
    `     3  ${gap(56)}(task/1) [interrupt RESCHEDULE]${
      gap(25)
    }0: counter_lock`,
    `     4  ${gap(56)}kthread: HALT${gap(43)}0: counter_lock`,
    `        ${gap(56)}_spin_lock: ? TICKET_LOCK of counter_lock, held by${
      gap(6)
    }0: counter_lock`,
    `        ${gap(56)}  task/0 on CPU 0`,
    `     6  add_one: STORE counter = 1${gap(86)}0: counter_lock`,
    `     7  add_one: TICKET_UNLOCK counter_lock`,
    `     9  ${gap(56)}add_one: TICKET_LOCK counter_lock${
      gap(23)
    }1: counter_lock`,
    `    10  ${gap(56)}add_one: LOAD counter = 1${gap(31)}1: counter_lock`,
    `    11  ${gap(56)}add_one: STORE counter = 2${gap(30)}1: counter_lock`,
    `    12  ${gap(56)}add_one: TICKET_UNLOCK counter_lock`,
  ]);
});

Deno.test("a trace names interrupts, who gets them, TLB fills and addresses", () => {
  const m = new ExploreMachine({ params: { vmap: "rewrite" } });
  const { lines } = traceRound(m, [
    function* (t) {
      const addr = yield* vmalloc(t, 4096);
      yield* vstore(t, addr + 16, 8, 7);
      yield* vload(t, addr + 16, 8);
      yield* smp_call_function_single(t, 1, () => {}, null, true);
    },
  ], parseEvents("1t1"));
  const text = squeezed(lines).map((line) => line.replace(/^\d+ /, ""));
  const order = [
    "* tick on CPU 1 (t1)",
    "kthread: VIRT_WRITE page 0 + 0x10 (TLB fill)",
    "kthread: VIRT_READ page 0 + 0x10 = 7",
    "generic_exec_single: IPI -> CPU 1 CALL_FUNCTION_SINGLE",
    "csd_flag_wait: ? SPIN of csd.flags",
    "[interrupt CALL_FUNCTION_SINGLE]",
    "csd_flag_wait: SPIN csd.flags = 0",
  ];
  assert(
    text.includes("[interrupt timer]") ||
      text.includes("(task/1) [interrupt timer]"),
  );
  assertEquals(text.filter((line) => order.includes(line)), order);
});

Deno.test("the trace of a deadlock ends with those who wait", () => {
  const m = new ExploreMachine();
  const a = new Spinlock(m.k, "a");
  const b = new Spinlock(m.k, "b");
  const both = (first: Spinlock, second: Spinlock) =>
    function* (t: Thread): Steps {
      yield* spin_lock(t, first);
      yield* spin_lock(t, second);
    };
  const { lines, error } = traceRound(
    m,
    [both(a, b), both(b, a)],
    parseEvents("2s1"),
  );
  assert(error instanceof Deadlock);
  const text = squeezed(lines).join("\n");
  assert(text.includes("? TICKET_LOCK of a, held by task/0"), text);
  assert(text.includes("? TICKET_LOCK of b, held by task/1"), text);
  assert(text.includes("0: a; 1: b"), text);
});
