/** `--pcap=`: a file with frames to send. */
import { type Capture, parsePcap, PcapError } from "../pcap.ts";
import { type Io, ReadError } from "./io.ts";
import { readProblem } from "./read_problem.ts";
import { UsageError } from "./usage.ts";

/** Largest file that is read, bytes. */
const MAX_BYTES = 2 ** 28;

/**
 * The frames of the capture file `path`.
 *
 * @param args All arguments, to show the command that would work.
 * @throws {UsageError} If the file will not do.
 */
export async function readCapture(
  path: string,
  args: readonly string[],
  io: Io,
): Promise<Capture> {
  const file = `capture ${JSON.stringify(path)}`;
  try {
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of await io.open(path)) {
      chunks.push(chunk);
      size += chunk.length;
      if (size > MAX_BYTES) {
        throw new UsageError(
          `Cannot read ${file} as it must be at most ${MAX_BYTES} bytes`,
        );
      }
    }
    const bytes = new Uint8Array(size);
    let at = 0;
    for (const chunk of chunks) {
      bytes.set(chunk, at);
      at += chunk.length;
    }
    return parsePcap(bytes);
  } catch (error) {
    if (error instanceof ReadError) {
      throw new UsageError(
        `Cannot read ${file}: ${readProblem(error, path, args)}`,
      );
    }
    if (error instanceof PcapError) {
      throw new UsageError(error.message.replace("a capture", () => file));
    }
    throw error;
  }
}
