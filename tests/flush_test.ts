/** Who is interrupted by a flush of kernel addresses, and that all of them answer. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { charge_cycles, local_irq_disable, store } from "../arch/asm.ts";
import { Cell } from "../arch/hw/cell.ts";
import { generic } from "../arch/hw/presets/generic.ts";
import { findPreset } from "../arch/hw/presets/index.ts";
import type { MachineSpec } from "../arch/hw/spec.ts";
import { CpuState } from "../arch/sim/cpu.ts";
import { Deadlock } from "../arch/sim/engine.ts";
import { boot, type BootedMachine } from "../boot/boot.ts";
import {
  CALL_FUNCTION_SINGLE_VECTOR,
  CALL_FUNCTION_VECTOR,
} from "../kernel/irq_vectors.ts";
import { kthread_join } from "../kernel/kthread.ts";
import {
  spin_lock,
  spin_unlock,
  Spinlock,
} from "../kernel/locking/spinlock.ts";
import { VM_MAP } from "../kernel/mm/vm_struct.ts";
import { vm_unmap_aliases, vmap, vunmap } from "../kernel/mm/vmap.ts";
import { set_cpus_allowed } from "../kernel/sched/migrate.ts";
import type { Thread } from "../kernel/thread.ts";
import { drop_pages, PROT, run_on, take_pages } from "./_machine.ts";

/** Flushes and calls by CPU number while `fn` runs. */
function watch(booted: BootedMachine, fn: () => void) {
  const { engine, counters, nrCpus } = booted.machine;
  const flushed = new Array(nrCpus).fill(0);
  const called = new Array(nrCpus).fill(0);
  const { ipis } = counters;
  engine.observer = {
    flush: (cpu, global) => {
      assert(global);
      flushed[cpu.id]++;
    },
    interrupt: (cpu, vector) => {
      const call = vector === CALL_FUNCTION_VECTOR ||
        vector === CALL_FUNCTION_SINGLE_VECTOR;
      if (call) called[cpu.id]++;
    },
  };
  fn();
  engine.observer = null;
  return { flushed, called, ipis: counters.ipis - ipis };
}

const opteron = findPreset("opteron-2x4");
const machines: [string, MachineSpec, readonly number[]][] = [
  ["opteron-2x4", opteron, [1, 2, 3, 7, 8]],
  ["20 CPUs without a mask to send to", generic(5, 4), [3, 9, 20]],
  ["altix-64", findPreset("altix-64"), [1, 2, 33, 64]],
];

for (const [name, spec, counts] of machines) {
  Deno.test(`${name}: a flush reaches the online CPUs, each once, and nobody else`, () => {
    for (const nr_cpus of counts) {
      for (const layer of ["vmlist", "rewrite"]) {
        const booted = boot({ spec, params: { nr_cpus, vmap: layer } });
        const { machine, kernel } = booted;
        assertEquals(kernel.cpu_online.weight, nr_cpus);
        const from = nr_cpus - 1;
        const pages = booted.run(function* (t) {
          yield* set_cpus_allowed(t, t, [from]);
          return yield* take_pages(t, 2);
        });
        const seen = watch(booted, () =>
          booted.run(function* (t) {
            const addr = yield* vmap(t, pages, 2, VM_MAP, PROT);
            yield* vunmap(t, addr);
            yield* vm_unmap_aliases(t);
          }));
        const online = (id: number) => id < nr_cpus ? 1 : 0;
        const want = Array.from({ length: machine.nrCpus }, (_, id) => id);
        const what = `${nr_cpus} CPUs, ${layer}`;
        assertEquals(seen.flushed, want.map(online), what);
        assertEquals(
          seen.called,
          want.map((id) => id === from ? 0 : online(id)),
          what,
        );
        assertEquals(seen.ipis, nr_cpus - 1, what);
        for (const cpu of machine.engine.cpus.slice(nr_cpus)) {
          assertEquals([cpu.state, cpu.clock], [CpuState.OFFLINE, 0], what);
          assertEquals(machine.mmu.tlbs[cpu.id].flushesGlobal, 0, what);
        }
        booted.run((t) => drop_pages(t, pages));
      }
    }
  });
}

Deno.test("a CPU that does not exist cannot be waited for: offline ones are refused a thread", () => {
  const booted = boot({ spec: opteron, params: { nr_cpus: 3 } });
  const error = booted.run((t) => set_cpus_allowed(t, t, [3, 4]));
  assert(error < 0);
});

/** Lets time pass with interrupts on until `done`. */
function* pass_until(t: Thread, done: () => boolean) {
  const cell = new Cell("nothing", 0);
  while (!done()) {
    charge_cycles(t, 500);
    yield* store(t, cell, 0);
  }
}

Deno.test("spinners that are parked answer a flush and go on waiting", () => {
  const booted = boot({ spec: opteron, params: { vmap: "vmlist" } });
  const { engine } = booted.machine;
  const spinners = [1, 2, 3, 4, 5, 6, 7];
  const parked = () =>
    spinners.filter((id) => engine.cpus[id].state === CpuState.PARKED);
  const order: number[] = [];
  let served: number[] = [];
  const seen = watch(booted, () =>
    booted.run(function* (t) {
      yield* set_cpus_allowed(t, t, [0]);
      const pages = yield* take_pages(t, 1);
      const addr = yield* vmap(t, pages, 1, VM_MAP, PROT);
      const lock = new Spinlock(t.k, "test_lock");
      yield* spin_lock(t, lock);
      const threads: Thread[] = [];
      for (const id of spinners) {
        const p = yield* run_on(t, id, function* (p) {
          yield* spin_lock(p, lock);
          order.push(p.cpu.id);
          yield* spin_unlock(p, lock);
        });
        threads.push(p);
        yield* pass_until(t, () => parked().includes(id));
      }
      assertEquals(parked(), spinners);
      yield* vunmap(t, addr);
      assertEquals(order, []);
      yield* pass_until(t, () => parked().length === spinners.length);
      served = order.slice();
      yield* spin_unlock(t, lock);
      for (const p of threads) yield* kthread_join(t, p);
      yield* drop_pages(t, pages);
    }));
  assertEquals(served, []);
  assertEquals(order, spinners); // ticket locks: first come, first served
  assertEquals(seen.flushed, new Array(8).fill(1));
  assertEquals(seen.called.slice(1), new Array(7).fill(1));
});

Deno.test("a flush under a lock that is wanted with interrupts off never ends, and says who waits", () => {
  const booted = boot({ spec: opteron, params: { vmap: "vmlist" } });
  const { engine } = booted.machine;
  const error = assertThrows(() =>
    booted.run(function* (t) {
      yield* set_cpus_allowed(t, t, [0]);
      const pages = yield* take_pages(t, 1);
      const addr = yield* vmap(t, pages, 1, VM_MAP, PROT);
      const lock = new Spinlock(t.k, "test_lock");
      yield* spin_lock(t, lock);
      yield* run_on(t, 6, function* (p) {
        local_irq_disable(p);
        yield* spin_lock(p, lock);
      });
      const { cpus } = engine;
      yield* pass_until(t, () => cpus[6].state === CpuState.PARKED);
      yield* vunmap(t, addr);
    }), Deadlock);
  const waiting = error.waiting.map((cpu) => [cpu.id, cpu.top!.op!.describe()]);
  assertEquals(waiting.map(([id]) => id), [0, 6]);
  assert(`${waiting[1][1]}`.includes("test_lock"), `${waiting}`);
  assert(`${waiting[1][1]}`.includes("held by init on CPU 0"), `${waiting}`);
});
