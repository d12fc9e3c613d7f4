/** The real command, in a process of its own. Needs permission to run one; ignored without. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";

const MAIN = new URL("./main.ts", import.meta.url).href;
const CONFIG = new URL("../../deno.json", import.meta.url).pathname;

const mayRun =
  Deno.permissions.querySync({ name: "run", command: "deno" }).state ===
    "granted";

function main(...args: string[]) {
  // No permission is given to the child, on purpose.
  const { code, stdout, stderr } = new Deno.Command("deno", {
    args: [
      "run",
      "--no-prompt",
      "--no-check",
      "-q",
      `--config=${CONFIG}`,
      MAIN,
      ...args,
    ],
    stdin: "null",
  }).outputSync();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

Deno.test({
  name: "main.ts shows help without permissions",
  ignore: !mayRun,
  fn() {
    const { code, stdout, stderr } = main("--help");
    assertEquals([code, stderr], [0, ""]);
    assertStringIncludes(stdout, "Usage: deno task boot");
  },
});

Deno.test({
  name: "main.ts boots without permissions, and twice alike",
  ignore: !mayRun,
  fn() {
    const args = ["--cpus=2", "--threads=1,2", "--ops=20", "--format=json"];
    const first = main(...args);
    assertEquals(first.code, 0, first.stderr);
    assertEquals(JSON.parse(first.stdout).runs.length, 4);
    assertEquals(main(...args).stdout, first.stdout);
  },
});

Deno.test({
  name: "main.ts says which permission a machine file takes",
  ignore: !mayRun,
  fn() {
    const { code, stdout, stderr } = main("--machine=mine.json");
    assertEquals([code, stdout], [2, ""]);
    assertEquals(
      stderr,
      'vmaplab: Cannot read machine file "mine.json": this takes permission: run deno run --allow-read=mine.json boot/cli/main.ts --machine=mine.json\n',
    );
  },
});

Deno.test({
  name: "main.ts answers mistakes with one line and exit code 2",
  ignore: !mayRun,
  fn() {
    const { code, stdout, stderr } = main("--threads=9");
    assertEquals([code, stdout], [2, ""]);
    assert(stderr.startsWith("vmaplab: Cannot use --threads"), stderr);
  },
});

Deno.test({
  name: "main.ts runs on the embedded disk without permissions",
  ignore: !mayRun,
  fn() {
    const args = ["--workload=xfs-ls", "--path=/names", "--format=json"];
    const { code, stdout, stderr } = main(...args);
    assertEquals(code, 0, stderr);
    const [run] = JSON.parse(stdout).runs;
    assertEquals([run.workload, run.path, run.entries.length], [
      "xfs-ls",
      "/names",
      10,
    ]);
  },
});

Deno.test({
  name: "main.ts says which permission a disk image takes",
  ignore: !mayRun,
  fn() {
    const { code, stderr } = main("--workload=xfs-ls", "--disk=my.img");
    assertEquals(code, 2);
    assertEquals(
      stderr,
      'vmaplab: Cannot read disk image "my.img": this takes permission: run deno run --allow-read=my.img boot/cli/main.ts --workload=xfs-ls --disk=my.img\n',
    );
  },
});
