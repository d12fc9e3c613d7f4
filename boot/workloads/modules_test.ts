import { assert, assertEquals, assertThrows } from "@std/assert";
import { findPreset } from "../../arch/hw/presets/index.ts";
import { vload, vstore } from "../../arch/asm.ts";
import { KernelBug } from "../../kernel/bug.ts";
import {
  type ModuleNotifier,
  register_module_notifier,
} from "../../kernel/module/module.ts";
import { inventory, LAYERS, settle } from "../../tests/_machine.ts";
import { boot } from "../boot.ts";
import { labModules } from "../images/lab_modules.ts";
import { runModules } from "../run_modules.ts";
import { module_churn } from "./modules.ts";

const FILES = await labModules();

for (const vmap of LAYERS) {
  Deno.test(`${vmap}: 8 tasks load, compare and unload modules, and leave nothing behind`, () => {
    const booted = boot({ params: { vmap } });
    const { kernel } = booted;
    const what = { threads: 8, ops: 6, files: FILES };
    booted.run((t) => module_churn(t, what)); // makes what stays
    booted.run(settle);
    const before = inventory(kernel);
    const done = booted.run((t) => module_churn(t, what));
    booted.run(settle);
    assertEquals(inventory(kernel), before);
    assertEquals(kernel.vmap.check(), []);
    assertEquals(kernel.printk.warnings, 0);
    assertEquals(done.opsInWindow, 48);
    assert(done.sections > 48 * 10, `${done.sections}`);
    assert(done.refusals > 0);
  });
}

Deno.test("module_churn() sees a byte that is not what it should be", () => {
  const booted = boot();
  const spoil: ModuleNotifier = function* (t, mod, state) {
    if (state !== "coming" || mod.name === "lab_base") return;
    const { addr } = mod.sections.find(({ name }) => name === ".text")!;
    yield* vstore(t, addr + 5, 1, (yield* vload(t, addr + 5, 1)) ^ 1);
  };
  assertThrows(
    () =>
      booted.run(function* (t) {
        yield* register_module_notifier(t, spoil);
        yield* module_churn(t, { threads: 1, ops: 1, files: FILES });
      }),
    KernelBug,
    ": .text has 0x",
  );
});

Deno.test("module_churn() does not survive purges that leave TLBs alone", () => {
  const quirks = new Set(["purge-without-flush"]);
  const run = (vmap_quirk: ReadonlySet<string>) => {
    const booted = boot({ params: { lazy_max: 64, vmap_quirk } });
    return booted.run((t) =>
      module_churn(t, { threads: 8, ops: 40, files: FILES })
    );
  };
  assertEquals(run(new Set()).opsInWindow, 320);
  assertThrows(() => run(quirks), KernelBug);
});

Deno.test("runModules() gives the same twice", () => {
  const run = () =>
    runModules({
      spec: findPreset("opteron-2x4"),
      layers: ["rewrite"],
      threads: [3],
      ops: 4,
      files: FILES,
    });
  assertEquals(run(), run());
});
