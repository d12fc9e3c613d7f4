/**
 * Puts a selection of the recorded traces into modules, so that a bare
 * `deno test`, which may read no files, has them:
 *
 *     deno run --allow-read --allow-write tests/conformance/embed.ts ../shared/vectors
 *
 * Each becomes `vectors/NAME.ts`, gzip in base64, and `vectors/index.ts` lists
 * them. Run it again when the selection or the recordings change.
 */

/** At least one of each variant and of each kind of trace; the larger machines once each. */
const SELECTION: readonly string[] = [
  "vanilla.all-c4",
  "vanilla.edges-c4",
  "vanilla.space64m-areas-c4",
  "posted.areas-c1",
  "posted.space64m-mixed-c4",
  "as-merged.edges-c4",
  "as-merged.edges-full-c8",
  "as-merged.mixed-c4",
  "as-merged.ram-c8",
  "as-merged.space64m-areas-c4",
  "repaired.areas-c64",
  "repaired.edges-c1",
  "repaired.edges-c4",
  "repaired.edges-full-c8",
  "repaired.mixed-c8",
  "repaired.over512-c4",
  "repaired.ram-c4",
  "repaired.ram-c4096",
  "repaired.space64m-mixed-c1",
];
/** Characters of base64 on a line. */
const LINE_CHARS = 96;

const out = new URL("vectors/", import.meta.url);

async function gzipBase64(text: string): Promise<string> {
  const packed = new Blob([text]).stream()
    .pipeThrough(new CompressionStream("gzip"));
  const bytes = new Uint8Array(await new Response(packed).arrayBuffer());
  return bytes.toBase64();
}

async function embed(from: string): Promise<void> {
  await Deno.mkdir(out, { recursive: true });
  for (const name of SELECTION) {
    const text = await Deno.readTextFile(`${from}/${name}.jsonl`);
    const base64 = await gzipBase64(text);
    const lines = base64.match(new RegExp(`.{1,${LINE_CHARS}}`, "g"))!;
    await Deno.writeTextFile(
      new URL(`${name}.ts`, out),
      `/** ${name}.jsonl, gzip in base64. Written by embed.ts. */\nexport default \`\n${
        lines.join("\n")
      }\n\`;\n`,
    );
  }
  const entries = SELECTION.map((name, i) => ({ name, as: `v${i}` }));
  await Deno.writeTextFile(
    new URL("index.ts", out),
    [
      "/** Recorded traces: file name and gzip in base64. Written by embed.ts. */",
      ...entries.map(({ name, as }) => `import ${as} from "./${name}.ts";`),
      "",
      "export const VECTORS: readonly (readonly [name: string, data: string])[] = [",
      ...entries.map(({ name, as }) => `  ["${name}.jsonl", ${as}],`),
      "];",
      "",
    ].join("\n"),
  );
}

if (import.meta.main) {
  const [from] = Deno.args;
  if (from === undefined) {
    console.error("Cannot embed: the folder of the recorded traces is missing");
    Deno.exit(2);
  }
  await embed(from);
}
