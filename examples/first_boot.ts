/**
 * Boots the default machine, two sockets with four cores each, lets a kernel
 * thread on every CPU allocate, use and free vmalloc memory, and prints the
 * kernel log, then where the virtual time of that work went.
 *
 *     deno run examples/first_boot.ts
 */
import {
  boot,
  kthread_join,
  kthread_run,
  type Steps,
  type Thread,
  vfree,
  vmalloc,
  vstore,
} from "../mod.ts";

const PAGE = 4096;
const ROUNDS = 50;

/** What each thread does: 16 pages, a word written to each, and back. */
function* use_memory(t: Thread): Steps {
  for (let round = 0; round < ROUNDS; round++) {
    const addr = yield* vmalloc(t, 16 * PAGE);
    for (let i = 0; i < 16; i++) yield* vstore(t, addr + i * PAGE, 8, i);
    yield* vfree(t, addr);
  }
}

/** What pid 1 does: starts the threads and waits for them. */
function* start_threads(t: Thread): Steps {
  const threads: Thread[] = [];
  for (const cpu of t.k.cpu_online.list) {
    threads.push(yield* kthread_run(t, use_memory, `user/${cpu}`));
  }
  for (const p of threads) yield* kthread_join(t, p);
}

/** @returns The lines to print. */
export function main(): string[] {
  const machine = boot();
  const before = machine.snapshot();
  machine.run(start_threads);
  const { vmap, ipis } = machine.counters();
  const top = machine.profile(before)
    .filter(({ symbol }) => symbol !== "default_idle").slice(0, 8);
  return [
    ...machine.dmesg(),
    "",
    `${vmap.lazy_nr} pages wait for a purge, ${ipis} interrupts between CPUs`,
    "   us  symbol",
    ...top.map(({ symbol, ticks }) =>
      `${String(ticks).padStart(5)}  ${symbol}`
    ),
  ];
}

if (import.meta.main) console.log(main().join("\n"));
