/** The embedded modules are what the sources say: this compiler's load as well. Ignored without gcc for x86-64. */
import { assertEquals } from "@std/assert";
import { boot } from "../../boot/boot.ts";
import type { LabModuleName } from "../../boot/images/lab_modules.ts";
import { labModules } from "../../boot/images/lab_modules.ts";
import { ModuleOracle } from "../../boot/workloads/module_oracle.ts";
import { module_churn } from "../../boot/workloads/modules.ts";
import { compile, NAMES } from "./build.ts";

async function haveGcc(): Promise<boolean> {
  const run = await Deno.permissions.query({ name: "run", command: "gcc" });
  const write = await Deno.permissions.query({ name: "write" });
  if (run.state !== "granted" || write.state !== "granted") return false;
  try {
    const { stdout } = await new Deno.Command("gcc", { args: ["-dumpmachine"] })
      .output();
    return new TextDecoder().decode(stdout).startsWith("x86_64");
  } catch {
    return false;
  }
}

/** Names of symbols that each module wants of others. */
function needs(files: Readonly<Record<LabModuleName, Uint8Array>>) {
  return NAMES.map((name) =>
    new ModuleOracle(files[name]).undefinedSymbols().sort()
  );
}

Deno.test({
  name: "modules that the compiler at hand makes load as the embedded ones do",
  ignore: !(await haveGcc()),
  async fn() {
    const files = { ...await labModules() };
    const embedded = needs(files);
    for (const name of NAMES) files[name] = await compile(name);
    assertEquals(needs(files), embedded);
    const done = boot().run((t) =>
      module_churn(t, { threads: 4, ops: 4, files })
    );
    assertEquals(done.opsInWindow, 16);
  },
});
