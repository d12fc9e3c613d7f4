/**
 * Smaller programs to try when one fails, the biggest steps first. Always in
 * the same order, and each has fewer calls, or as many with a lower number or a
 * simpler kind, so that taking the first that still fails, again and again, comes
 * to an end.
 */
import { type Call, CallKind, type Program } from "./call.ts";

/**
 * Programs that are smaller than `program`: without all that a task does, all
 * early calls, half of a task's, one call; with a lower number, a simpler
 * kind. Tasks keep their places, as each is on the CPU of its number.
 */
export function* shrinkCandidates(program: Program): Generator<Program> {
  const { early, tasks } = program;
  for (let i = 0; i < tasks.length; i++) {
    if (tasks[i].length > 1) yield withTask(program, i, []);
  }
  if (early.length > 1) yield { early: [], tasks };
  for (let i = 0; i < tasks.length; i++) {
    for (const calls of withoutHalves(tasks[i])) {
      yield withTask(program, i, calls);
    }
  }
  for (let i = 0; i < tasks.length; i++) {
    for (const calls of withoutOne(tasks[i])) yield withTask(program, i, calls);
  }
  for (const calls of withoutOne(early)) yield { early: calls, tasks };
  for (let i = 0; i < tasks.length; i++) {
    for (const calls of simpler(tasks[i])) yield withTask(program, i, calls);
  }
  for (const calls of simpler(early)) yield { early: calls, tasks };
}

function withTask(
  { early, tasks }: Program,
  i: number,
  calls: readonly Call[],
): Program {
  return { early, tasks: tasks.with(i, calls) };
}

type Calls = readonly Call[];

function* withoutHalves(calls: Calls): Generator<Calls> {
  if (calls.length < 4) return;
  const half = calls.length >> 1;
  yield calls.slice(half);
  yield calls.slice(0, half);
}

function* withoutOne(calls: Calls): Generator<Calls> {
  for (let i = calls.length - 1; i >= 0; i--) yield calls.toSpliced(i, 1);
}

function* simpler(calls: Calls): Generator<Calls> {
  for (let i = 0; i < calls.length; i++) {
    const { kind, slot, n } = calls[i];
    if (kind === CallKind.BURST) {
      yield calls.with(i, { kind: CallKind.MAP_RAM, slot, n: Math.min(n, 1) });
    }
    if (kind === CallKind.FREE_TWICE) {
      yield calls.with(i, { kind: CallKind.FREE, slot, n });
    }
    for (const lower of lowerThan(n)) {
      yield calls.with(i, { kind, slot, n: lower });
    }
  }
}

/** Numbers below `n`, each once: 0, 1, the half, one less. */
function lowerThan(n: number): number[] {
  return [...new Set([0, 1, n >> 1, n - 1])].filter((m) => m >= 0 && m < n);
}
