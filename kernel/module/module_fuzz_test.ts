/**
 * Modules with random bytes: whatever they are, loading returns, errors are
 * error numbers, and memory comes back. Each failure names its seed, which does
 * it again.
 */
import { assert, assertEquals } from "@std/assert";
import type { Steps } from "../../arch/asm.ts";
import { Rng } from "../../arch/sim/random.ts";
import { IS_ERR_VALUE } from "../lib/errno.ts";
import type { Thread } from "../thread.ts";
import { FILES, withModules } from "./testing.ts";
import { module_kallsyms } from "./kallsyms.ts";
import { module_state } from "./module.ts";
import {
  proc_modules,
  sys_delete_module,
  sys_init_module,
} from "./sys_module.ts";

/** How many modules to spoil; `MODULE_FUZZ=n` for more. */
const ROUNDS = Number(
  (await Deno.permissions.query({ name: "env" })).state === "granted"
    ? Deno.env.get("MODULE_FUZZ") ?? 1000
    : 1000,
);
/** Most places that are spoilt at once. */
const MOST = 5;
/** Fields that are aimed at: bytes of the file header, of a section header, of a table's entry. */
const HEADER = 64;

const KINDS = ["lab_base", "lab_percpu", "lab_user"] as const;
const ODD = [0, 1, 0x7f, 0x80, 0xff, 0xfe];

/** Where to spoil: headers and tables more often than the rest. */
function place(rng: Rng, file: Uint8Array): number {
  const view = new DataView(file.buffer);
  const shoff = Number(view.getBigUint64(40, true));
  const count = view.getUint16(60, true);
  const within = (at: number, length: number) =>
    Math.min(file.length - 1, at + rng.below(Math.max(1, length)));
  const offset = (i: number) =>
    Number(view.getBigUint64(shoff + HEADER * i + 24, true));
  switch (rng.below(8)) {
    case 0:
      return within(16, HEADER - 16);
    case 1:
    case 2:
    case 3:
      return within(shoff, HEADER * count);
    case 4:
    case 5: { // a symbol, a relocation, a string
      const i = rng.below(count);
      if (shoff + HEADER * (i + 1) > file.length) return 0;
      const at = offset(i);
      return at < file.length ? within(at, 400) : 0;
    }
    default:
      return rng.below(file.length);
  }
}

function spoilt(rng: Rng, file: Uint8Array): Uint8Array {
  const bytes = file.slice();
  const places = Array.from(
    { length: 1 + rng.below(MOST) },
    () => place(rng, file),
  );
  for (const at of places) {
    switch (rng.below(4)) {
      case 0:
        bytes[at] = rng.below(256);
        break;
      case 1:
        bytes[at] ^= 1 << rng.below(8);
        break;
      case 2:
        bytes.fill(ODD[rng.below(ODD.length)], at, at + 1 + rng.below(8));
        break;
      default: // right somewhere else
        bytes.copyWithin(at, place(rng, file), at + 8);
    }
  }
  return rng.below(20) === 0 ? bytes.slice(0, rng.below(bytes.length)) : bytes;
}

/** @returns The error, or 0. */
function* round(t: Thread, seed: number): Steps<number> {
  const rng = new Rng(seed);
  const file = spoilt(rng, FILES[KINDS[rng.below(KINDS.length)]]);
  yield* sys_init_module(t, FILES.lab_base);
  const error = yield* sys_init_module(t, file);
  assert(error === 0 || IS_ERR_VALUE(error), `${error}`);
  yield* proc_modules(t);
  yield* module_kallsyms(t);
  const { modules } = module_state(t.k);
  // Newest first: what uses another comes before it.
  while (modules.next !== modules) {
    const mod = modules.next.owner!;
    mod.has_exit = true; // one whose name is spoilt could never be unloaded
    assertEquals(yield* sys_delete_module(t, mod.name), 0);
  }
  return error;
}

Deno.test(`${ROUNDS} modules with random bytes are loaded or refused without harm`, () => {
  const errors = new Map<number, number>();
  let seed = 1;
  try {
    withModules({ cpus: 2 }, function* (t) {
      for (; seed <= ROUNDS; seed++) {
        const error = yield* round(t, seed);
        errors.set(error, (errors.get(error) ?? 0) + 1);
      }
    });
  } catch (error) {
    throw new Error(`Seed ${seed} fails: ${(error as Error).message}`, {
      cause: error,
    });
  }
  assert(errors.size > 3, `${[...errors]}`);
});
