/**
 * The text form of programs (call.ts).
 *
 * For each call a capital letter, the slot's digit and the number, both in
 * base 36 with small letters, left out where they are 0 at the end; tasks are
 * separated by `.`; what runs before vmalloc_init() ends in `-`. Such as
 * `E03-R12T1F1.U`.
 */
import { type Call, CallKind, EIGHTHS, type Program, SLOTS } from "./call.ts";

export { describeProgram } from "./describe.ts";
export {
  type Call,
  CallKind,
  countCalls,
  EIGHTHS,
  HUGE,
  MAX_N,
  pagesOf,
  type Program,
  SLOTS,
  usesSlot,
} from "./call.ts";

/** Letters of the kinds, in their order. */
const LETTERS = "MVRBANFDTLKUPCE";

/** `program` as text; see the file's head. */
export function formatProgram({ early, tasks }: Program): string {
  if (tasks.length === 0) {
    throw new RangeError("Cannot write a program as it has no tasks");
  }
  const head = early.length === 0 ? "" : `${formatCalls(early)}-`;
  return head + tasks.map(formatCalls).join(".");
}

function formatCalls(calls: readonly Call[]): string {
  return calls.map(({ kind, slot, n }) => {
    const letter = LETTERS[kind];
    if (n > 0) return letter + slot.toString(36) + n.toString(36);
    return slot > 0 ? letter + slot.toString(36) : letter;
  }).join("");
}

/**
 * The inverse of {@linkcode formatProgram}.
 *
 * @throws {RangeError} If `text` is no program.
 */
export function parseProgram(text: string): Program {
  const parts = text.split("-");
  if (parts.length > 2) {
    throw new RangeError(
      `Cannot read a program as "${text}" has more than one "-"`,
    );
  }
  const early = parts.length === 2 ? parseCalls(parts[0], true) : [];
  const tasks = parts[parts.length - 1].split(".");
  return { early, tasks: tasks.map((calls) => parseCalls(calls, false)) };
}

function parseCalls(text: string, early: boolean): Call[] {
  const calls: Call[] = [];
  let at = 0;
  for (const match of text.matchAll(/([A-Z])([0-9a-z]?)([0-9a-z]{0,3})/g)) {
    if (match.index !== at) break;
    const [word, letter, slot, n] = match;
    const call: Call = {
      kind: LETTERS.indexOf(letter),
      slot: parseInt(slot || "0", 36),
      n: parseInt(n || "0", 36),
    };
    const wrong = whyWrong(call, early);
    if (wrong !== null) {
      throw new RangeError(`Cannot read a program as "${word}" ${wrong}`);
    }
    calls.push(call);
    at += word.length;
  }
  if (at < text.length) {
    const rest = text.slice(at, at + 12);
    throw new RangeError(
      `Cannot read a program as "${rest}" begins no call`,
    );
  }
  return calls;
}

/** Why `call` cannot be; `null` = it can. */
function whyWrong({ kind, slot }: Call, early: boolean): string | null {
  if (kind < 0) return "is no call";
  if (early && kind !== CallKind.EARLY_AREA && kind !== CallKind.FLUSH) {
    return 'cannot come before "-": only U and E can';
  }
  if (!early && kind === CallKind.EARLY_AREA) return 'must come before "-"';
  const slots = kind === CallKind.EARLY_AREA ? EIGHTHS : SLOTS;
  if (slot >= slots) {
    return `has a slot that is not 0 to ${(slots - 1).toString(36)}`;
  }
  return null;
}
