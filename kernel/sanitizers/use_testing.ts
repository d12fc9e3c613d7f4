/** Random use of all calls of the vmap interface, for tests of sanitizers. */
import { type Steps, vload, vstore } from "../../arch/asm.ts";
import { Rng } from "../../arch/sim/random.ts";
import { kthread_join, kthread_run } from "../kthread.ts";
import { __free_page } from "../mm/page_alloc.ts";
import { VM_MAP } from "../mm/vm_struct.ts";
import { PAGE_SIZE, PROT, runVm, take_pages } from "../mm/vm_testing.ts";
import {
  vfree,
  vm_map_ram,
  vm_unmap_aliases,
  vm_unmap_ram,
  vmalloc,
  vmap,
  vunmap,
} from "../mm/vmalloc.ts";
import type { Thread } from "../thread.ts";
import { sanitize } from "./index.ts";

/** What {@linkcode randomUse} runs on. */
export interface UseOptions {
  /** Layer. */
  readonly vmap: string;
  readonly cpus: number;
  readonly seed: number;
  /** Operations of each CPU. */
  readonly operations?: number;
  readonly quirks?: readonly string[];
}

/** A mapping that a user holds. */
interface Held {
  readonly addr: number;
  readonly count: number;
  readonly free: (t: Thread) => Steps;
}

/**
 * Each CPU maps, touches, unmaps, frees pages, and calls vm_unmap_aliases(), in
 * a small space with blocks of eight pages; TLBs fill themselves now and then.
 *
 * @returns The clocks of all CPUs in the end, and failures.
 */
export function randomUse(
  sanitizers: readonly string[],
  options: UseOptions,
): number[] {
  const { cpus, seed, quirks = [] } = options;
  const params = {
    vmap: options.vmap,
    vmap_quirk: new Set(quirks),
    vmap_max_alloc: 4,
    vmap_space: 0,
    lazy_max: 12,
  };
  const before = (t: Thread) => {
    if (sanitizers.length > 0) sanitize(t.k, sanitizers);
  };
  return runVm({ cpus, params, pages: 160, before }, function* (t) {
    const users: Thread[] = [];
    for (let i = 0; i < cpus; i++) {
      const rng = new Rng(seed * 16 + i);
      const use = (t: Thread) => user(t, rng, options.operations ?? 60);
      users.push(yield* kthread_run(t, use, `user/${i}`));
    }
    for (const user of users) yield* kthread_join(t, user);
    t.k.sanitizers?.quiet(t, t.k);
    const clocks = t.machine.engine.cpus.map((cpu) => cpu.clock);
    return [...clocks, t.k.vmalloc.failures];
  }).result;
}

function* user(t: Thread, rng: Rng, operations: number): Steps {
  const held: Held[] = [];
  for (let i = 0; i < operations; i++) {
    const choice = rng.below(10);
    if (choice < 5 && held.length < 6) {
      const made = yield* make(t, rng);
      if (made !== null) held.push(made);
    } else if (choice < 8 && held.length > 0) {
      const [gone] = held.splice(rng.below(held.length), 1);
      yield* touch(t, rng, gone);
      yield* gone.free(t);
    } else if (choice === 8) yield* vm_unmap_aliases(t);
    else if (held.length > 0) yield* touch(t, rng, held[0]);
  }
  while (held.length > 0) yield* held.pop()!.free(t);
  yield* vm_unmap_aliases(t);
}

/** Maps some pages in one of three ways. */
function* make(t: Thread, rng: Rng): Steps<Held | null> {
  const count = 1 + rng.below(6);
  const way = rng.below(3);
  if (way === 0) {
    const addr = yield* vmalloc(t, count * PAGE_SIZE);
    return addr === 0 ? null : { addr, count, free: (t) => vfree(t, addr) };
  }
  const pages = yield* take_pages(t, count);
  const addr = way === 1
    ? yield* vmap(t, pages, count, VM_MAP, PROT)
    : yield* vm_map_ram(t, pages, count, -1, PROT);
  const free = function* (t: Thread): Steps {
    if (addr !== 0) {
      if (way === 1) yield* vunmap(t, addr);
      else yield* vm_unmap_ram(t, addr, count);
    }
    for (const page of pages) yield* __free_page(t, page);
  };
  if (addr !== 0) return { addr, count, free };
  yield* free(t);
  return null;
}

function* touch(t: Thread, rng: Rng, held: Held): Steps {
  const addr = held.addr + rng.below(held.count) * PAGE_SIZE;
  t.machine.mmu.speculate(rng.below(t.machine.engine.cpus.length), addr);
  if (rng.below(2) === 0) yield* vstore(t, addr, 8, addr);
  else yield* vload(t, addr, 8);
}
