/**
 * Smaller programs to try when one fails, the biggest steps first. Always in
 * the same order, and each smaller by {@linkcode weightOf}, so that taking the
 * first that still fails, again and again, comes to an end.
 */
import { OpKind, type Program, type ProgramOp } from "./op.ts";

/** What shrinking lowers: operations first, then their numbers. */
export function weightOf({ early, tasks }: Program): number {
  let weight = 0;
  for (const ops of [early, ...tasks]) {
    for (const { kind, n } of ops) weight += 2 ** 24 + 2 ** 17 * rank(kind) + n;
  }
  return weight;
}

/** Simple ones are lower. */
function rank(kind: number): number {
  return kind === OpKind.FREE_TWICE || kind === OpKind.BURST ? 1 : 0;
}

/**
 * Programs that are smaller than `program`: without all that a task does, all
 * early calls, half of a task's, one operation; with a lower number, a simpler
 * kind. Tasks keep their places, as each is on the CPU of its number.
 */
export function* shrinkCandidates(program: Program): Generator<Program> {
  const { early, tasks } = program;
  for (let i = 0; i < tasks.length; i++) {
    if (tasks[i].length > 1) yield withTask(program, i, []);
  }
  if (early.length > 1) yield { early: [], tasks };
  for (let i = 0; i < tasks.length; i++) {
    for (const ops of withoutHalves(tasks[i])) yield withTask(program, i, ops);
  }
  for (let i = 0; i < tasks.length; i++) {
    for (const ops of withoutOne(tasks[i])) yield withTask(program, i, ops);
  }
  for (const ops of withoutOne(early)) yield { early: ops, tasks };
  for (let i = 0; i < tasks.length; i++) {
    for (const ops of simpler(tasks[i])) yield withTask(program, i, ops);
  }
  for (const ops of simpler(early)) yield { early: ops, tasks };
}

function withTask(
  { early, tasks }: Program,
  i: number,
  ops: readonly ProgramOp[],
): Program {
  return { early, tasks: tasks.with(i, ops) };
}

type Ops = readonly ProgramOp[];

function* withoutHalves(ops: Ops): Generator<Ops> {
  if (ops.length < 4) return;
  const half = ops.length >> 1;
  yield ops.slice(half);
  yield ops.slice(0, half);
}

function* withoutOne(ops: Ops): Generator<Ops> {
  for (let i = ops.length - 1; i >= 0; i--) yield ops.toSpliced(i, 1);
}

function* simpler(ops: Ops): Generator<Ops> {
  for (let i = 0; i < ops.length; i++) {
    const { kind, slot, n } = ops[i];
    if (kind === OpKind.BURST) {
      yield ops.with(i, { kind: OpKind.MAP_RAM, slot, n: Math.min(n, 1) });
    }
    if (kind === OpKind.FREE_TWICE) {
      yield ops.with(i, { kind: OpKind.FREE, slot, n });
    }
    for (const lower of lowerThan(n)) {
      yield ops.with(i, { kind, slot, n: lower });
    }
  }
}

/** Numbers below `n`, each once: 0, 1, the half, one less. */
function lowerThan(n: number): number[] {
  return [...new Set([0, 1, n >> 1, n - 1])].filter((m) => m >= 0 && m < n);
}
