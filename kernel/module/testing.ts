/** For tests of the loader: files with something changed in them, and kernels that give everything back. */
import { assertEquals } from "@std/assert";
import { labModules } from "../../boot/images/lab_modules.ts";
import { ModuleOracle } from "../../boot/workloads/module_oracle.ts";
import type { Steps } from "../../arch/asm.ts";
import type { Kernel } from "../kernel.ts";
import { inventory, settle } from "../../tests/_machine.ts";
import { runVm, type VmOptions } from "../mm/vm_testing.ts";
import type { Thread } from "../thread.ts";
import { sys_delete_module, sys_init_module } from "./sys_module.ts";

/** The modules of `tests/modules`. */
export const FILES = await labModules();

/** Bytes of a file header, of a section header, of a relocation. */
const SHDR = 64;

/** A copy of a file that can be spoilt by name. */
export class Patched {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly #oracle: ModuleOracle;

  constructor(file: Uint8Array) {
    this.bytes = file.slice();
    this.view = new DataView(this.bytes.buffer);
    this.#oracle = new ModuleOracle(file);
  }

  /** Number of the section called `name`. */
  index(name: string): number {
    const i = this.#oracle.headers.findIndex((h) => h.name === name);
    if (i < 0) throw new RangeError(`No section ${name}`);
    return i;
  }

  /** Where the header of `name` is in the file. */
  header(name: string): number {
    const shoff = Number(this.view.getBigUint64(40, true));
    return shoff + SHDR * this.index(name);
  }

  /** Where the contents of `name` are. */
  contents(name: string): number {
    return this.#oracle.headers[this.index(name)].offset;
  }

  u8(at: number, value: number): this {
    this.view.setUint8(at, value);
    return this;
  }

  u16(at: number, value: number): this {
    this.view.setUint16(at, value, true);
    return this;
  }

  u32(at: number, value: number): this {
    this.view.setUint32(at, value, true);
    return this;
  }

  u64(at: number, value: bigint): this {
    this.view.setBigUint64(at, BigInt.asUintN(64, value), true);
    return this;
  }

  /** Writes `to` over the first `from`, which is as long. */
  text(from: string, to: string): this {
    const all = new TextDecoder("latin1").decode(this.bytes);
    const at = all.indexOf(from);
    if (at < 0) throw new RangeError(`No ${from}`);
    this.bytes.set(new TextEncoder().encode(to), at);
    return this;
  }
}

/** Runs `fn`, which must leave nothing behind; a first load makes what stays. */
export function withModules<T>(
  options: VmOptions,
  fn: (t: Thread) => Steps<T>,
): { result: T; k: Kernel } {
  const { result, k } = runVm(options, function* (t) {
    yield* warm_up(t);
    yield* settle(t);
    const before = inventory(t.k);
    const result = yield* fn(t);
    yield* settle(t);
    assertEquals(inventory(t.k), before);
    assertEquals(t.k.vmap.check(), []);
    return result;
  });
  return { result, k };
}

function* warm_up(t: Thread): Steps {
  for (const name of ["lab_base", "lab_user", "lab_percpu"] as const) {
    yield* sys_init_module(t, FILES[name]);
  }
  for (const name of ["lab_user", "lab_base", "lab_percpu"]) {
    yield* sys_delete_module(t, name);
  }
}

/** The log from line `from` on, without time stamps. */
export function log(k: Kernel, from = 0): string[] {
  return k.printk.lines().slice(from).map(({ text }) => text);
}

/** Tries to load `file`. @returns The error, and what the kernel said. */
export function* attempt(
  t: Thread,
  file: Uint8Array,
): Steps<[error: number, said: string[]]> {
  const before = t.k.printk.lines().length;
  const error = yield* sys_init_module(t, file);
  return [error, log(t.k, before)];
}
