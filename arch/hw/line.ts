/**
 * Cache lines and what it costs to get one.
 *
 * A line is in one CPU's cache, in several, or in memory only. Reading it needs
 * a copy, writing it needs the only copy. Requests for one line are served one
 * after the other, in the order in which they were made (`busyUntil`): the home
 * node of a line keeps later requests waiting until the one under way is done
 * (Conway and Hughes, "The AMD Opteron Northbridge Architecture", IEEE Micro
 * 27(2), 2007). One that has waited is there already, and done sooner than one
 * that must travel first. Contention is nothing but this queue.
 *
 * A machine with a directory keeps shared lines in memory too, and its home
 * hands out copies of those without asking anybody (`cache.homeBusyCycles`).
 *
 * Left out: the distance between nodes, one average for all; that
 * invalidations go out to one sharer after another; capacity. A line stays where it was used last; what the kernel's
 * vmap layer touches fits a second-level cache of 512 KiB.
 */
import type { Cpu } from "../sim/cpu.ts";
import { ZERO_CYCLES } from "../sim/cycles.ts";
import type { Engine } from "../sim/engine.ts";
import { Rng } from "../sim/random.ts";
import type { ParkedList, ParkingPlace } from "../sim/waiters.ts";
import type { MachineSpec } from "./spec.ts";

/** No CPU has the line. */
const NOBODY = -1;
/** Sharers sit in more than one socket. */
const SEVERAL = -2;

/**
 * One line's place in the caches. All fields belong to {@linkcode Coherence}.
 *
 * @example
 * ```ts
 * import { boot, CacheLine, write_line } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const line = new CacheLine(1); // in node 1's memory
 * boot().run((t) => write_line(t, line));
 * assertEquals(line.owner, 0); // pid 1 runs on CPU 0
 * ```
 */
export class CacheLine implements ParkingPlace {
  /** CPU that supplies the line: it has it modified, exclusive, or owned beside sharers. */
  owner: number = NOBODY;
  /** CPUs with a copy besides the owner. */
  nrSharers = 0;
  /** Their bits, 32 a word; `null` until first shared. */
  sharers: Uint32Array | null = null;
  /** Socket of all sharers, or {@linkcode SEVERAL}. */
  sharerSocket: number = NOBODY;
  /** Until then the line's home serves an earlier request, cycles. */
  busyUntil: number = ZERO_CYCLES;
  waiters: ParkedList | null = null;

  /** NUMA node of its memory. */
  declare readonly node: number;

  /** A line that no cache holds. */
  constructor(node: number) {
    this.node = node;
  }
}

/** Latencies between the CPUs of one machine. */
export class Coherence {
  readonly #hit: number = 0;
  readonly #sameSocket: number = 0;
  readonly #otherSocket: number = 0;
  readonly #memoryLocal: number = 0;
  readonly #memoryRemote: number = 0;
  readonly #queuedShare: number = 0;
  /** Between two copies of a shared line from its home; -1 = the owner gives them. */
  readonly #homeBusy: number = 0;
  readonly #words: number = 0;
  /** By CPU. */
  readonly #sockets: Int32Array;
  readonly #nodes: Int32Array;
  readonly #jitter: number = 0;
  readonly #rng: Rng;

  declare readonly engine: Engine;

  constructor(engine: Engine, spec: MachineSpec, seed: number) {
    this.engine = engine;
    this.#jitter = spec.cache.jitterCycles + 1;
    this.#rng = new Rng(seed);
    this.#hit = spec.cache.hitCycles;
    this.#sameSocket = spec.cache.sameSocketCycles;
    this.#otherSocket = spec.cache.otherSocketCycles;
    this.#memoryLocal = spec.cache.memoryLocalCycles;
    this.#memoryRemote = spec.cache.memoryRemoteCycles;
    this.#queuedShare = spec.cache.queuedShare;
    this.#homeBusy = spec.cache.homeBusyCycles ?? -1;
    this.#sockets = Int32Array.from(engine.cpus, ({ socket }) => socket);
    this.#nodes = Int32Array.from(engine.cpus, ({ node }) => node);
    this.#words = Math.ceil(engine.cpus.length / 32);
  }

  /** Whether `cpu` has a copy of `line`: nobody has written it since it was read. */
  has(cpu: Cpu, line: CacheLine): boolean {
    return hasCopy(cpu.id, line);
  }

  /**
   * `cpu` gets a copy of `line`.
   *
   * @returns How long that takes, cycles: a small integer, which unlike a clock
   * the host passes around without allocating.
   */
  read(cpu: Cpu, line: CacheLine): number {
    return hasCopy(cpu.id, line)
      ? this.#hit
      : this.#fetch(cpu.id, line, cpu.clock);
  }

  /** {@linkcode read} of CPU number `id` at the time `now`, to which its clock has yet to come. */
  readAt(id: number, line: CacheLine, now: number): number {
    return hasCopy(id, line) ? this.#hit : this.#fetch(id, line, now);
  }

  /** CPU `id` gets the copy of `line` that it has not. @returns How long that takes, cycles. */
  #fetch(id: number, line: CacheLine, now: number): number {
    const done = this.#homeBusy >= 0 && line.nrSharers > 0
      ? this.#copyFromHome(id, line, now)
      : this.#transfer(now, line, this.#distance(id, line));
    if (line.owner === NOBODY) {
      line.owner = id;
      return done;
    }
    line.sharers ??= new Uint32Array(this.#words);
    line.sharers[id >> 5] |= 1 << (id & 31);
    const socket = this.#sockets[id];
    line.sharerSocket = line.nrSharers === 0 || line.sharerSocket === socket
      ? socket
      : SEVERAL;
    line.nrSharers++;
    return done;
  }

  /** `cpu` gets the only copy of `line`. @returns How long that takes, cycles. */
  write(cpu: Cpu, line: CacheLine): number {
    const id = cpu.id;
    if (line.owner === id && line.nrSharers === 0) {
      line.busyUntil = cpu.clock + this.#hit; // may lie ahead of others' clocks
      return this.#hit;
    }
    let latency = line.owner === id ? 0 : this.#distance(id, line);
    if (line.nrSharers > 0) {
      const others = line.sharerSocket === cpu.socket
        ? this.#sameSocket
        : this.#otherSocket;
      if (others > latency) latency = others;
      forget(line.sharers!);
      line.nrSharers = 0;
    }
    line.owner = id;
    return this.#transfer(cpu.clock, line, latency);
  }

  /** Latency to whoever supplies the line to `cpu`. */
  #distance(id: number, line: CacheLine): number {
    if (line.owner === NOBODY) {
      return this.#memory(id, line);
    }
    return this.#sockets[line.owner] === this.#sockets[id]
      ? this.#sameSocket
      : this.#otherSocket;
  }

  /** Latency from memory to CPU `id`. */
  #memory(id: number, line: CacheLine): number {
    return line.node === this.#nodes[id]
      ? this.#memoryLocal
      : this.#memoryRemote;
  }

  /**
   * A copy of a shared line, from its home's memory: behind what is under way,
   * but no longer in others' way than the home takes to send it.
   */
  #copyFromHome(id: number, line: CacheLine, now: number): number {
    const latency = this.#memory(id, line);
    const back = (latency * this.#queuedShare + 0.5) | 0;
    const alone = now + latency;
    const queued = line.busyUntil + back;
    const done = alone > queued ? alone : queued;
    line.busyUntil = done - back + this.#homeBusy;
    const late = this.#late();
    return (done + late - now) | 0;
  }

  /** How much later than usual a line arrives, cycles: up to the machine's jitter. */
  #late(): number {
    // Unsigned in, a small integer out: V8 divides integers only then.
    return this.#jitter > 1
      ? ((this.#rng.nextU32() >>> 0) % (this.#jitter >>> 0)) | 0
      : 0;
  }

  /** Queues behind the request under way. @returns Cycles until it is served. */
  #transfer(now: number, line: CacheLine, latency: number): number {
    const alone = now + latency;
    const queued = line.busyUntil + ((latency * this.#queuedShare + 0.5) | 0);
    const late = this.#late();
    line.busyUntil = (alone > queued ? alone : queued) + late;
    return (line.busyUntil - now) | 0;
  }
}

/** Whether CPU `id` has a copy of `line`. */
function hasCopy(id: number, line: CacheLine): boolean {
  return line.owner === id || (line.nrSharers > 0 && isSharer(line, id));
}

/** `fill(0)`, which for a few words is a call out of the compiled code. */
function forget(sharers: Uint32Array): void {
  for (let i = 0; i < sharers.length; i++) sharers[i] = 0;
}

function isSharer(line: CacheLine, id: number): boolean {
  return (line.sharers![id >> 5] & (1 << (id & 31))) !== 0;
}
