/**
 * `.modinfo`: NAME=VALUE strings that a module says of itself, and what the
 * kernel makes of them (kernel/module.c).
 *
 * Changed: a module for another kernel is loaded with the kernel's message and
 * taint, as `modprobe --force` has it, since nothing here executes it.
 */
import { charge, type Steps } from "../../arch/asm.ts";
import { KERN_ERR, KERN_WARNING, printk } from "../printk.ts";
import type { Thread } from "../thread.ts";
import { get_string } from "./access.ts";
import { type LoadInfo, printable } from "./image.ts";
import {
  add_taint_module,
  type Module,
  module_state,
  TAINT_CRAP,
  TAINT_FORCED_MODULE,
  TAINT_PROPRIETARY_MODULE,
} from "./module.ts";

/** Version magic of this kernel. */
export const VERMAGIC = "2.6.28 SMP mod_unload ";

/** license_is_gpl_compatible(). */
const GPL_COMPATIBLE: readonly string[] = [
  "GPL",
  "GPL v2",
  "GPL and additional rights",
  "Dual BSD/GPL",
  "Dual MIT/GPL",
  "Dual MPL/GPL",
];

/** Longest value that is kept, characters. */
const MAX_VALUE = 1024;

/** The first value of each tag. */
export type Modinfo = ReadonlyMap<string, string>;

/** Reads all of `.modinfo`. */
export function* read_modinfo(t: Thread, info: LoadInfo): Steps<Modinfo> {
  const found = new Map<string, string>();
  if (info.infoindex === 0) return found;
  const { addr, size } = info.section(info.infoindex);
  for (let at = addr; at < addr + size;) {
    const text = yield* get_string(t, at, addr + size);
    charge(t, 10);
    const equals = text.indexOf("=");
    const tag = text.slice(0, equals);
    if (equals > 0 && !found.has(tag)) {
      found.set(tag, printable(text.slice(equals + 1, equals + 1 + MAX_VALUE)));
    }
    at += text.length + 1;
  }
  return found;
}

/** Says what a module for another kernel is for. */
export function check_magic(t: Thread, mod: Module, modinfo: Modinfo): void {
  charge(t, 20);
  const magic = modinfo.get("vermagic");
  if (magic === VERMAGIC) return;
  if (magic === undefined) {
    if ((module_state(t.k).tainted & TAINT_FORCED_MODULE) === 0) {
      printk(
        t,
        KERN_WARNING,
        `${mod.name}: no version for "magic" found: kernel tainted.`,
      );
    }
  } else {
    printk(
      t,
      KERN_ERR,
      `${mod.name}: version magic '${magic}' should be '${VERMAGIC}'`,
    );
  }
  add_taint_module(t, mod, TAINT_FORCED_MODULE);
}

/** Notes what a module says of itself: licence, staging, what it needs. */
export function set_license(t: Thread, mod: Module, modinfo: Modinfo): void {
  charge(t, 60);
  mod.vermagic = modinfo.get("vermagic") ?? "";
  mod.depends = (modinfo.get("depends") ?? "").split(",")
    .filter((name) => name !== "");
  mod.license = modinfo.get("license") ?? "unspecified";
  if (modinfo.has("staging")) {
    add_taint_module(t, mod, TAINT_CRAP);
    printk(
      t,
      KERN_WARNING,
      `${mod.name}: module is from the staging directory, the quality is unknown, you have been warned.`,
    );
  }
  if (GPL_COMPATIBLE.includes(mod.license)) return;
  if ((module_state(t.k).tainted & TAINT_PROPRIETARY_MODULE) === 0) {
    printk(
      t,
      KERN_WARNING,
      `${mod.name}: module license '${mod.license}' taints kernel.`,
    );
  }
  add_taint_module(t, mod, TAINT_PROPRIETARY_MODULE);
}
