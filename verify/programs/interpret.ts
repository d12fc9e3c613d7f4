/**
 * What each call of a program does, and what it expects of the kernel:
 *
 * - an allocation may fail; then the slot stays empty;
 * - addresses that a call returns are within the range asked for, and no live
 *   mapping has them;
 * - they lead to the pages that were to be mapped, until they are given back;
 * - a word written through one mapping is read back through any other, and in
 *   the direct map.
 *
 * What is otherwise is reported as by a sanitizer called `data`.
 */
import { describeNow } from "./describe.ts";
import { enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import { vm_unmap_aliases } from "../../kernel/mm/vmalloc.ts";
import type { Thread } from "../../kernel/thread.ts";
import { empty_slot, fill_slot } from "./map.ts";
import { free_twice } from "./misuse.ts";
import { type Call, CallKind } from "./call.ts";
import type { Slot } from "./slot.ts";
import { lookup, read_any, recycle, touch, use_privately } from "./use.ts";
import type { World } from "./world.ts";

export { earlyFunction } from "./early.ts";
export { isRefusal } from "./misuse.ts";

/** By kind of call: what call traces show. */
const SYMBOLS = [
  "do_vmalloc",
  "do_vmap",
  "do_vm_map_ram",
  "do_burst",
  "do_area",
  "do_range",
  "do_free",
  "do_free_twice",
  "do_touch",
  "do_lookup",
  "do_read",
  "do_flush",
  "do_private",
  "do_recycle",
  "do_early_area",
].map(ksym);

/** Performs `call`, as far as its slot allows. */
export function* perform(t: Thread, w: World, call: Call): Steps {
  const { kind, n } = call;
  const slot = w.slots[call.slot];
  const empties = kind <= CallKind.RANGE && slot.mappings.length > 0;
  enter(t, SYMBOLS[empties ? CallKind.FREE : kind]);
  w.machine.shared();
  if (w.watcher !== null) {
    const { format } = t.machine.mmu;
    w.watcher(t, `-> ${describeNow(format, slot, call)}`);
  }
  switch (kind) {
    case CallKind.READ:
      yield* read_any(t, w, slot, n);
      break;
    case CallKind.FLUSH:
      yield* vm_unmap_aliases(t);
      break;
    case CallKind.PRIVATE:
      yield* use_privately(t, w, n);
      break;
    case CallKind.RECYCLE:
      yield* recycle(t, w, n);
      break;
    case CallKind.TOUCH:
    case CallKind.LOOKUP:
      if (slot.busy || slot.mappings.length === 0) break;
      slot.users++;
      if (kind === CallKind.TOUCH) yield* touch(t, w, slot, n);
      else yield* lookup(t, slot.mappings[0]);
      slot.users--;
      break;
    default:
      if (slot.busy || slot.users > 0) break;
      slot.busy = true;
      yield* change(t, w, slot, kind, n);
      slot.busy = false;
  }
  w.machine.shared();
  w.watcher?.(t, "<-");
  leave(t);
}

/** Changes what a slot holds that has been claimed. */
function* change(
  t: Thread,
  w: World,
  slot: Slot,
  kind: number,
  n: number,
): Steps {
  const full = slot.mappings.length > 0;
  if (kind <= CallKind.RANGE) {
    if (full) yield* empty_slot(t, w, slot, Infinity);
    // A misuse under way is harmless only as long as nobody gets addresses.
    else if (w.misuse === null) {
      w.takersUnderWay++;
      w.takers++;
      yield* fill_slot(t, w, slot, kind, n);
      w.takersUnderWay--;
    }
    return;
  }
  if (!full) return;
  if (kind === CallKind.FREE) {
    yield* empty_slot(t, w, slot, n === 0 ? Infinity : n);
  } else yield* free_twice(t, w, slot);
}
