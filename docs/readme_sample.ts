/**
 * Makes the sample of output in README.md again: `deno run -R -W
 * docs/readme_sample.ts --write`. Whoever changes what the default run prints
 * needs it; tests/readme_test.ts holds the sample to what is printed.
 */
import { FakeIo } from "../boot/cli/_fake_io.ts";
import { run } from "../boot/cli/command.ts";
import { RUNNERS } from "../boot/cli/workloads.ts";

const README = new URL("../README.md", import.meta.url);
const BLOCK = /```text\n[\s\S]*?```/;
/** Lines of the log's beginning, and of the first profile. */
const HEAD = 4;
const PROFILE = 7;

/** The sample: the log's two ends, the mixed run, the table, a bit of a profile. */
export function sampleOf(printed: string): string {
  const lines = printed.split("\n");
  const at = (text: string) => {
    const i = lines.findIndex((line) => line.includes(text));
    if (i < 0) throw new RangeError(`Cannot make the sample without ${text}`);
    return i;
  };
  return [
    ...lines.slice(0, HEAD),
    "...",
    ...lines.slice(at("Brought up"), at("Boot complete") + 1),
    "...",
    "",
    ...lines.slice(at("mixed run on"), at("returned: ") + 1),
    "",
    ...lines.slice(at("map-touch-unmap of"), at(": where time went")),
    ...lines.slice(at(": where time went")).slice(0, PROFILE),
    "...",
  ].join("\n");
}

if (import.meta.main) {
  const io = new FakeIo();
  await run([], io, RUNNERS);
  const readme = Deno.readTextFileSync(README);
  const block = `\`\`\`text\n${sampleOf(io.stdout)}\n\`\`\``;
  const made = readme.replace(BLOCK, () => block);
  if (Deno.args.includes("--write")) Deno.writeTextFileSync(README, made);
  else console.log(block);
}
