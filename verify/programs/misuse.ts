/**
 * A mapping that is given back twice: what a caller may do by mistake, and the
 * kernel must notice.
 */
import type { Steps } from "../../arch/asm.ts";
import { KernelBug } from "../../kernel/bug.ts";
import { remove_vm_area } from "../../kernel/mm/vmalloc.ts";
import { SanitizerReport } from "../../kernel/sanitizers/report.ts";
import type { Thread } from "../../kernel/thread.ts";
import { unexpected } from "./expect.ts";
import { empty_slot, give_back } from "./map.ts";
import { CallKind } from "./call.ts";
import type { Slot } from "./slot.ts";
import type { World } from "./world.ts";

/** How headlines end of a vm_unmap_ram() of what is not mapped; a test provokes each. */
const REFUSALS = [
  "vm_unmap_ram of pages that are not mapped",
  "address lies in no block",
  "address is not mapped",
];
/** Sanitizers that see a second vm_unmap_ram() follow a block that is gone. */
const OBJECT_SANITIZERS = ["kasan", "rcu"];

/**
 * The second time is the caller's mistake, which the kernel must notice as long
 * as nobody has been given the address again: so not while others may be.
 */
export function* free_twice(t: Thread, w: World, slot: Slot): Steps {
  const { takers } = w;
  const alone = w.takersUnderWay === 0;
  const m = slot.mappings[0];
  yield* empty_slot(t, w, slot, 1);
  w.machine.shared();
  // Somebody may have been given these addresses meanwhile.
  if (!alone || w.takers !== takers || w.misuse !== null) return;
  w.misuse = { pid: t.task.pid, kind: m.kind };
  if (m.vm === null) yield* give_back(t, m);
  else if ((yield* remove_vm_area(t, m.addr)) !== null) {
    unexpected(t, "remove_vm_area() found an area that had been removed", []);
  }
  w.machine.shared();
  w.misuse = null;
}

/**
 * Whether `error` is how the kernel refuses a misuse that programs commit on
 * purpose: no finding, although the machine is of no use any more. A second
 * vm_unmap_ram() ends in a BUG, or reads a block that is gone by then, for which
 * its caller is to blame; the others are to be survived.
 */
export function isRefusal(error: unknown, w: World): boolean {
  if (!(error instanceof KernelBug) || w.misuse === null) return false;
  const { pid, kind } = w.misuse;
  if (pid !== error.pid || kind !== CallKind.MAP_RAM) return false;
  if (error instanceof SanitizerReport) {
    return OBJECT_SANITIZERS.includes(error.sanitizer);
  }
  return REFUSALS.some((text) => error.headline.endsWith(text));
}
