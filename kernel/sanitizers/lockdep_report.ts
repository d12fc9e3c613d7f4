/** How lockdep tells what it has found: headlines and paragraphs, in Linux's words. */
import { symName } from "../../arch/sim/symbol.ts";
import type { Kernel } from "../kernel.ts";
import type { Thread } from "../thread.ts";
import {
  ANSWER,
  type DepClass,
  type DepEdge,
  fact,
  HARDIRQ,
  isReaders,
  shortestWay,
} from "./lockdep_class.ts";
import type { HeldLocks } from "./lockdep_held.ts";
import { type ReportSection, type Spot, spotSection } from "./report.ts";

/** What the two facts of a pair are called: above, below. */
const PAIR_NAMES = [
  ["IN-HARDIRQ", "HARDIRQ-ON"],
  ["IN-SOFTIRQ", "SOFTIRQ-ON"],
  ["ASKED-IRQS-OFF", "HELD-OVER-IPI"],
] as const;

/** What a report is made of. */
export interface Finding {
  readonly headline: string;
  readonly sections: readonly ReportSection[];
}

/** Locks in a circle: `edge`, just seen, and the way `back`. */
export function cycleFinding(
  t: Thread,
  held: HeldLocks,
  edge: DepEdge,
  back: readonly DepEdge[],
): Finding {
  const names = [edge.from, ...back.map(({ from }) => from)]
    .map(({ name }) => name);
  return {
    headline: `INFO: possible circular locking dependency detected: ${
      fromLeast(names).join(" -> ")
    }`,
    sections: [
      ...askingSections(t, edge.to, held, held.classes.indexOf(edge.from)),
      {
        title: "the existing dependency chain (in reverse order) is:",
        lines: [],
      },
      ...back.map((e) => edgeSection(t.k, e)).reverse(),
    ],
  };
}

/** Two facts of `pair` that have met at `at`. */
export function clashFinding(k: Kernel, at: DepClass, pair: number): Finding {
  const either = fact(pair, false) | fact(pair, true);
  const way = shortestWay((c) => (c.ownAbove & either) !== 0, at);
  const first = way.length === 0 ? at : way[0].from;
  const [above, below] = PAIR_NAMES[pair];
  return {
    headline: clashHeadline(pair, first, at),
    sections: [
      factSection(k, first, above, first.ownAbove & either, first.aboveSpots),
      ...way.map((e) => edgeSection(k, e)),
      factSection(k, at, below, at.below & either, at.belowSpots),
    ],
  };
}

function clashHeadline(pair: number, first: DepClass, last: DepClass): string {
  const names = first === last ? first.name : `${first.name} -> ${last.name}`;
  if (pair === ANSWER) {
    return `INFO: possible deadlock: ${names} is asked for with interrupts off and held while other CPUs are to answer an interrupt`;
  }
  const [above, below] = PAIR_NAMES[pair];
  if (first === last) {
    return `INFO: inconsistent lock state: ${names} is {${above}} and {${below}}`;
  }
  const irq = pair === HARDIRQ ? "HARDIRQ" : "SOFTIRQ";
  return `INFO: ${irq}-safe -> ${irq}-unsafe lock order detected: ${names}`;
}

/** What `t` wants, and what of it it has: the lock at `index` of `held`. */
export function askingSections(
  t: Thread,
  cls: DepClass,
  held: HeldLocks,
  index: number,
): ReportSection[] {
  return [
    {
      title: `${whoIs(t)} is trying to acquire lock:`,
      lines: [`(${cls.name}), at: ${symName(callerOf(t))}`],
    },
    {
      title: "but task is already holding lock:",
      lines: [heldLine(held, index)],
    },
  ];
}

/** All that `t` holds. */
export function heldSection(t: Thread, held: HeldLocks): ReportSection {
  const who = whoIs(t);
  if (held.depth === 0) return { title: `no locks held by ${who}.`, lines: [] };
  const lines: string[] = [];
  for (let i = 0; i < held.depth; i++) {
    lines.push(`#${i}: ${heldLine(held, i)}`);
  }
  const n = held.depth === 1 ? "1 lock" : `${held.depth} locks`;
  return { title: `${n} held by ${who}:`, lines };
}

/** What keeps `t` from sleeping. */
export function contextLine(t: Thread): string {
  const atomic = t.isInterrupt || t.preempt_count + t.softirq_count > 0;
  const off = !t.cpu.irqsOn;
  return `in_atomic(): ${Number(atomic)}, irqs_disabled(): ${
    Number(off)
  }, pid: ${t.task.pid}, name: ${t.name}`;
}

/** Symbol of who calls the lock function that `t` is in. */
export function callerOf(t: Thread): number {
  return t.stack[t.depth >= 2 ? t.depth - 2 : 0];
}

function whoIs(t: Thread): string {
  return `${t.name}/${t.task.pid}`;
}

function heldLine(held: HeldLocks, index: number): string {
  return `(${held.classes[index].name}), at: ${symName(held.callers[index])}`;
}

function edgeSection(k: Kernel, { from, to, spot }: DepEdge): ReportSection {
  return spotSection(k, `-> (${from.name}) held, (${to.name}) asked for`, spot);
}

/** `bits`: the class's facts of one pair; the lowest is shown. */
function factSection(
  k: Kernel,
  cls: DepClass,
  name: string,
  bits: number,
  spots: readonly (Spot | undefined)[],
): ReportSection {
  const bit = 31 - Math.clz32(bits & -bits);
  const kind = isReaders(bit) ? "R" : "W";
  return spotSection(k, `(${cls.name}) became {${name}-${kind}}`, spots[bit]!);
}

/** A circle's names, the first of them again at the end, from the least one on: one circle, one headline. */
function fromLeast(names: readonly string[]): string[] {
  const least = names.indexOf([...names].sort()[0]);
  const turned = [...names.slice(least), ...names.slice(0, least)];
  return [...turned, turned[0]];
}
