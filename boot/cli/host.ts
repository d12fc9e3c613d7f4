/**
 * The real host: the only file that touches arguments, streams, files and the
 * clock of the machine that vmaplab runs on.
 */
import { type Io, OutputClosed, ReadError, type ReadFailure } from "./io.ts";

/** Where the host says nothing about its terminal, characters. */
const DEFAULT_COLUMNS = 80;
/** Pause before a full pipe is tried again, milliseconds. */
const RETRY_MS = 1;
/** Bytes of a file that are read at a time. */
const CHUNK_BYTES = 2 ** 20;

/** The host. */
export const host: Io = {
  out(text) {
    if (!writeAll(Deno.stdout, text)) throw new OutputClosed();
  },
  err(text) {
    writeAll(Deno.stderr, text);
  },
  errIsTerminal: Deno.stderr.isTerminal(),
  columns: consoleColumns(),
  nowMs: () => performance.now(),
  readText(path) {
    try {
      return Deno.readTextFileSync(path);
    } catch (error) {
      throw readError(error);
    }
  },
  async open(path) {
    try {
      const { isDirectory, isCharDevice } = await Deno.stat(path);
      // A directory can be opened, but not read.
      if (isDirectory) throw new Deno.errors.IsADirectory(path);
      if (isCharDevice) throw new Error("it is a character device");
      return streamOf(await Deno.open(path));
    } catch (error) {
      throw readError(error);
    }
  },
};

/** The file's bytes; closes it at its end. */
function streamOf(file: Deno.FsFile): ReadableStream<Uint8Array> {
  return new ReadableStream({
    async pull(controller) {
      try {
        const chunk = new Uint8Array(CHUNK_BYTES);
        const length = await file.read(chunk);
        if (length !== null) {
          controller.enqueue(chunk.subarray(0, length));
          return;
        }
        file.close();
        controller.close();
      } catch (error) {
        file.close();
        controller.error(readError(error));
      }
    },
    cancel: () => file.close(),
  });
}

/** @returns Whether all was written; `false` = the reader has gone. */
function writeAll(
  stream: { writeSync(bytes: Uint8Array): number },
  text: string,
): boolean {
  const bytes = new TextEncoder().encode(text);
  for (let done = 0; done < bytes.length;) {
    try {
      done += stream.writeSync(bytes.subarray(done));
    } catch (error) {
      if (error instanceof Deno.errors.BrokenPipe) return false;
      if (!(error instanceof Deno.errors.WouldBlock)) throw error;
      // A pipe that does not block is full: let its reader catch up.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MS);
    }
  }
  return true;
}

function consoleColumns(): number {
  try {
    return Deno.consoleSize().columns || DEFAULT_COLUMNS;
  } catch {
    return DEFAULT_COLUMNS; // no terminal
  }
}

function readError(error: unknown): ReadError {
  const message = error instanceof Error ? error.message : String(error);
  return new ReadError(readFailure(error), message);
}

function readFailure(error: unknown): ReadFailure {
  if (error instanceof Deno.errors.NotCapable) return "no permission";
  if (error instanceof Deno.errors.NotFound) return "missing";
  if (error instanceof Deno.errors.IsADirectory) return "a directory";
  if (error instanceof Deno.errors.PermissionDenied) return "denied";
  return "other";
}
