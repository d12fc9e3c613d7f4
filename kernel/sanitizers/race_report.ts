/** How the race sanitizer tells what it has found: KCSAN's headline, both accesses. */
import { OpKind } from "../../arch/op.ts";
import { symName } from "../../arch/sim/symbol.ts";
import type { Cell } from "../../arch/hw/cell.ts";
import type { Kernel } from "../kernel.ts";
import type { Thread } from "../thread.ts";
import { Access } from "./race_shadow.ts";
import { type ReportSection, SanitizerReport, spotSection } from "./report.ts";

/** How KCSAN calls each kind of access. */
const KIND_TEXT: Readonly<Record<number, string>> = {
  [OpKind.LOAD]: "read",
  [OpKind.STORE]: "write",
  [OpKind.READ_ONCE]: "read (marked)",
  [OpKind.SPIN]: "read (marked)",
  [OpKind.WRITE_ONCE]: "write (marked)",
  [OpKind.XCHG]: "read-write (marked)",
  [OpKind.CMPXCHG]: "read-write (marked)",
  [OpKind.SPIN_CMPXCHG]: "read-write (marked)",
  [OpKind.ADD]: "read-write (marked)",
  [OpKind.ADD_UNLESS]: "read-write (marked)",
};

/** What `t` does to `cell` now, and what somebody has done earlier. */
export function raceReport(
  t: Thread,
  kind: number,
  cell: Cell<unknown>,
  earlier: Access,
): SanitizerReport {
  const now = new Access();
  now.note(t, 0, false, kind);
  const [a, b] = [now, earlier].map((x) => symName(x.spot().stack[0])).sort();
  return new SanitizerReport(
    t,
    "race",
    `BUG: KCSAN: data-race in ${a} / ${b}`,
    [
      accessSection(t.k, cell, now),
      accessSection(t.k, cell, earlier),
    ],
  );
}

function accessSection(
  k: Kernel,
  cell: Cell<unknown>,
  access: Access,
): ReportSection {
  const kind = KIND_TEXT[access.kind];
  const what = `${kind} to ${cell.name} of ${sizeOf(cell.value)} bytes`;
  return spotSection(k, what, access.spot());
}

/** Bytes of a C variable with such a value: a bool, an int, a pointer. */
function sizeOf(value: unknown): number {
  if (typeof value === "boolean") return 1;
  return typeof value === "number" ? 4 : 8;
}
