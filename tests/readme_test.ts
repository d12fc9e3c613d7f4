import { assert } from "@std/assert";
import { FakeIo } from "../boot/cli/_fake_io.ts";
import { run } from "../boot/cli/command.ts";
import { RUNNERS } from "../boot/cli/workloads.ts";

const canRead =
  (await Deno.permissions.query({ name: "read" })).state === "granted";

Deno.test({
  name: "README.md shows what `deno task boot` prints, line for line",
  ignore: !canRead,
  async fn() {
    const readme = Deno.readTextFileSync(
      new URL("../README.md", import.meta.url),
    );
    const sample = /```text\n([\s\S]*?)```/.exec(readme)![1].trimEnd();
    // To bring it up to date: deno run -R -W docs/readme_sample.ts --write
    const io = new FakeIo();
    await run([], io, RUNNERS);
    const printed = io.stdout.split("\n");
    let at = 0;
    for (const line of sample.split("\n")) {
      if (line === "...") continue;
      const found = printed.indexOf(line, at);
      assert(found >= 0, `README shows a line that is not printed: ${line}`);
      at = found + 1;
    }
  },
});
