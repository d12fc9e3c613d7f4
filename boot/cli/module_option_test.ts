/** `--insmod` and `--ksyms` from the command line down to the kernel. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { labModules } from "../images/lab_modules.ts";
import { FakeIo } from "./_fake_io.ts";
import { run } from "./command.ts";
import { RUNNERS } from "./workloads.ts";

const LAB = await labModules();
const FILES = {
  "base.ko": LAB.lab_base.slice(),
  "user.ko": LAB.lab_user.slice(),
  "junk.ko": new TextEncoder().encode(
    "not a module, but long enough to be one, one should think",
  ),
  "x.ko.xz": Uint8Array.of(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0, 0, 4),
  "x.ko.zst": Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0x24, 0),
  "map": `ffffffff80300000 T lab_call
ffffffff80300040 D lab_counter
ffffffff80300080 R lab_table
`,
  "bad-map": "lab_call is somewhere\n",
};

async function none(...args: string[]): Promise<[number, FakeIo]> {
  const io = new FakeIo(FILES);
  return [await run(["--workload=none", ...args], io, RUNNERS), io];
}

Deno.test("--insmod loads modules in order and lists them", async () => {
  const [code, io] = await none("--insmod=base.ko,user.ko", "--quiet");
  assertEquals(code, 0, io.stderr);
  assertEquals(
    io.stdout,
    `lab_user 1416 0 - Live 0xffffffffa0006000
lab_base 1704 1 lab_user, Live 0xffffffffa0000000
`,
  );
});

Deno.test("--insmod of a module that lacks symbols names them, and ends with 1", async () => {
  const [code, io] = await none("--insmod=user.ko", "--quiet");
  assertEquals(code, 1);
  assertEquals(io.stdout, "");
  const lines = io.stderr.trimEnd().split("\n");
  assertEquals(lines.map((line) => line.replace(/^\[.*?\] /, "")), [
    "lab_user: Unknown symbol lab_counter",
    "lab_user: Unknown symbol lab_call",
    "lab_user: Unknown symbol lab_table",
    'vmaplab: Cannot insert module "user.ko": ENOENT (Unknown symbol in module)',
  ]);
});

Deno.test("--ksyms gives a module what it lacks", async () => {
  const [code, io] = await none("--insmod=user.ko", "--ksyms=map", "--quiet");
  assertEquals(code, 0, io.stderr);
  assertStringIncludes(io.stdout, "lab_user 1416 0 - Live");
});

Deno.test("--insmod of the same module twice fails with EEXIST", async () => {
  const [code, io] = await none("--insmod=base.ko,base.ko", "--quiet");
  assertEquals(code, 1);
  assertStringIncludes(io.stderr, "EEXIST (File exists)");
});

Deno.test("--insmod of an x86-64 module elsewhere is refused as the kernel does", async () => {
  for (const machine of ["i386-4", "altix-64"]) {
    const [code, io] = await none(
      "--insmod=base.ko",
      `--machine=${machine}`,
      "--quiet",
    );
    assertEquals(code, 1);
    assertStringIncludes(io.stderr, "ENOEXEC (Invalid module format)");
  }
});

Deno.test("--insmod and --ksyms of files that will not do end with 2", async () => {
  const cases: [string[], string][] = [
    [["--insmod=x.ko.xz"], "packed by xz: unpack it with unxz"],
    [["--insmod=x.ko.zst"], "packed by zstd: unpack it with unzstd"],
    [["--insmod=nope.ko"], 'Cannot read module "nope.ko": there is no such'],
    [["--insmod=base.ko", "--ksyms=nope"], 'Cannot read symbols "nope"'],
    [["--insmod=base.ko", "--ksyms=bad-map"], "line 1 is not"],
  ];
  for (const [args, message] of cases) {
    const [code, io] = await none(...args);
    assertEquals(code, 2, `${args}`);
    assertEquals(io.stdout, "");
    assertStringIncludes(io.stderr, message);
  }
});

Deno.test("--workload=none without modules prints the boot alone, and JSON says none", async () => {
  const [code, io] = await none();
  assertEquals(code, 0);
  assert(io.stdout.trimEnd().endsWith("Boot complete: 8 CPUs, vmap=rewrite"));
  const [, json] = await none("--format=json", "--insmod=base.ko");
  assertEquals(JSON.parse(json.stdout).runs, [{
    workload: "none",
    vmap: "rewrite",
    modules: ["lab_base 1704 0 - Live 0xffffffffa0000000"],
  }]);
  const [, csv] = await none("--format=csv");
  assertEquals(
    csv.stdout,
    "schema,machine,cpus,seed,workload,vmap,module\n",
  );
});

Deno.test("--workload=modules prints the same bytes twice in every form", async () => {
  for (const format of ["text", "json", "csv"]) {
    const args = [
      "--workload=modules",
      "--cpus=2",
      "--ops=2",
      `--format=${format}`,
    ];
    const [first, second] = [new FakeIo(), new FakeIo()];
    assertEquals(await run(args, first, RUNNERS), 0, first.stderr);
    assertEquals(await run(args, second, RUNNERS), 0);
    assertEquals(first.stdout, second.stdout);
    if (format === "json") {
      const [run] = JSON.parse(first.stdout).runs;
      assertEquals([run.workload, run.ops], ["modules", 4]);
    }
  }
});
