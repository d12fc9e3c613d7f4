/**
 * The module workload: tasks, one a CPU, that load modules which a compiler made
 * and unload them again, all through module_mutex, as the kernel has it.
 *
 * Each task's modules have names of their own, written over those in the files.
 * One that everybody needs, `lab_base`, stays; now and then somebody tries to
 * load it again or to unload it, which must fail.
 *
 * When a module has been linked, and before its init region goes, every section
 * is read back through the MMU and compared with what another linker makes of
 * the file (module_oracle.ts). A difference is a kernel bug.
 */
import { charge, enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import { Rng } from "../../arch/sim/random.ts";
import { BUG, BUG_ON } from "../../kernel/bug.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import {
  kthread_bind,
  kthread_create,
  kthread_join,
} from "../../kernel/kthread.ts";
import {
  EAGAIN,
  EEXIST,
  ENOMEM,
  err,
  errname,
} from "../../kernel/lib/errno.ts";
import { addr64, type U64 } from "../../kernel/lib/u64.ts";
import { copy_out_at } from "../../kernel/module/access.ts";
import {
  type Module,
  module_state,
  type ModuleNotifier,
  register_module_notifier,
  unregister_module_notifier,
} from "../../kernel/module/module.ts";
import { percpu_copy } from "../../kernel/module/percpu_modalloc.ts";
import {
  sys_delete_module,
  sys_init_module,
} from "../../kernel/module/sys_module.ts";
import { wake_up_process } from "../../kernel/sched/wakeup.ts";
import type { Thread } from "../../kernel/thread.ts";
import { msleep } from "../../kernel/timer.ts";
import type { LabModuleName } from "../images/lab_modules.ts";
import {
  armFaults,
  failedOp,
  faultsInjected,
  holdFaults,
} from "../injected.ts";
import { Barrier } from "./barrier.ts";
import { ModuleOracle } from "./module_oracle.ts";
import { spread } from "./spread.ts";

const TASK = ksym("module_churn");

/** The modules, by name. */
export type ModuleFiles = Readonly<Record<LabModuleName, Uint8Array>>;

/** What to run. */
export interface ModuleChurn {
  /** Tasks in parallel. */
  readonly threads: number;
  /** Modules that each loads and unloads. */
  readonly ops: number;
  /** The modules, by name. */
  readonly files: ModuleFiles;
  /** Called when the last task is at the line, and when all operations are done. */
  readonly onWindow?: (edge: "start" | "end") => void;
  /** Called now and then with the operations done. */
  readonly onProgress?: (done: number) => void;
}

/** What came out. */
export interface ModulesChurned {
  /** From the last task's arrival at the line to the end of the last operation, cycles. */
  readonly windowCycles: number;
  /** Modules loaded and unloaded in that time. */
  readonly opsInWindow: number;
  /** Sections that were read back, each CPU's copy of per-CPU data for itself. */
  readonly sections: number;
  /** Bytes of them. */
  readonly bytes: number;
  /** Attempts that failed as they must. */
  readonly refusals: number;
}

/** User mode's part: reading the file's name, the two calls. */
const LOOP_INSTRUCTIONS = 200;
/** One operation in this many also tries what must fail. */
const REFUSED_EVERY = 8;
/** Pause before the start, as in map_touch_unmap.ts. */
const QUIET_MS = 40;
/** What the tasks load. */
const CHURNED: readonly LabModuleName[] = ["lab_user", "lab_percpu", "lab_big"];
/** Where a file has the name in `struct module`, and its bytes at most. */
const NAME_OFFSET = 24;
const NAME_BYTES = 56;

/** Modules to load, and what was seen of those that were. */
export class ModuleTrial {
  /** By name of the module: its file, taken apart. */
  readonly oracles: Map<string, ModuleOracle> = new Map();
  /** Sections read back; each CPU's copy of per-CPU data counts. */
  sections = 0;
  /** Bytes of them. */
  bytes = 0;
  /** Attempts that failed as they must. */
  refusals = 0;
  readonly #check: ModuleNotifier;

  constructor(readonly files: ModuleFiles) {
    const check_module_of = (t: Thread, mod: Module) =>
      check_module(t, this, mod);
    this.#check = function* (t, mod, state) {
      if (state === "coming") yield* check_module_of(t, mod);
    };
  }

  /** Loads what all others need. Context: process. */
  *begin(t: Thread): Steps {
    const { lab_base } = this.files;
    yield* register_module_notifier(t, this.#check);
    yield* must(t, load(t, this, "lab_base", lab_base), 0, "insmod lab_base");
  }

  /** Unloads it. Context: process. */
  *end(t: Thread): Steps {
    yield* must(t, sys_delete_module(t, "lab_base"), 0, "rmmod lab_base");
    yield* unregister_module_notifier(t, this.#check);
  }

  /** Loads a module of task `id`'s, has it compared, and unloads it. Context: process. */
  *load_and_unload(t: Thread, id: number, rng: Rng): Steps {
    const kind = CHURNED[rng.below(CHURNED.length)];
    const name = `${kind}_${id}`;
    const file = renamed(this.files[kind], name);
    const what = `insmod ${name}`;
    if (!(yield* should(t, load(t, this, name, file), 0, what))) return;
    if (rng.below(REFUSED_EVERY) === 0) {
      yield* this.#try_what_fails(t, kind === "lab_user");
    }
    yield* must(t, sys_delete_module(t, name), 0, `rmmod ${name}`);
  }

  *#try_what_fails(t: Thread, inUse: boolean): Steps {
    const again = sys_init_module(t, this.files.lab_base);
    const what = "insmod lab_base again";
    if (yield* should(t, again, err(EEXIST), what)) this.refusals++;
    if (!inUse) return;
    const away = sys_delete_module(t, "lab_base");
    yield* must(t, away, err(EAGAIN), "rmmod lab_base in use");
    this.refusals++;
  }
}

/** What the tasks share. */
class Run {
  readonly line: Barrier;
  readonly trial: ModuleTrial;
  done = 0;
  startedAt = 0;
  endedAt = 0;

  constructor(k: Kernel, readonly what: ModuleChurn) {
    this.line = new Barrier(k, what.threads);
    this.trial = new ModuleTrial(what.files);
  }
}

/** Runs the workload. Context: process. */
export function* module_churn(
  t: Thread,
  what: ModuleChurn,
): Steps<ModulesChurned> {
  holdFaults(t.k);
  const run = new Run(t.k, what);
  yield* run.trial.begin(t);
  const rng = new Rng(t.k.params.seed);
  const tasks: Thread[] = [];
  const cpus = spread(t);
  for (let id = 0; id < what.threads; id++) {
    const own = new Rng(rng.nextU32());
    const p = yield* kthread_create(
      t,
      (self) => task(self, run, id, own),
      `insmod/${id}`,
    );
    kthread_bind(p, cpus[id % cpus.length]);
    yield* wake_up_process(t, p);
    tasks.push(p);
  }
  for (let i = 0; i < tasks.length; i++) yield* kthread_join(t, tasks[i]);
  yield* run.trial.end(t);
  const { sections, bytes, refusals } = run.trial;
  return {
    windowCycles: run.endedAt - run.startedAt,
    opsInWindow: run.done,
    sections,
    bytes,
    refusals,
  };
}

function* task(t: Thread, run: Run, id: number, rng: Rng): Steps {
  const { what } = run;
  enter(t, TASK);
  yield* msleep(t, QUIET_MS);
  yield* run.line.wait(t, () => {
    run.startedAt = t.cpu.clock;
    armFaults(t.k);
    what.onWindow?.("start");
  });
  for (let i = 0; i < what.ops; i++) {
    charge(t, LOOP_INSTRUCTIONS);
    yield* run.trial.load_and_unload(t, id, rng);
    run.done++;
    what.onProgress?.(run.done);
    if (run.done < what.threads * what.ops) continue;
    run.endedAt = t.cpu.clock;
    what.onWindow?.("end");
  }
  leave(t);
}

/** Loads `file`, of which the trial knows by then. */
function* load(
  t: Thread,
  trial: ModuleTrial,
  name: string,
  file: Uint8Array,
): Steps<number> {
  trial.oracles.set(name, new ModuleOracle(file));
  return yield* sys_init_module(t, file);
}

/** {@linkcode must}, or an operation that fails as memory was refused. @returns Whether it is as it must be. */
function* should(
  t: Thread,
  steps: Steps<number>,
  want: number,
  what: string,
): Steps<boolean> {
  const got = yield* steps;
  if (got === want) return true;
  const wrong = `${what} is ${errname(got)}, but should be ${errname(want)}`;
  if (got !== err(ENOMEM) || !faultsInjected(t.k)) BUG(t, wrong);
  failedOp(t, wrong);
  return false;
}

function* must(
  t: Thread,
  steps: Steps<number>,
  want: number,
  what: string,
): Steps {
  const got = yield* steps;
  if (got === want) return;
  BUG(t, `${what} is ${errname(got)}, but should be ${errname(want)}`);
}

/** The file with another name for the module. */
export function renamed(file: Uint8Array, name: string): Uint8Array {
  const copy = file.slice();
  const section = new ModuleOracle(file).headers
    .find((header) => header.name === ".gnu.linkonce.this_module")!;
  const field = copy.subarray(section.offset + NAME_OFFSET).subarray(
    0,
    NAME_BYTES,
  );
  field.fill(0);
  new TextEncoder().encodeInto(name, field.subarray(0, NAME_BYTES - 1));
  return copy;
}

function big({ lo, hi }: U64): bigint {
  return BigInt(hi) << 32n | BigInt(lo);
}

/** Compares every section of `mod` with the oracle's. */
export function* check_module(
  t: Thread,
  trial: ModuleTrial,
  mod: Module,
): Steps {
  const oracle = trial.oracles.get(mod.name);
  if (oracle === undefined) return;
  const state = module_state(t.k);
  const exported = new Map<string, U64>();
  for (const { used } of state.uses.filter(({ user }) => user === mod)) {
    for (const { name, value } of used.syms) exported.set(name, value);
  }
  const { contents, table, dropped } = oracle.relocated({
    sections: mod.sections.map(({ index, addr }) => ({
      index,
      addr: big(addr64(addr)),
    })),
    percpu: mod.percpu === null ? null : big(addr64(mod.percpu.addr)),
    symbol: (name) => {
      const value = exported.get(name) ?? state.symbols.find(name)?.value;
      return value && big(value);
    },
  });
  for (const { name, index, addr, size } of mod.sections) {
    check_place(t, mod, addr, size);
    const found = yield* copy_out_at(t, addr, size);
    if (index === table) {
      for (const i of dropped) {
        found[24 * i + 4] = 0;
        found.fill(0, 24 * i + 8, 24 * i + 16);
      }
    }
    compare(t, trial, `${mod.name}: ${name}`, found, contents.get(index)!);
  }
  if (mod.percpu === null) return;
  const index = oracle.headers.findIndex(({ name }) =>
    /^\.data\.{1,2}percpu$/.test(name)
  );
  for (const cpu of t.k.cpu_possible.list) {
    const from = percpu_copy(t, mod.percpu, cpu);
    const found = yield* copy_out_at(t, from, mod.percpu.size);
    const what = `${mod.name}: .data.percpu of CPU ${cpu}`;
    compare(t, trial, what, found, contents.get(index)!);
  }
}

/** A section lies in a region of its module, and that in the modules' range. */
function check_place(t: Thread, mod: Module, addr: number, size: number): void {
  const { start, end } = t.k.vmalloc.modules;
  const within = (from: number, bytes: number) =>
    from !== 0 && addr >= from && addr + size <= from + bytes;
  const inside = within(mod.core, mod.core_size) ||
    within(mod.init, mod.init_size);
  BUG_ON(t, !inside, `${mod.name} has a section outside its regions`);
  const reachable = addr >= start && addr + size <= end;
  BUG_ON(t, !reachable, `${mod.name} lies outside the modules' range`);
}

function compare(
  t: Thread,
  trial: ModuleTrial,
  what: string,
  found: Uint8Array,
  wanted: Uint8Array,
): void {
  trial.sections++;
  trial.bytes += found.length;
  for (let i = 0; i < found.length; i++) {
    if (found[i] === wanted[i]) continue;
    BUG(
      t,
      `${what} has 0x${found[i].toString(16)} at byte ${i}, but should have 0x${
        wanted[i].toString(16)
      }`,
    );
  }
}
