/**
 * The table of docs/ARCHITECTURE.md that shows one map, touch and unmap as the
 * engine sees it: taken from a run, on CPU 3 of a machine that does nothing
 * else, after enough repetitions that caches and TLBs have settled.
 *
 * Run as docs/boot_steps.ts is; tests/docs_test.ts compares.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  OpKind,
  type Steps,
  vstore,
} from "../arch/asm.ts";
import { findPreset } from "../arch/hw/presets/index.ts";
import { PAGE_KERNEL } from "../arch/hw/pte.ts";
import { boot } from "../boot/boot.ts";
import {
  kthread_bind,
  kthread_create,
  kthread_join,
} from "../kernel/kthread.ts";
import { GFP_KERNEL } from "../kernel/mm/gfp.ts";
import { alloc_page } from "../kernel/mm/page_alloc.ts";
import type { Page } from "../kernel/mm/page.ts";
import { vm_map_ram, vm_unmap_ram } from "../kernel/mm/vmap.ts";
import { wake_up_process } from "../kernel/sched/wakeup.ts";
import type { Thread } from "../kernel/thread.ts";
import { main, markdownTable } from "./boot_steps.ts";

const CPU = 3;
const PAGES = 4;
const WARM_UP = 20;
const DRIVER = ksym("driver");
const KIND_NAMES = Object.keys(OpKind);

function* map_touch_unmap(t: Thread, pages: Page[]): Steps {
  const addr = yield* vm_map_ram(t, pages, PAGES, -1, PAGE_KERNEL);
  for (let i = 0; i < PAGES; i++) {
    charge(t, 3);
    yield* vstore(t, addr + i * t.machine.memory.pageBytes, 8, i);
  }
  yield* vm_unmap_ram(t, addr, PAGES);
}

/** The operations of one map, touch and unmap: kind, place, calling function. */
function operations(): string[][] {
  const seen: string[][] = [];
  const worker = function* (t: Thread): Steps {
    enter(t, DRIVER);
    const pages: Page[] = [];
    while (pages.length < PAGES) {
      const page = yield* alloc_page(t, GFP_KERNEL);
      pages.push(page!);
    }
    for (let i = 0; i < WARM_UP; i++) yield* map_touch_unmap(t, pages);
    const { engine } = t.machine;
    engine.observer = {
      operation(c, kind, place) {
        if (c.cpu.id !== CPU) return;
        const name = (place as { name?: string })?.name;
        seen.push([
          `\`${c.backtrace()[0]}\``,
          KIND_NAMES[kind],
          name === undefined ? "" : `\`${name}\``,
        ]);
      },
    };
    yield* map_touch_unmap(t, pages);
    engine.observer = null;
    leave(t);
  };
  boot({ spec: findPreset("opteron-2x4") }).run(function* (t) {
    const p = yield* kthread_create(t, worker, "worker");
    kthread_bind(p, CPU);
    yield* wake_up_process(t, p);
    yield* kthread_join(t, p);
  });
  return seen;
}

/** The tables of docs/ARCHITECTURE.md, by the name in their markers. */
export function architectureTables(): ReadonlyMap<string, string> {
  const rows = operations().map((row, i) => [String(i + 1), ...row]);
  const head = ["", "In", "Operation", "On the cell"];
  return new Map([["operations", markdownTable(head, rows)]]);
}

if (import.meta.main) {
  main(new URL("ARCHITECTURE.md", import.meta.url), architectureTables());
}
