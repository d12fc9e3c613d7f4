/** `--pcap=`: a file with frames to send. */
import { type Capture, parsePcap, PcapError } from "../pcap.ts";
import {
  ETH_FRAME_LEN,
  ETH_HLEN,
} from "../../kernel/drivers/xen/netfront_io.ts";
import { canSend } from "../workloads/xen_net_part.ts";
import { type Io, ReadError } from "./io.ts";
import { readProblem } from "./read_problem.ts";
import { UsageError } from "./usage.ts";

/** Largest file that is read, bytes. */
const MAX_BYTES = 2 ** 28;

/**
 * The frames of the capture file `path`, of which an interface can carry one at
 * least.
 *
 * @param args All arguments, to show the command that would work.
 * @throws {UsageError} If the file will not do.
 */
export async function readFrames(
  path: string,
  args: readonly string[],
  io: Io,
): Promise<readonly Uint8Array[]> {
  const { frames } = await readCapture(path, args, io);
  if (frames.some(canSend)) return frames;
  throw new UsageError(
    `Cannot use capture ${
      JSON.stringify(path)
    } as it must have a frame of ${ETH_HLEN} to ${ETH_FRAME_LEN} bytes: it has ${frames.length} frames, none of them such`,
  );
}

async function readCapture(
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
