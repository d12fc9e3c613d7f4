/** Loads modules on a machine that has booted, as insmod(8) does. */
import {
  EEXIST,
  ENOENT,
  ENOEXEC,
  errname,
  type Errno,
} from "../kernel/lib/errno.ts";
import type { MapSymbol } from "../kernel/module/kernel_symbols.ts";
import { module_state } from "../kernel/module/module.ts";
import { sys_init_module } from "../kernel/module/sys_module.ts";
import type { BootedMachine } from "./boot.ts";
import { WorkloadError } from "./workload_error.ts";

/** A module in a file. */
export interface ModuleFile {
  /** For messages. */
  readonly path: string;
  /** What the file holds. */
  readonly bytes: Uint8Array;
}

/** What to load. */
export interface Insmod {
  /** In this order. */
  readonly files: readonly ModuleFile[];
  /** Symbols that the kernel exports besides its own, or elsewhere. */
  readonly symbols: readonly MapSymbol[];
}

/** What insmod says of an error. */
function moderror(error: Errno): string {
  switch (-error) {
    case ENOEXEC:
      return "Invalid module format";
    case ENOENT:
      return "Unknown symbol in module";
    case EEXIST:
      return "File exists";
    default:
      return "Cannot load it";
  }
}

/**
 * Loads every file, or says which one the kernel does not take.
 *
 * @throws {WorkloadError} For the first that fails, with what the kernel said.
 */
export function insmod(
  booted: BootedMachine,
  { files, symbols }: Insmod,
): void {
  module_state(booted.kernel).symbols.add(symbols);
  for (const { path, bytes } of files) {
    const before = booted.dmesg().length;
    const error = booted.run((t) => sys_init_module(t, bytes));
    if (error === 0) continue;
    throw new WorkloadError(
      `Cannot insert module ${JSON.stringify(path)}: ${errname(error)} (${
        moderror(error)
      })`,
      booted.dmesg().slice(before),
    );
  }
}
