/**
 * Frames through netfront: each task has an interface, sends bursts of frames to
 * the peer that echoes, and compares every byte of what comes back. The frames
 * are made up, or those of a capture file.
 */
import { enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import { Rng } from "../../arch/sim/random.ts";
import { BUG, BUG_ON } from "../../kernel/bug.ts";
import { mismatch } from "../../kernel/drivers/xen/copy.ts";
import { echoed } from "../../kernel/drivers/xen/echo_peer.ts";
import {
  ETH_FRAME_LEN,
  ETH_HLEN,
  type NetFrame,
  netfront_receive,
  netfront_send,
} from "../../kernel/drivers/xen/netfront_io.ts";
import {
  type Vif,
  vif_attach,
  vif_detach,
} from "../../kernel/drivers/xen/xen_devices.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import { errname } from "../../kernel/lib/errno.ts";
import { page_address } from "../../kernel/mm/page.ts";
import { __free_page } from "../../kernel/mm/page_alloc.ts";
import { KERN_INFO, printk } from "../../kernel/printk.ts";
import type { Thread } from "../../kernel/thread.ts";
import { failedOp, faultsInjected } from "../injected.ts";
import type { Part, PartMaker } from "./part.ts";
import { run_exercise, XENBUS_INITCALL } from "./xen_exercise.ts";

const TASK = ksym("xen_net_exercise");

/** Frames sent before the first answer is waited for. */
const BURST = 16;
/** Frames made up, sent over and over. */
const MADE_UP = 64;
/** Shortest of them: what Ethernet pads to. */
const MIN_MADE_UP = 60;
/** EtherType of experiments (IEEE Std 802). */
const ETH_P_802_EX1 = 0x88b5;
/** Longest wait for an answer, seconds: it takes microseconds. */
const PATIENCE_S = 10;

/** What has been done and found right. */
export interface XenNetCounts {
  /** Frames that came back, each compared byte by byte with what was sent. */
  frames: number;
  /** Bytes compared. */
  bytes: number;
}

/** Whether an interface can carry `frame`: the header is there, and it is not longer than the MTU allows. */
export function canSend(frame: Uint8Array): boolean {
  return frame.length >= ETH_HLEN && frame.length <= ETH_FRAME_LEN;
}

function madeUp(rng: Rng): Uint8Array[] {
  return Array.from({ length: MADE_UP }, () => {
    const length = MIN_MADE_UP + rng.below(ETH_FRAME_LEN - MIN_MADE_UP + 1);
    const frame = new Uint8Array(length);
    for (let i = 0; i < length; i++) frame[i] = rng.below(256);
    frame[12] = ETH_P_802_EX1 >> 8;
    frame[13] = ETH_P_802_EX1 & 0xff;
    return frame;
  });
}

/** See the file's head. */
export class XenNetPart implements Part {
  readonly name = "xen-net";
  readonly unit = `bursts of ${BURST} frames echoed`;
  readonly counts: XenNetCounts = { frames: 0, bytes: 0 };
  readonly #frames: readonly Uint8Array[];
  readonly #echoes: readonly Uint8Array[];
  /** The next frame of each task. */
  readonly #next: number[] = [];
  /** Frames that were given and are left out, since no interface can carry them. */
  readonly #unfit: number;
  /** Whether frames were given and nothing has been said of them yet. */
  #given: boolean;
  /** Frames of each task's share that it has not sent yet; all 0 if they are made up. */
  readonly #left: number[] = [];
  readonly #vifs: Vif[] = [];

  /** @param frames What to send, over and over; those that {@linkcode canSend} refuses are left out. Left out or nothing: made up. */
  constructor(
    k: Kernel,
    readonly tasks: number,
    frames: readonly Uint8Array[] = [],
  ) {
    const fit = frames.filter(canSend);
    this.#given = fit.length > 0;
    this.#unfit = frames.length - fit.length;
    this.#frames = fit.length > 0 ? fit : madeUp(new Rng(k.params.seed));
    this.#echoes = this.#frames.map(echoed);
    // Each task begins where the one before has its share's end.
    const start = (i: number) => Math.floor(i * this.#frames.length / tasks);
    for (let i = 0; i < tasks; i++) {
      this.#next.push(start(i));
      this.#left.push(fit.length > 0 ? start(i + 1) - start(i) : 0);
    }
  }

  /** Bursts after which every frame has been sent. */
  get burstsForAll(): number {
    return Math.ceil(this.#frames.length / this.tasks / BURST);
  }

  *prepare(t: Thread): Steps<string | null> {
    if (t.k.xen === null) return "the machine has no Xen";
    for (let id = 0; id < this.tasks; id++) {
      const vif = yield* vif_attach(t);
      if (typeof vif === "number") BUG(t, `no interface: ${errname(vif)}`);
      this.#vifs.push(vif);
    }
    return null;
  }

  *step(t: Thread, id: number): Steps {
    enter(t, TASK);
    const { front } = this.#vifs[id];
    const { length } = this.#frames;
    const first = this.#next[id];
    const sent: Uint8Array[] = [];
    for (let i = 0; i < BURST; i++) {
      const nr = (first + i) % length;
      const error = yield* netfront_send(t, front, this.#frames[nr]);
      if (error === 0) sent.push(this.#echoes[nr]);
      else failedOp(t, `a frame cannot be sent: ${errname(error)}`);
    }
    yield* this.#expect(t, id, sent);
    this.#next[id] = (first + BURST) % length;
    this.#left[id] = Math.max(0, this.#left[id] - BURST);
    leave(t);
  }

  /** Receives `echoes`, of which some are missing if memory was refused on their way. */
  *#expect(t: Thread, id: number, echoes: readonly Uint8Array[]): Steps {
    const patience = PATIENCE_S * t.machine.spec.kernel.hz;
    const { front } = this.#vifs[id];
    const lost = () => failedOp(t, "a frame does not come back");
    for (let next = 0; next < echoes.length; next++) {
      const got = yield* netfront_receive(t, front, patience);
      if (got === null) {
        for (; next < echoes.length; next++) lost();
        return;
      }
      let wrong = yield* this.#mismatch(t, got, echoes[next]);
      while (
        wrong >= 0 && next + 1 < echoes.length && faultsInjected(t.k)
      ) {
        lost();
        next++;
        wrong = yield* this.#mismatch(t, got, echoes[next]);
      }
      BUG_ON(t, wrong >= 0, `byte ${wrong} of a frame comes back wrong`);
      yield* __free_page(t, got.page);
      this.counts.frames++;
      this.counts.bytes += got.length;
    }
  }

  /** First byte of `got` that is not as in `want`; -1 = none. */
  *#mismatch(t: Thread, got: NetFrame, want: Uint8Array): Steps<number> {
    if (got.length !== want.length) return Math.min(got.length, want.length);
    const at = page_address(t.k, got.page) + got.offset;
    return yield* mismatch(t, at, want);
  }

  *finish(t: Thread): Steps {
    yield* this.#send_rest(t);
    for (let id = 0; id < this.tasks; id++) {
      const { front, back } = this.#vifs[id];
      const errors = front.counts.tx_errors + front.counts.rx_errors +
        back.counts.dropped;
      const wrong = errors > 0 && !faultsInjected(t.k);
      BUG_ON(t, wrong, "a frame had an error");
      yield* vif_detach(t, this.#vifs[id]);
    }
    this.#vifs.length = 0;
  }

  /** Frames that were given are all sent once, however short the time was. */
  *#send_rest(t: Thread): Steps {
    if (!this.#given) return;
    this.#given = false; // once
    for (let id = 0; id < this.tasks; id++) {
      while (this.#left[id] > 0) yield* this.step(t, id);
    }
    printk(
      t,
      KERN_INFO,
      `xen-net: ${this.#frames.length} frames given came back byte by byte, ${this.#unfit} are not of ${ETH_HLEN} to ${ETH_FRAME_LEN} bytes`,
    );
  }
}

/** The part for a mixed run, with `tasks` interfaces. */
export function xenNetPart(
  tasks: number,
  frames: readonly Uint8Array[] = [],
): PartMaker {
  return {
    initcalls: [XENBUS_INITCALL],
    make: (k) => new XenNetPart(k, tasks, frames),
  };
}

/**
 * Attaches `tasks` interfaces, sends `bursts` of 16 frames through each, or as
 * many as it takes to send every frame of `frames` once, and detaches them.
 *
 * Context: process; the machine has Xen.
 *
 * @returns What was done and found right. A difference is a BUG.
 */
export function* xen_net_exercise(
  t: Thread,
  { tasks, bursts, frames }: {
    readonly tasks: number;
    readonly bursts?: number;
    readonly frames?: readonly Uint8Array[];
  },
): Steps<XenNetCounts> {
  const part = new XenNetPart(t.k, tasks, frames);
  yield* run_exercise(t, part, bursts ?? part.burstsForAll);
  return part.counts;
}
