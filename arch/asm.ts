/**
 * The door from kernel to hardware: all time and all sharing go through it.
 * (What goes past it is set-up: root tables, starting CPUs; and page-table
 * words inside a `PteRun`, which this file orders and charges.)
 *
 * Functions that return {@linkcode Steps} are *operations on shared state*: they
 * happen in the order of virtual time, and other CPUs may run before them. Use
 * them as `yield* load(t, cell)`. Plain functions touch the running CPU alone:
 * they charge time and nobody else runs.
 *
 * What need not wait, a data access that may run ahead or a free lock in one's
 * turn, happens in the call already; anything else becomes an operation of
 * op.ts. Functions called `..._now` are the first alone, for sections: see
 * {@linkcode may_run_section}.
 *
 * A context has one operation under way at a time: starting a second one is a
 * missing `yield*` and throws. Under a policy that asks at every operation, as
 * schedule explorers do, none happens in the call, so every missing `yield*`
 * shows there.
 */
import { DONE } from "./sim/ready.ts";
import type { Steps } from "./sim/steps.ts";
import type { Cell } from "./hw/cell.ts";
import type { CacheLine } from "./hw/line.ts";
import { TICKET_MASK, TICKET_SHIFT } from "./hw/ticket.ts";
import {
  type MachineContext,
  OpKind,
  type PteRun,
  type TicketLock,
} from "./op.ts";

export {
  MachineContext,
  Op,
  OpKind,
  type PteRun,
  type TicketLock,
} from "./op.ts";
export { enter, leave } from "./sim/context.ts";
export type { Steps } from "./sim/steps.ts";
export { ksym, type Sym } from "./sim/symbol.ts";

// Constants of this module: see docs/ARCHITECTURE.md, "What V8 likes".
const Kind = OpKind;
const SHIFT = TICKET_SHIFT;
const OWNER_MASK = TICKET_MASK;
const AT_ONCE = DONE;

/** From so many cycles on, what is charged is more than `spend()` can add. */
const LONG_CYCLES = 2 ** 31;

/**
 * Whether a section may begin: a few operations on one CPU's own data and its
 * `local` locks, done one after the other by plain functions (`..._now`). Like a
 * single access to data it may begin ahead of its turn, and ends however far
 * ahead that is. (An interrupt's handler begins in its turn, and may touch what
 * others use.) Never under a policy that chooses between operations, nor in
 * strict order. Plain.
 */
export function may_run_section(t: MachineContext): boolean {
  return t.op.hasSections && t.op.mayRunAhead();
}

/** Whether a section may not begin for the one reason that others come first. Plain. */
export function others_first(t: MachineContext): boolean {
  return t.op.hasSections && !t.op.mayRunAhead();
}

/** Waits for this CPU's turn: after it, a section may begin. */
export function turn(t: MachineContext): Steps<void> {
  return t.op.begin(Kind.TURN, null, null, 0, 0);
}

/**
 * Charges `instructions` of straight-line kernel code. Plain.
 *
 * @example
 * ```ts
 * import { boot, charge } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const { machine, cycles } = boot().run(function* (t) {
 *   const before = t.cpu.clock;
 *   charge(t, 100);
 *   return { machine: t.machine, cycles: t.cpu.clock - before };
 * });
 * assertEquals(cycles, Math.round(100 * machine.cyclesPerInstruction));
 * ```
 */
export function charge(t: MachineContext, instructions: number): void {
  const cycles = (instructions * t.cyclesPerInstruction + 0.5) | 0;
  t.spend(cycles);
}

/**
 * Charges `cycles` of hardware time: whole ones, a fraction is cut off. Plain.
 *
 * @example
 * ```ts
 * import { boot, charge_cycles } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const cycles = boot().run(function* (t) {
 *   const before = t.cpu.clock;
 *   charge_cycles(t, 2300);
 *   return t.cpu.clock - before;
 * });
 * assertEquals(cycles, 2300);
 * ```
 */
export function charge_cycles(t: MachineContext, cycles: number): void {
  if (cycles < LONG_CYCLES) t.spend(cycles);
  else t.cpu.pass(cycles);
}

/**
 * Reads `cell`. An ordinary load.
 *
 * @example
 * ```ts
 * import { boot, Cell, load } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const jobs = new Cell("jobs", 3);
 * assertEquals(boot().run((t) => load(t, jobs)), 3);
 * ```
 */
export function load<T>(t: MachineContext, cell: Cell<T>): Steps<T> {
  return t.op.begin(Kind.LOAD, cell as Cell<unknown>, null, 0, 0);
}

/**
 * {@linkcode load} that says: unlocked on purpose.
 *
 * Linux: ACCESS_ONCE() of include/linux/compiler.h.
 *
 * @example
 * ```ts
 * import { boot, Cell, READ_ONCE, WRITE_ONCE } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const stop = new Cell("stop", false);
 * const stopped = boot().run(function* (t) {
 *   yield* WRITE_ONCE(t, stop, true);
 *   return yield* READ_ONCE(t, stop);
 * });
 * assert(stopped);
 * ```
 */
export function READ_ONCE<T>(t: MachineContext, cell: Cell<T>): Steps<T> {
  return t.op.begin(Kind.READ_ONCE, cell as Cell<unknown>, null, 0, 0);
}

/** {@linkcode READ_ONCE} in a section; see {@linkcode may_run_section}. Plain. */
export function READ_ONCE_now(t: MachineContext, cell: Cell<number>): number {
  t.op.load(t.cpu, cell as Cell<unknown>);
  t.op.report(Kind.READ_ONCE, cell, cell.value);
  return cell.value;
}

/**
 * Writes `cell`. An ordinary store.
 *
 * @example
 * ```ts
 * import { boot, Cell, store } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const jobs = new Cell("jobs", 3);
 * boot().run((t) => store(t, jobs, 4));
 * assertEquals(jobs.value, 4);
 * ```
 */
export function store<T>(
  t: MachineContext,
  cell: Cell<T>,
  value: T,
): Steps<void> {
  return t.op.begin(Kind.STORE, cell as Cell<unknown>, null, value, 0);
}

/**
 * {@linkcode store} that says: unlocked on purpose.
 *
 * @example
 * ```ts
 * import { boot, Cell, WRITE_ONCE } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const stop = new Cell("stop", false);
 * boot().run((t) => WRITE_ONCE(t, stop, true));
 * assert(stop.value);
 * ```
 */
export function WRITE_ONCE<T>(
  t: MachineContext,
  cell: Cell<T>,
  value: T,
): Steps<void> {
  return t.op.begin(Kind.WRITE_ONCE, cell as Cell<unknown>, null, value, 0);
}

/**
 * Locked exchange.
 *
 * Linux: arch/x86/include/asm/cmpxchg_64.h.
 *
 * @returns The old value.
 *
 * @example
 * ```ts
 * import { boot, Cell, xchg } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const pending = new Cell("pending", 1);
 * const taken = boot().run((t) => xchg(t, pending, 0));
 * assertEquals([taken, pending.value], [1, 0]);
 * ```
 */
export function xchg<T>(t: MachineContext, cell: Cell<T>, value: T): Steps<T> {
  return t.op.begin(Kind.XCHG, cell as Cell<unknown>, null, value, 0);
}

/**
 * Locked compare and exchange.
 *
 * Linux: arch/x86/include/asm/cmpxchg_64.h.
 *
 * @returns The old value, equal to `old` on success.
 *
 * @example
 * ```ts
 * import { boot, Cell, cmpxchg } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const owner = new Cell("owner", 0);
 * const seen = boot().run(function* (t) {
 *   const first = yield* cmpxchg(t, owner, 0, 7); // was 0: succeeds
 *   const second = yield* cmpxchg(t, owner, 0, 8); // is 7: fails
 *   return [first, second];
 * });
 * assertEquals(seen, [0, 7]);
 * assertEquals(owner.value, 7);
 * ```
 */
export function cmpxchg<T>(
  t: MachineContext,
  cell: Cell<T>,
  old: T,
  value: T,
): Steps<T> {
  return t.op.begin(Kind.CMPXCHG, cell as Cell<unknown>, null, old, value);
}

/**
 * Locked add on 32 bits, as on `atomic_t`.
 *
 * Linux: arch/x86/include/asm/atomic_64.h.
 *
 * @returns The new value.
 *
 * @example
 * ```ts
 * import { atomic_add_return, boot, Cell } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const users = new Cell("users", 0);
 * const left = boot().run(function* (t) {
 *   yield* atomic_add_return(t, users, 2);
 *   return yield* atomic_add_return(t, users, -1);
 * });
 * assertEquals(left, 1);
 * ```
 */
export function atomic_add_return(
  t: MachineContext,
  cell: Cell<number>,
  value: number,
): Steps<number> {
  return t.op.begin(Kind.ADD, cell as Cell<unknown>, null, value, 0);
}

/**
 * Locked add on 32 bits, unless the cell has the value `unless`: Linux's loop of
 * cmpxchg. One that fails has brought the line and its new value, so that the
 * next succeeds before anybody takes the line away; it is one operation here.
 *
 * Linux: atomic_add_unless() of arch/x86/include/asm/atomic_64.h, without the
 * load that it begins with.
 *
 * @returns Whether it added.
 */
export function atomic_add_unless(
  t: MachineContext,
  cell: Cell<number>,
  value: number,
  unless: number,
): Steps<boolean> {
  return t.op.begin(
    Kind.ADD_UNLESS,
    cell as Cell<unknown>,
    null,
    value,
    unless,
  );
}

/** Takes a ticket of `lock` and spins until it is up. */
export function ticket_lock(t: MachineContext, lock: TicketLock): Steps<void> {
  if (ticket_is_free(lock.slock.value) && is_turn_of(t, lock)) {
    ticket_lock_now(t, lock);
    return AT_ONCE;
  }
  return begin_on(t, Kind.TICKET_LOCK, lock);
}

/** Whether nobody holds a lock with this word, or waits for it. Plain. */
export function ticket_is_free(word: number): boolean {
  return (word >>> SHIFT) === (word & OWNER_MASK);
}

/** Whether `t` may touch `lock` at once: in its turn, or ahead of it if that is allowed. */
function is_turn_of({ cpu }: MachineContext, lock: TicketLock): boolean {
  return cpu.ran < (lock.local ? cpu.roomAhead : cpu.room);
}

function begin_on(
  t: MachineContext,
  kind: number,
  lock: TicketLock,
): Steps<void> {
  return t.op.begin(kind, lock.slock as Cell<unknown>, null, lock, 0);
}

/** {@linkcode ticket_lock} of a free lock in a section; see {@linkcode may_run_section}. Plain. */
export function ticket_lock_now(t: MachineContext, lock: TicketLock): void {
  const { op, cpu } = t;
  const cell = lock.slock;
  op.takeTicket(cpu, cell);
  lock.taken(t, false);
  op.report(Kind.TICKET_LOCK, cell, cell.value);
}

/** Passes `lock` on, by an unlocked increment of the owner's half. */
export function ticket_unlock(
  t: MachineContext,
  lock: TicketLock,
): Steps<void> {
  // In its turn, not ahead of it: others may still ask while it is held, and
  // what they then spin and steal is most of a short lock's cost.
  if (is_turn_of(t, lock)) {
    ticket_unlock_now(t, lock);
    return AT_ONCE;
  }
  return begin_on(t, Kind.TICKET_UNLOCK, lock);
}

/** {@linkcode ticket_unlock} in a section; see {@linkcode may_run_section}. Plain. */
export function ticket_unlock_now(t: MachineContext, lock: TicketLock): void {
  t.op.ticketUnlock(t.cpu, lock);
  t.op.report(Kind.TICKET_UNLOCK, lock.slock, 0);
}

/**
 * Spins until `(cell & mask) === want`: a loop of loads and `cpu_relax()`, which
 * the engine runs without resuming the kernel code each time. It sees the value
 * that the line has when it arrives, not when it was asked for.
 *
 * @returns The value that ended the wait.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   Cell,
 *   kthread_run,
 *   spin_until,
 *   WRITE_ONCE,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const flags = new Cell("flags", 0b10);
 * const seen = boot().run(function* (t) {
 *   yield* kthread_run(t, (self) => WRITE_ONCE(self, flags, 0b11), "setter");
 *   return yield* spin_until(t, flags, 1, 1); // bit 0
 * });
 * assertEquals(seen, 0b11);
 * ```
 */
export function spin_until(
  t: MachineContext,
  cell: Cell<number>,
  mask: number,
  want: number,
): Steps<number> {
  return t.op.begin(Kind.SPIN, cell as Cell<unknown>, null, mask, want);
}

/**
 * Spins until `cell` is `old`, tries to change it to `value` by a locked
 * compare and exchange, and spins on if somebody else was faster: the loop of a
 * test-and-set lock that has been found taken, which the engine runs without
 * resuming the kernel code.
 *
 * Like {@linkcode spin_until} it sees the value of the line's arrival: whoever
 * gets it after the first has taken the lock does not try.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   Cell,
 *   kthread_run,
 *   spin_cmpxchg,
 *   WRITE_ONCE,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const word = new Cell("word", 1); // taken
 * boot().run(function* (t) {
 *   yield* kthread_run(t, (self) => WRITE_ONCE(self, word, 0), "owner");
 *   yield* spin_cmpxchg(t, word, 0, 7);
 * });
 * assertEquals(word.value, 7);
 * ```
 */
export function spin_cmpxchg(
  t: MachineContext,
  cell: Cell<number>,
  old: number,
  value: number,
): Steps<void> {
  return t.op.begin(
    Kind.SPIN_CMPXCHG,
    cell as Cell<unknown>,
    null,
    old,
    value,
  );
}

/**
 * The pause in a spin loop. Parks the CPU if this turn of the loop and the one
 * before have read one line, the same, and it is unchanged, until it is written
 * or an interrupt has been handled; returns at once otherwise.
 *
 * Linux: arch/x86/include/asm/processor.h.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   Cell,
 *   cpu_relax,
 *   kthread_run,
 *   READ_ONCE,
 *   WRITE_ONCE,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const flag = new Cell("flag", 0);
 * boot().run(function* (t) {
 *   yield* kthread_run(t, (self) => WRITE_ONCE(self, flag, 1), "setter");
 *   while ((yield* READ_ONCE(t, flag)) === 0) yield* cpu_relax(t);
 * });
 * assertEquals(flag.value, 1);
 * ```
 */
export function cpu_relax(t: MachineContext): Steps<void> {
  charge(t, 1);
  return t.op.begin(Kind.RELAX, null, null, 0, 0);
}

/** `sti; hlt`: stops the CPU until an interrupt has been handled. */
export function safe_halt(t: MachineContext): Steps<void> {
  return t.op.begin(Kind.HALT, null, null, 0, 0);
}

/** Goes on with `next` on this CPU; returns when `t` is switched to again. */
export function switch_to(
  t: MachineContext,
  next: MachineContext,
): Steps<void> {
  return t.op.begin(Kind.SWITCH, null, null, next, 0);
}

/** Hands control to whoever called `Engine.run()`; returns when it is called again. */
export function call_host(t: MachineContext): Steps<void> {
  return t.op.begin(Kind.HOST, null, null, 0, 0);
}

/** Sends `vector` to CPU number `target`: one write to the interrupt command register. */
export function send_ipi(
  t: MachineContext,
  target: number,
  vector: number,
): Steps<void> {
  return t.op.begin(Kind.IPI, null, null, target, vector);
}

/** Sends `vector` to a set of CPU numbers, in one write where the machine can. */
export function* send_ipi_mask(
  t: MachineContext,
  targets: readonly number[],
  vector: number,
): Steps<void> {
  if (t.machine.spec.ipi.broadcast === "mask" && targets.length > 0) {
    yield* t.op.begin<void>(Kind.IPI, null, null, targets, vector);
    return;
  }
  for (const target of targets) yield* send_ipi(t, target, vector);
}

/** Reads the clock source. @returns Virtual time, cycles. */
export function read_clocksource(t: MachineContext): Steps<number> {
  return t.op.begin(Kind.CLOCK, null, null, 0, 0);
}

/**
 * {@linkcode read_clocksource} in a section, of a clock that every CPU has to
 * itself; see {@linkcode may_run_section}. Plain.
 */
export function read_clocksource_now(t: MachineContext): number {
  t.spend(t.machine.readClock(t.cpu));
  const now = t.cpu.clock;
  t.op.report(Kind.CLOCK, 0, now);
  return now;
}

/**
 * Reads a structure's line: what an unlocked look at its fields costs.
 *
 * @example
 * ```ts
 * import { boot, CacheLine, read_line } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const line = new CacheLine(0);
 * const [miss, hit] = boot().run(function* (t) {
 *   const start = t.cpu.clock;
 *   yield* read_line(t, line); // from memory
 *   const between = t.cpu.clock;
 *   yield* read_line(t, line); // from this CPU's cache
 *   return [between - start, t.cpu.clock - between];
 * });
 * assert(miss > 10 * hit);
 * ```
 */
export function read_line(t: MachineContext, line: CacheLine): Steps<void> {
  if (t.op.mayRunAhead()) {
    read_line_now(t, line);
    return AT_ONCE;
  }
  return t.op.begin(Kind.LINE_READ, null, line, 0, 0);
}

/** {@linkcode read_line} in a section; see {@linkcode may_run_section}. Plain. */
export function read_line_now(t: MachineContext, line: CacheLine): void {
  touch_read(t, line);
  t.op.report(Kind.LINE_READ, line, 0);
}

/**
 * Writes a structure's line.
 *
 * @example
 * ```ts
 * import { boot, CacheLine, write_line } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const line = new CacheLine(0);
 * const cpu = boot().run(function* (t) {
 *   yield* write_line(t, line); // takes it from whoever has it
 *   return t.cpu.id;
 * });
 * assertEquals(line.owner, cpu);
 * ```
 */
export function write_line(t: MachineContext, line: CacheLine): Steps<void> {
  if (t.op.mayRunAhead()) {
    touch_write(t, line);
    t.op.report(Kind.LINE_WRITE, line, 0);
    return AT_ONCE;
  }
  return t.op.begin(Kind.LINE_WRITE, null, line, 0, 0);
}

/**
 * Charges a look at a structure that a lock guards. Plain: whoever holds the
 * lock is alone with the line, so its turn has been settled already.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   CacheLine,
 *   spin_lock,
 *   spin_unlock,
 *   Spinlock,
 *   touch_read,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const line = new CacheLine(0);
 * boot().run(function* (t) {
 *   const lock = new Spinlock(t.k, "list_lock");
 *   yield* spin_lock(t, lock);
 *   touch_read(t, line); // what the lock guards
 *   yield* spin_unlock(t, lock);
 *   assertEquals(line.owner, t.cpu.id);
 * });
 * ```
 */
export function touch_read(t: MachineContext, line: CacheLine): void {
  t.spend(t.coherence.read(t.cpu, line));
}

/**
 * Charges a write to a structure that a lock guards; see {@linkcode
 * touch_read}.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   CacheLine,
 *   spin_lock,
 *   spin_unlock,
 *   Spinlock,
 *   touch_write,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const line = new CacheLine(0);
 * boot().run(function* (t) {
 *   const lock = new Spinlock(t.k, "list_lock");
 *   yield* spin_lock(t, lock);
 *   touch_write(t, line); // what the lock guards
 *   yield* spin_unlock(t, lock);
 *   assertEquals(line.owner, t.cpu.id);
 * });
 * ```
 */
export function touch_write(t: MachineContext, line: CacheLine): void {
  t.spend(t.coherence.write(t.cpu, line));
}

/**
 * Loads `size` (1, 2, 4 or 8) bytes at virtual address `vaddr` through this
 * CPU's TLB.
 *
 * @example
 * ```ts
 * import { boot, vload, vstore, vzalloc } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const byte = boot().run(function* (t) {
 *   const addr = yield* vzalloc(t, 4096);
 *   yield* vstore(t, addr, 4, 0x11223344);
 *   return yield* vload(t, addr + 3, 1); // little endian
 * });
 * assertEquals(byte, 0x11);
 * ```
 */
export function vload(
  t: MachineContext,
  vaddr: number,
  size: number,
): Steps<number> {
  const { op } = t;
  if (op.mayRunAhead()) {
    const value = t.machine.mmu.read(t, vaddr, size);
    op.report(Kind.VIRT_READ, vaddr, value);
    return op.ready.give(value) as Steps<number>;
  }
  return t.op.begin(Kind.VIRT_READ, null, null, 0, 0, vaddr, size);
}

/**
 * Stores `size` (1, 2, 4 or 8) bytes at virtual address `vaddr` through this
 * CPU's TLB.
 *
 * @example
 * ```ts
 * import { boot, KernelBug, vload, vmalloc, vstore } from "@vmaplab/vmaplab";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const addr = yield* vmalloc(t, 2 * 4096);
 *   yield* vstore(t, addr + 4096, 8, 42);
 *   assertEquals(yield* vload(t, addr + 4096, 8), 42);
 * });
 * assertThrows(() => boot().run((t) => vstore(t, 0x10, 8, 1)), KernelBug);
 * ```
 */
export function vstore(
  t: MachineContext,
  vaddr: number,
  size: number,
  value: number,
): Steps<void> {
  if (t.op.mayRunAhead()) {
    t.machine.mmu.write(t, vaddr, size, value);
    t.op.report(Kind.VIRT_WRITE, vaddr, value);
    return AT_ONCE;
  }
  return t.op.begin(Kind.VIRT_WRITE, null, null, value, 0, vaddr, size);
}

/**
 * Loads `size` bytes at physical address `paddr`, bypassing translation.
 *
 * @example
 * ```ts
 * import {
 *   __GFP_ZERO,
 *   alloc_page,
 *   boot,
 *   GFP_KERNEL,
 *   pload,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const value = boot().run(function* (t) {
 *   const page = yield* alloc_page(t, GFP_KERNEL | __GFP_ZERO);
 *   return yield* pload(t, page!.pfn * 4096, 4);
 * });
 * assertEquals(value, 0);
 * ```
 */
export function pload(
  t: MachineContext,
  paddr: number,
  size: number,
): Steps<number> {
  const { op } = t;
  if (op.mayRunAhead()) {
    const value = t.machine.physRead(t, paddr, size);
    op.report(Kind.PHYS_READ, paddr, value);
    return op.ready.give(value) as Steps<number>;
  }
  return t.op.begin(Kind.PHYS_READ, null, null, 0, 0, paddr, size);
}

/**
 * Stores `size` bytes at physical address `paddr`, bypassing translation.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   pstore,
 *   vload,
 *   vmalloc,
 *   vmalloc_to_page,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const value = boot().run(function* (t) {
 *   const addr = yield* vmalloc(t, 4096);
 *   const page = vmalloc_to_page(t, addr);
 *   yield* pstore(t, page!.pfn * 4096, 4, 0xcafe); // below the mapping
 *   return yield* vload(t, addr, 4);
 * });
 * assertEquals(value, 0xcafe);
 * ```
 */
export function pstore(
  t: MachineContext,
  paddr: number,
  size: number,
  value: number,
): Steps<void> {
  if (t.op.mayRunAhead()) {
    t.machine.physWrite(t, paddr, size, value);
    t.op.report(Kind.PHYS_WRITE, paddr, value);
    return AT_ONCE;
  }
  return t.op.begin(Kind.PHYS_WRITE, null, null, value, 0, paddr, size);
}

/** Runs `run` on page-table page `pfn` from entry `index` on, in its turn. */
export function pte_run<T>(
  t: MachineContext,
  run: PteRun,
  pfn: number,
  index: number,
): Steps<T> {
  const { op } = t;
  if (op.mayRunAhead()) {
    const value = run.run(t, pfn, index);
    op.report(Kind.PTE_RUN, pfn, value as number);
    return op.ready.give(value) as Steps<T>;
  }
  return t.op.begin(Kind.PTE_RUN, null, null, run, 0, pfn, index);
}

/**
 * Whether interrupts are off on this CPU. Plain.
 *
 * Linux: include/linux/irqflags.h.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   irqs_disabled,
 *   local_irq_disable,
 *   local_irq_enable,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const off = boot().run(function* (t) {
 *   local_irq_disable(t);
 *   const inside = irqs_disabled(t);
 *   local_irq_enable(t);
 *   return [inside, irqs_disabled(t)];
 * });
 * assertEquals(off, [true, false]);
 * ```
 */
export function irqs_disabled(t: MachineContext): boolean {
  return !t.cpu.irqsOn;
}

/**
 * Turns interrupts off. Plain.
 *
 * Linux: include/linux/irqflags.h.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   Cell,
 *   load,
 *   local_irq_disable,
 *   local_irq_enable,
 *   store,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const counter = new Cell("counter", 0);
 * boot().run(function* (t) {
 *   local_irq_disable(t); // no handler of this CPU comes in between
 *   yield* store(t, counter, (yield* load(t, counter)) + 1);
 *   local_irq_enable(t);
 * });
 * assertEquals(counter.value, 1);
 * ```
 */
export function local_irq_disable(t: MachineContext): void {
  charge(t, 1);
  t.cpu.irqsOn = false;
}

/**
 * Turns interrupts on; one that is due is taken at the next operation. Plain.
 *
 * Linux: include/linux/irqflags.h.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   charge,
 *   irqs_disabled,
 *   local_irq_disable,
 *   local_irq_enable,
 * } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const on = boot().run(function* (t) {
 *   local_irq_disable(t);
 *   charge(t, 50);
 *   local_irq_enable(t);
 *   return !irqs_disabled(t);
 * });
 * assert(on);
 * ```
 */
export function local_irq_enable(t: MachineContext): void {
  charge(t, 1);
  t.machine.engine.setIrqs(t.cpu, true);
}

/**
 * Turns interrupts off.
 *
 * Linux: include/linux/irqflags.h.
 *
 * @returns Whether they had been on, for {@linkcode local_irq_restore}.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   irqs_disabled,
 *   local_irq_restore,
 *   local_irq_save,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const flags = boot().run(function* (t) {
 *   const outer = local_irq_save(t);
 *   const inner = local_irq_save(t);
 *   local_irq_restore(t, inner); // still off
 *   local_irq_restore(t, outer); // on again
 *   return [outer, inner, irqs_disabled(t)];
 * });
 * assertEquals(flags, [true, false, false]);
 * ```
 */
export function local_irq_save(t: MachineContext): boolean {
  const flags = t.cpu.irqsOn;
  local_irq_disable(t);
  return flags;
}

/**
 * Puts back what {@linkcode local_irq_save} returned. Plain.
 *
 * Linux: include/linux/irqflags.h.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   irqs_disabled,
 *   local_irq_restore,
 *   local_irq_save,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const off = boot().run(function* (t) {
 *   const flags = local_irq_save(t);
 *   local_irq_restore(t, flags);
 *   return irqs_disabled(t);
 * });
 * assertEquals(off, false);
 * ```
 */
export function local_irq_restore(t: MachineContext, flags: boolean): void {
  if (flags) local_irq_enable(t);
  else local_irq_disable(t);
}

/**
 * Flushes one page from this CPU's TLB, global or not. Plain.
 *
 * Linux: __flush_tlb_one() of arch/x86/include/asm/tlbflush.h.
 *
 * @example
 * ```ts
 * import { boot, invlpg, vload, vzalloc } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const held = boot().run(function* (t) {
 *   const tlb = t.machine.mmu.tlbs[t.cpu.id];
 *   const addr = yield* vzalloc(t, 8192);
 *   yield* vload(t, addr, 8);
 *   yield* vload(t, addr + 4096, 8);
 *   invlpg(t, addr);
 *   return [tlb.holds(addr / 4096), tlb.holds(addr / 4096 + 1)];
 * });
 * assertEquals(held, [false, true]);
 * ```
 */
export function invlpg(t: MachineContext, vaddr: number): void {
  t.machine.mmu.flushPage(t, vaddr);
}

/**
 * Flushes this CPU's TLB: `global` = kernel entries too. Plain.
 *
 * Linux: __flush_tlb_all() of arch/x86/include/asm/tlbflush.h.
 *
 * @example
 * ```ts
 * import { boot, flush_tlb_local, vload, vzalloc } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const held = boot().run(function* (t) {
 *   const tlb = t.machine.mmu.tlbs[t.cpu.id];
 *   const addr = yield* vzalloc(t, 4096);
 *   yield* vload(t, addr, 8);
 *   const before = tlb.holds(addr / 4096);
 *   flush_tlb_local(t, true);
 *   return [before, tlb.holds(addr / 4096)];
 * });
 * assertEquals(held, [true, false]);
 * ```
 */
export function flush_tlb_local(t: MachineContext, global: boolean): void {
  t.machine.mmu.flush(t, global);
}

/** Sets this CPU's one-shot timer to `at`, cycles; `Infinity` stops it. Plain. */
export function set_local_timer(t: MachineContext, at: number): void {
  t.machine.engine.setTimer(t.cpu, at);
}
