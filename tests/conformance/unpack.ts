/** Reads what embed.ts has written. */
import { parseTrace, type Trace } from "../../verify/conformance_trace.ts";
import { VECTORS } from "./vectors/index.ts";

/** The text of the embedded trace `name`. */
export async function unpack(name: string): Promise<string> {
  const found = VECTORS.find((vector) => vector[0] === name);
  if (found === undefined) {
    throw new RangeError(
      `Cannot unpack a trace as it must be embedded: current value is "${name}"`,
    );
  }
  const bytes = Uint8Array.fromBase64(found[1]);
  const text = new Blob([bytes]).stream()
    .pipeThrough(new DecompressionStream("gzip"));
  return await new Response(text).text();
}

/** The embedded trace `name`, read. */
export async function unpackTrace(name: string): Promise<Trace> {
  return parseTrace(await unpack(name), name);
}
