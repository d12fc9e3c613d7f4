/**
 * What the tasks of one machine share, from round to round: slots that hold
 * mappings, and a pool of pages to map.
 *
 * Tasks claim slots and pages in plain code, which nothing interrupts. Several may
 * use what a slot holds at a time, and read one page; who fills or empties a slot,
 * or writes a page, is alone at it: others leave it alone. So no mapping goes away
 * under who uses it, and what a page contains is known.
 */
import type { Steps } from "../../arch/asm.ts";
import { GFP_KERNEL } from "../../kernel/mm/gfp.ts";
import { alloc_page, nr_unused_pages } from "../../kernel/mm/page_alloc.ts";
import type { VmStruct } from "../../kernel/mm/vm_struct.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import type { Thread } from "../../kernel/thread.ts";
import type { ExploreMachine, TaskFunction } from "../explore/machine.ts";
import { RuleChooser } from "../explore/rule.ts";
import { perform } from "./interpret.ts";
import { empty_slot } from "./map.ts";
import { type Call, CallKind, type Program, SLOTS } from "./call.ts";
import { PoolPage, Slot } from "./slot.ts";

/** Pages of the pool: more than all tasks claim at a time. */
const POOL = 16;

/** A call that misuses the interface, on purpose, is under way. */
interface Misuse {
  /** Task that makes it. */
  readonly pid: number;
  /** Kind of the mapping that it is about. */
  readonly kind: number;
}

/** See the file's head. */
export class World {
  readonly k: Kernel;
  readonly slots: readonly Slot[] = Array.from(
    { length: SLOTS },
    (_, i) => new Slot(i),
  );
  readonly pool: PoolPage[] = [];
  /** Areas that were set up before vmalloc_init(). */
  readonly early: readonly VmStruct[];
  /** Told of each call as it begins, and as it ends; `null` = nobody. */
  watcher: ((t: Thread, text: string) => void) | null = null;
  /** The misuse that is under way. */
  misuse: Misuse | null = null;
  /** Calls under way that may be given addresses, and all that ever began. */
  takersUnderWay = 0;
  takers = 0;
  /** Mappings that slots hold. */
  live = 0;
  /** Where vread() copies to: nobody looks at it. */
  readonly buffer: Uint8Array = new Uint8Array(4);
  /** Value of the last write. */
  serial = 0;
  /** Memory and objects when it began. */
  readonly #pagesAtStart: number;

  /** Fills the pool, on CPU 0 of `machine`. */
  constructor(readonly machine: ExploreMachine) {
    this.k = machine.k;
    const early: VmStruct[] = [];
    // Nobody has mapped anything yet.
    for (let vm = this.k.early_vmlist; vm !== null; vm = vm.next) {
      early.push(vm);
    }
    this.early = early;
    machine.run([(t) => this.#fillPool(t)], new RuleChooser());
    this.#pagesAtStart = accountedPages(this.k);
  }

  /** What each task does; function i is for CPU i. Early calls are not among it: see `earlyFunction`. */
  functions({ tasks }: Program): TaskFunction[] {
    return tasks.map((calls) => (t: Thread) => this.#runTask(t, calls));
  }

  /** Gives back all that slots hold. */
  cleanup(): TaskFunction[] {
    return [(t) => this.#emptyAll(t)];
  }

  /** Whether slots hold nothing. */
  get empty(): boolean {
    return this.slots.every(({ mappings }) => mappings.length === 0);
  }

  /** What slots hold, by number and kind of call, for `describeProgram`. */
  inUse(): Map<number, number> {
    const held = new Map<number, number>();
    for (const { number, mappings } of this.slots) {
      if (mappings.length === 0) continue;
      const { kind } = mappings[0];
      held.set(number, mappings.length > 1 ? CallKind.BURST : kind);
    }
    return held;
  }

  /**
   * What has been lost, if slots hold nothing and no grace period is waited for:
   * after {@linkcode World.cleanup} and `machine.settle()`.
   *
   * @returns A sentence for each.
   */
  leaks(): string[] {
    const { k } = this;
    const found: string[] = [];
    const { areas, blocks } = k.vmap.counters();
    const inUse = k.slab.inUse();
    const compare = (name: string, expected: number) => {
      const count = inUse.get(name) ?? expected;
      if (count !== expected) {
        found.push(`${count} of ${name} are in use, ${expected} are known`);
      }
    };
    compare("vm_struct", 0);
    if (k.vmap.name === "rewrite") {
      compare("vmap_area", areas - this.early.length);
      compare("vmap_block", blocks);
    }
    const pages = this.#pagesAtStart - accountedPages(k);
    if (pages !== 0) found.push(`${pages} pages are lost`);
    return found;
  }

  *#fillPool(t: Thread): Steps {
    while (this.pool.length < POOL) {
      const page = yield* alloc_page(t, GFP_KERNEL);
      if (page === null) return;
      this.pool.push(new PoolPage(page));
    }
  }

  *#runTask(t: Thread, calls: readonly Call[]): Steps {
    for (let i = 0; i < calls.length; i++) yield* perform(t, this, calls[i]);
  }

  *#emptyAll(t: Thread): Steps {
    for (let i = 0; i < this.slots.length; i++) {
      yield* empty_slot(t, this, this.slots[i], Infinity);
    }
  }
}

/** Pages that are free, hold slabs, or are page tables: programs change none of this sum for good. */
function accountedPages(k: Kernel): number {
  const slabs = k.slab.slabinfo().reduce(
    (sum, { slabs, pagesPerSlab }) => sum + slabs * pagesPerSlab,
    0,
  );
  return nr_unused_pages(k) + k.init_mm.nr_tables + slabs;
}
