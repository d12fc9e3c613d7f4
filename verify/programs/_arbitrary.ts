/** Programs for fast-check. */
import fc from "fast-check";
import {
  type Call,
  CallKind,
  EIGHTHS,
  MAX_N,
  type Program,
  SLOTS,
} from "./call.ts";

const number = fc.oneof(fc.nat({ max: 12 }), fc.nat({ max: MAX_N }));

const call: fc.Arbitrary<Call> = fc.record({
  kind: fc.nat({ max: CallKind.EARLY_AREA - 1 }),
  slot: fc.nat({ max: SLOTS - 1 }),
  n: number,
});

const earlyCall: fc.Arbitrary<Call> = fc.oneof(
  fc.record({
    kind: fc.constant(CallKind.EARLY_AREA),
    slot: fc.nat({ max: EIGHTHS - 1 }),
    n: number,
  }),
  fc.constant({ kind: CallKind.FLUSH, slot: 0, n: 0 }),
);

/** Any program of up to four tasks, those that no generator makes too. */
export const programs: fc.Arbitrary<Program> = fc.record({
  early: fc.array(earlyCall, { maxLength: 3 }),
  tasks: fc.array(fc.array(call, { maxLength: 8 }), {
    minLength: 1,
    maxLength: 4,
  }),
});
