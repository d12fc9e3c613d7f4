/**
 * The kernel log: a ring of lines, bounded in bytes, each with its level, its
 * virtual time and its CPU (kernel/printk.c).
 *
 * Differs from Linux: a line is an object, not bytes in a buffer, and a line
 * that does not fit pushes out whole old lines. Nothing is written to a serial
 * console, so a message costs its formatting only.
 */
import { charge, enter, ksym, leave } from "../arch/asm.ts";
import type { Thread } from "./thread.ts";

/** System is unusable. */
export const KERN_EMERG = 0;
/** Action must be taken at once. */
export const KERN_ALERT = 1;
/** Critical conditions. */
export const KERN_CRIT = 2;
/** Error conditions. */
export const KERN_ERR = 3;
/** Warning conditions. */
export const KERN_WARNING = 4;
/** Normal but significant. */
export const KERN_NOTICE = 5;
/** Informational. */
export const KERN_INFO = 6;
/** Debugging. */
export const KERN_DEBUG = 7;

/** CONFIG_LOG_BUF_SHIFT = 17. */
const LOG_BUF_BYTES = 1 << 17;
/** `<6>` and the newline, which each line takes in the buffer. */
const PREFIX_BYTES = 4;

const PRINTK = ksym("printk");
const WARN_SLOWPATH = ksym("warn_slowpath");

/** One line of the log. */
export interface LogLine {
  /** 0 = emergency, to 7 = debug. */
  readonly level: number;
  /** When it was printed, on that CPU's clock. */
  readonly atCycles: number;
  /** CPU that printed it. */
  readonly cpu: number;
  /** Without time stamp and newline. */
  readonly text: string;
}

/**
 * The log of one kernel.
 *
 * Linux: kernel/printk.c.
 *
 * @example
 * ```ts
 * import { boot, KERN_NOTICE } from "@vmaplab/vmaplab";
 * import { assert, assertEquals } from "@std/assert";
 *
 * const { kernel } = boot();
 * const [first] = kernel.printk.lines();
 * assertEquals([first.level, first.cpu], [KERN_NOTICE, 0]);
 * assert(first.text.startsWith("Linux version 2.6.28"));
 * ```
 */
export class Printk {
  #lines: LogLine[] = [];
  /** First line that is still in the ring; the ones before are dropped lazily. */
  #first = 0;
  #bytes = 0;
  /** Warnings so far. */
  warnings = 0;
  /** Lines pushed out of the ring. */
  dropped = 0;
  /** Called with every line as it is printed: the console. `null` = none. */
  console: ((line: LogLine) => void) | null = null;

  /** An empty log. */
  constructor(
    /** Clock of the machine, for time stamps, hertz. */
    readonly clockHz: number,
    readonly capacityBytes: number = LOG_BUF_BYTES,
  ) {}

  /** Logs `text`, a line for each newline in it. `t` = `null` before anything runs. */
  emit(t: Thread | null, level: number, text: string): void {
    if (t !== null) {
      enter(t, PRINTK);
      charge(t, 400 + 6 * text.length);
    }
    for (const line of text.split("\n")) {
      this.#append({
        level,
        atCycles: t === null ? 0 : t.cpu.clock,
        cpu: t === null ? 0 : t.cpu.id,
        text: line,
      });
    }
    if (t !== null) leave(t);
  }

  /** Logs a warning with the call trace of `t`, as WARN() of 2.6.28 lays it out. */
  warn(t: Thread, what: string): void {
    this.warnings++;
    const trace = t.backtrace();
    enter(t, WARN_SLOWPATH);
    const lines = [
      "------------[ cut here ]------------",
      `WARNING: at ${trace[0]}: ${what}`,
      `Pid: ${t.task.pid}, comm: ${t.task.name} Not tainted 2.6.28 #1`,
      "Call Trace:",
      ...trace.map((name) => ` ${name}`),
      `---[ end trace ${hex16(this.warnings)} ]---`,
    ];
    this.emit(t, KERN_WARNING, lines.join("\n"));
    leave(t);
  }

  /** What is in the ring, oldest first. */
  lines(): readonly LogLine[] {
    return this.#lines.slice(this.#first);
  }

  /** The log as `dmesg` prints it: lines of a level below `loglevel`. */
  dmesg(loglevel = 8): string {
    return this.lines().filter((line) => line.level < loglevel)
      .map((line) => `${this.stamp(line.atCycles)} ${line.text}\n`).join("");
  }

  /** A time stamp such as `[    1.234567]`. */
  stamp(atCycles: number): string {
    const us = Math.floor(atCycles * 1e6 / this.clockHz);
    const seconds = String(Math.floor(us / 1e6)).padStart(5);
    return `[${seconds}.${String(us % 1e6).padStart(6, "0")}]`;
  }

  #append(line: LogLine): void {
    this.#lines.push(line);
    this.#bytes += sizeBytes(line);
    while (
      this.#bytes > this.capacityBytes && this.#first < this.#lines.length - 1
    ) {
      this.#bytes -= sizeBytes(this.#lines[this.#first++]);
      this.dropped++;
    }
    if (this.#first > 1000 && this.#first * 2 > this.#lines.length) {
      this.#lines = this.#lines.slice(this.#first);
      this.#first = 0;
    }
    this.console?.(line);
  }
}

function sizeBytes(line: LogLine): number {
  return PREFIX_BYTES + "[    0.000000] ".length + line.text.length;
}

function hex16(n: number): string {
  return n.toString(16).padStart(16, "0");
}

/**
 * Logs `text` at `level`.
 *
 * Context: any.
 *
 * Linux: kernel/printk.c.
 *
 * @example
 * ```ts
 * import { boot, KERN_INFO, printk } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const machine = boot();
 * machine.run(function* (t) {
 *   printk(t, KERN_INFO, "my_driver: up");
 * });
 * assert(machine.dmesg().at(-1)?.endsWith("] my_driver: up"));
 * ```
 */
export function printk(t: Thread, level: number, text: string): void {
  t.k.printk.emit(t, level, text);
}
