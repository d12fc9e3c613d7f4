/** What the kernel prints when a page request fails (mm/page_alloc.c). */
import { KERN_WARNING, printk } from "../printk.ts";
import type { Kernel } from "../kernel.ts";
import type { Thread } from "../thread.ts";
import { MAX_ORDER } from "./mmzone.ts";

/** printk_ratelimit(): so many messages in so long. */
const RATELIMIT_BURST = 10;
const RATELIMIT_NS = 5e9;

/** Reports a request that failed, at most ten times in five seconds. */
export function warn_alloc_failed(t: Thread, gfp: number, order: number): void {
  const { failures } = t.k.pages;
  if (t.cpu.clock - failures.since > t.machine.toCycles(RATELIMIT_NS)) {
    failures.since = t.cpu.clock;
    failures.inBurst = 0;
  }
  if (failures.inBurst === RATELIMIT_BURST) {
    failures.missed++;
    return;
  }
  failures.inBurst++;
  failures.printed++;
  const { task } = t;
  const lines = [
    `${task.name}: page allocation failure. order:${order}, mode:0x${
      gfp.toString(16)
    }`,
    `Pid: ${task.pid}, comm: ${task.name} Not tainted 2.6.28 #1`,
    "Call Trace:",
    ...t.backtrace().map((name) => ` ${name}`),
    ...show_free_areas(t.k),
  ];
  printk(t, KERN_WARNING, lines.join("\n"));
}

/** Free memory by zone and order, as show_mem() prints it. */
export function show_free_areas(k: Kernel): string[] {
  const { pages } = k;
  const kB = pages.pageBytes / 1024;
  const zones = pages.zoneinfo().filter((zone) => zone.spanned > 0);
  const lines = ["Mem-Info:"];
  for (const z of zones) {
    lines.push(
      `Node ${z.node} ${z.name} free:${z.free * kB}kB min:${z.min * kB}kB low:${
        z.low * kB
      }kB high:${z.high * kB}kB present:${z.present * kB}kB`,
    );
  }
  for (const z of zones) {
    let line = `Node ${z.node} ${z.name}: `;
    for (let order = 0; order < MAX_ORDER; order++) {
      line += `${z.blocks[order]}*${kB * 2 ** order}kB `;
    }
    lines.push(`${line}= ${z.free * kB}kB`);
  }
  return lines;
}
