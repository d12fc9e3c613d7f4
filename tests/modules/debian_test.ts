/**
 * Modules of a distribution: every `.ko` below the directory `KO_DIR` is loaded,
 * with addresses for all that it needs, compared with another linker's, and
 * unloaded. To get some:
 *
 *     apt-get download linux-image-6.1.0-50-cloud-amd64
 *     dpkg -x linux-image-*.deb /tmp/image
 *     KO_DIR=/tmp/image deno test -A tests/modules/debian_test.ts
 */
import { assert, assertEquals } from "@std/assert";
import { boot } from "../../boot/boot.ts";
import { ModuleOracle } from "../../boot/workloads/module_oracle.ts";
import { check_module, ModuleTrial } from "../../boot/workloads/modules.ts";
import { labModules } from "../../boot/images/lab_modules.ts";
import { ENOENT, err } from "../../kernel/lib/errno.ts";
import {
  module_state,
  register_module_notifier,
} from "../../kernel/module/module.ts";
import {
  sys_delete_module,
  sys_init_module,
} from "../../kernel/module/sys_module.ts";
import { inventory, settle } from "../_machine.ts";

const KO_DIR =
  (await Deno.permissions.query({ name: "env" })).state === "granted"
    ? Deno.env.get("KO_DIR")
    : undefined;

function* modulesBelow(path: string): Generator<string> {
  const entries = [...Deno.readDirSync(path)]
    .sort((a, b) => a.name < b.name ? -1 : 1);
  for (const { name, isDirectory } of entries) {
    if (isDirectory) yield* modulesBelow(`${path}/${name}`);
    else if (name.endsWith(".ko")) yield `${path}/${name}`;
  }
}

Deno.test({
  name: "modules of a distribution load as another linker has them",
  ignore: KO_DIR === undefined,
  async fn() {
    const lab = await labModules();
    const booted = boot();
    const { kernel } = booted;
    let sections = 0;
    let files = 0;
    for (const path of modulesBelow(KO_DIR!)) {
      const file = Deno.readFileSync(path);
      const oracle = new ModuleOracle(file);
      const trial = new ModuleTrial(lab);
      kernel.module = null; // so that each has symbols of its own
      const needed = oracle.undefinedSymbols();
      let name = "";
      const [without, result] = booted.run(function* (t) {
        yield* register_module_notifier(t, function* (t, mod, state) {
          if (state !== "coming") return;
          name = mod.name;
          trial.oracles.set(name, oracle);
          yield* check_module(t, trial, mod);
        });
        const without = yield* sys_init_module(t, file);
        module_state(t.k).symbols.add(needed.map((name, i) => ({
          name,
          value: { hi: 0xffffffff, lo: 0x81000000 + 16 * i },
        })));
        if (without === 0) return [without, 0];
        return [without, yield* sys_init_module(t, file)];
      });
      assert(without === 0 || without === err(ENOENT), `${path}: ${without}`);
      assertEquals(result, 0, path);
      sections += trial.sections;
      files++;
      const { modules } = module_state(kernel);
      modules.next.owner!.has_exit = true; // some are there for good
      assertEquals(booted.run((t) => sys_delete_module(t, name)), 0, path);
    }
    booted.run(settle);
    assertEquals(inventory(kernel).vm_structs, 4); // those of the boot
    console.log(`${files} modules, ${sections} sections`);
  },
});
