/**
 * Where the host hands work to pid 1. Time stands still in the machine while
 * the host has control.
 */
import type { Steps } from "../arch/asm.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { Thread } from "../kernel/thread.ts";

/** Work for pid 1. */
export interface HostJob {
  readonly fn: (t: Thread) => Steps<unknown>;
  done: boolean;
  result: unknown;
}

/** An initcall of one's own. */
export interface Initcall {
  /** Symbol under which it is profiled. */
  readonly name: string;
  /** What it does. Context: process, on pid 1. */
  readonly fn: (t: Thread) => Steps<unknown>;
}

const doors = new WeakMap<Kernel, HostDoor>();

/** One kernel's door. */
export class HostDoor {
  /** Whether pid 1 has got as far as asking for work. */
  booted = false;
  #job: HostJob | null = null;

  /** @param initcalls Run by do_initcalls(), in order. */
  constructor(k: Kernel, readonly initcalls: readonly Initcall[]) {
    doors.set(k, this);
  }

  /** The door of `k`. */
  static of(k: Kernel): HostDoor {
    const door = doors.get(k);
    if (door === undefined) {
      throw new TypeError("Cannot serve the host as the kernel has no door");
    }
    return door;
  }

  /** Leaves work for pid 1. */
  give(job: HostJob): void {
    this.#job = job;
  }

  /** Takes it; `null` = none. */
  take(): HostJob | null {
    const job = this.#job;
    this.#job = null;
    return job;
  }
}
