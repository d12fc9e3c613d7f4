/** Programs for fast-check. */
import fc from "fast-check";
import {
  EIGHTHS,
  MAX_N,
  OpKind,
  type Program,
  type ProgramOp,
  SLOTS,
} from "./op.ts";

const number = fc.oneof(fc.nat({ max: 12 }), fc.nat({ max: MAX_N }));

const op: fc.Arbitrary<ProgramOp> = fc.record({
  kind: fc.nat({ max: OpKind.EARLY_AREA - 1 }),
  slot: fc.nat({ max: SLOTS - 1 }),
  n: number,
});

const earlyOp: fc.Arbitrary<ProgramOp> = fc.oneof(
  fc.record({
    kind: fc.constant(OpKind.EARLY_AREA),
    slot: fc.nat({ max: EIGHTHS - 1 }),
    n: number,
  }),
  fc.constant({ kind: OpKind.FLUSH, slot: 0, n: 0 }),
);

/** Any program of up to four tasks, those that no generator makes too. */
export const programs: fc.Arbitrary<Program> = fc.record({
  early: fc.array(earlyOp, { maxLength: 3 }),
  tasks: fc.array(fc.array(op, { maxLength: 8 }), {
    minLength: 1,
    maxLength: 4,
  }),
});
