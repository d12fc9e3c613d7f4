/**
 * What programs expect of the kernel. What is otherwise is reported as by a
 * sanitizer called `data`.
 */
import { pfn_at } from "../../kernel/mm/pgtable.ts";
import { SanitizerReport } from "../../kernel/sanitizers/report.ts";
import type { Thread } from "../../kernel/thread.ts";
import type { Mapping, PoolPage } from "./slot.ts";
import type { World } from "./world.ts";

/** `[addr, addr + count pages)` is within `[start, end)` and nobody else's. */
export function check_room(
  t: Thread,
  w: World,
  addr: number,
  count: number,
  { start, end }: { readonly start: number; readonly end: number },
): void {
  const { page_size } = t.k.vmalloc;
  const stop = addr + count * page_size;
  if (addr % page_size !== 0 || addr < start || stop > end) {
    unexpected(
      t,
      "a mapping lies outside of the range that it was asked for in",
      [
        `${hex(addr)}-${hex(stop)} is not in ${hex(start)}-${hex(end)}`,
      ],
    );
  }
  for (let i = 0; i < w.slots.length; i++) {
    const { mappings } = w.slots[i];
    for (let j = 0; j < mappings.length; j++) {
      const m = mappings[j];
      const mStop = m.addr + m.count * page_size;
      if (addr < mStop && m.addr < stop) {
        given_twice(t, addr, stop, m.addr, mStop);
      }
    }
  }
  for (let i = 0; i < w.early.length; i++) {
    const vm = w.early[i];
    const mStop = vm.addr + vm.size - page_size;
    if (addr < mStop && vm.addr < stop) {
      given_twice(t, addr, stop, vm.addr, mStop);
    }
  }
}

function given_twice(
  t: Thread,
  addr: number,
  stop: number,
  mAddr: number,
  mStop: number,
): never {
  unexpected(t, "addresses were given out that are in use", [
    `new:    ${hex(addr)}-${hex(stop)}`,
    `in use: ${hex(mAddr)}-${hex(mStop)}`,
  ]);
}

/** `m` leads to its pages. */
export function check_pages(t: Thread, { addr, pages }: Mapping): void {
  const { page_size } = t.k.vmalloc;
  for (let i = 0; i < pages.length; i++) {
    const at = addr + i * page_size;
    const { pfn } = pages[i].page;
    const found = pfn_at(t.k, at);
    if (found !== pfn) wrong_pages(t, at, `page ${hex(pfn)}`, found);
  }
}

export function wrong_pages(
  t: Thread,
  at: number,
  wanted: string,
  found: number,
): never {
  unexpected(
    t,
    found < 0
      ? "a live mapping has lost its page"
      : "a live mapping leads to another page",
    [
      `at ${hex(at)}: ${wanted} was mapped, ${
        found < 0 ? "nothing" : `page ${hex(found)}`
      } is`,
    ],
  );
}

/** `found` is what `p` contains. */
export function check_word(
  t: Thread,
  p: PoolPage,
  found: number,
  how: string,
  addr: number,
): void {
  if (p.value < 0 || found === p.value) return;
  unexpected(t, `wrong data through a mapping: ${how}`, [
    ...(addr === 0 ? [] : [`address ${hex(addr)}`]),
    `page ${hex(p.page.pfn)}: ${p.value} was written last, ${found} is there`,
  ]);
}

function hex(n: number): string {
  return n.toString(16);
}

export function unexpected(
  t: Thread,
  what: string,
  lines: readonly string[],
): never {
  throw new SanitizerReport(
    t,
    "data",
    `data: ${what}`,
    lines.length === 0 ? [] : [{ title: "details:", lines }],
  );
}
