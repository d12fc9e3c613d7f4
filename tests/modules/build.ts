/**
 * Compiles the modules here and embeds them: needs gcc for x86-64, and writes
 * boot/images/_lab_modules_data.ts.
 *
 *     deno run -A tests/modules/build.ts
 */

/** Names of the modules. */
export const NAMES = ["lab_base", "lab_user", "lab_percpu", "lab_big"] as const;
const FLAGS = [
  "-c",
  "-O2",
  "-std=gnu11",
  "-ffreestanding",
  "-fno-pic",
  "-mcmodel=kernel",
  "-mno-red-zone",
  "-mno-sse",
  "-fcf-protection=none",
  "-fno-stack-protector",
  "-fno-asynchronous-unwind-tables",
  "-fno-toplevel-reorder",
  "-fno-common",
];

const here = new URL("./", import.meta.url);

/** The object that the compiler makes of `name`. */
export async function compile(name: string): Promise<Uint8Array> {
  const object = await Deno.makeTempFile({ suffix: ".o" });
  const source = new URL(`${name}.c`, here).pathname;
  const { success, stderr } = await new Deno.Command("gcc", {
    args: [...FLAGS, "-o", object, source],
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  const bytes = await Deno.readFile(object);
  await Deno.remove(object);
  return bytes;
}

async function gzip(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const stream = new Blob([bytes]).stream()
    .pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

if (import.meta.main) {
  const entries: string[] = [];
  for (const name of NAMES) {
    const bytes = await compile(name);
    const packed = (await gzip(new Uint8Array(bytes))).toBase64();
    const lines = packed.match(/.{1,100}/g)!.map((line) => `    "${line}",`);
    entries.push(`  ${name}: [\n${lines.join("\n")}\n  ].join(""),`);
  }
  await Deno.writeTextFile(
    new URL("../../boot/images/_lab_modules_data.ts", here),
    `// Made by tests/modules/build.ts: objects of a compiler, gzipped, in base64.

/** By name of the module. */
export const LAB_MODULES_DATA = {
${entries.join("\n")}
} as const;
`,
  );
}
