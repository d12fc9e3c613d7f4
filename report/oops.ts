/**
 * A kernel that could not go on, in the layout of a 2.6.28 oops.
 *
 * Differs from Linux: there are no registers, code bytes or addresses to show;
 * a deadlock lists every waiting CPU with what it waits for; a sanitizer's
 * report goes on with the other party's stack and the like; the last line
 * says how to see the same again.
 */

/** A CPU that waits for what cannot happen. */
export interface WaitingCpu {
  readonly cpu: number;
  readonly comm: string;
  readonly pid: number;
  /** What it waits for and who holds that. */
  readonly what: string;
  /** Call stack, innermost first. */
  readonly trace: readonly string[];
}

/** A paragraph of a sanitizer's report. */
export interface OopsSection {
  /** Such as `"write to va of 8 bytes by kthread/3:5 on CPU 1 at 0.000123:"`. */
  readonly title: string;
  /** A call stack, innermost first, or other lines. */
  readonly lines: readonly string[];
}

/** What an oops shows. */
export interface OopsReport {
  readonly headline: string;
  /** Virtual time, nanoseconds; `null` = not known. */
  readonly atNs: number | null;
  /** Where it happened; `null` = on no CPU in particular. */
  readonly where: {
    readonly cpu: number;
    readonly comm: string;
    readonly pid: number;
    /** Call stack, innermost first. */
    readonly trace: readonly string[];
  } | null;
  readonly waiting: readonly WaitingCpu[];
  /** What a sanitizer has to say besides; left out: none. */
  readonly sections?: readonly OopsSection[];
  /** `null` = whoever prints it says how to see it again. */
  readonly seed: number | null;
}

/** The oops, a line each, with time stamps; ends with a newline. */
export function formatOops(report: OopsReport): string {
  const stamp = report.atNs === null ? "" : `${timeStamp(report.atNs)} `;
  return [
    ...opening(report),
    ...place(report),
    ...report.waiting.flatMap(waiter),
    ...(report.sections ?? []).flatMap(section),
    `---[ end trace ${hex16(1)} ]---`,
    ...(report.seed === null
      ? []
      : [`Seed: ${report.seed} (the same arguments give the same oops)`]),
  ].map((line) => `${`${stamp}${line}`.trimEnd()}\n`).join("");
}

/** A time stamp such as `[    1.234567]`. */
export function timeStamp(ns: number): string {
  const us = Math.floor(ns / 1000);
  const seconds = String(Math.floor(us / 1e6)).padStart(5);
  return `[${seconds}.${String(us % 1e6).padStart(6, "0")}]`;
}

/** Headline and what the kind of oops puts around it. */
function opening({ headline, where }: OopsReport): string[] {
  if (/^kernel BUG\b/.test(headline)) {
    return [
      "------------[ cut here ]------------",
      headline,
      "invalid opcode: 0000 [#1] SMP",
    ];
  }
  if (/^BUG: unable to handle\b/.test(headline)) {
    const at = where === null ? [] : [`IP: ${where.trace[0] ?? "?"}`];
    return [headline, ...at, `Oops: ${errorCode(headline)} [#1] SMP`];
  }
  return [
    /^(BUG|INFO|Kernel panic)\b/.test(headline) ? headline : `BUG: ${headline}`,
  ];
}

/** Error code of an x86 page fault: bit 0 = the page was present, bit 1 = a write. */
function errorCode(headline: string): string {
  const present = headline.includes("read-only") ? 1 : 0;
  const write = headline.includes("(write") ? 2 : 0;
  return `000${present + write}`;
}

function place({ where }: OopsReport): string[] {
  if (where === null) return [];
  return [
    `CPU ${where.cpu}`,
    `Pid: ${where.pid}, comm: ${where.comm} Not tainted 2.6.28 #1`,
    ...callTrace(where.trace),
  ];
}

function waiter({ cpu, comm, pid, what, trace }: WaitingCpu): string[] {
  return [
    `CPU ${cpu}: ${comm}:${pid} waits for ${what}`,
    ...callTrace(trace),
  ];
}

function section({ title, lines }: OopsSection): string[] {
  return ["", title, ...lines.map((line) => ` ${line}`)];
}

function callTrace(trace: readonly string[]): string[] {
  return ["Call Trace:", ...trace.map((name) => ` ${name}`)];
}

function hex16(n: number): string {
  return n.toString(16).padStart(16, "0");
}
