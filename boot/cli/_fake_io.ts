/** A host for tests: keeps what was written. */
import { type Io, OutputClosed, ReadError } from "./io.ts";

/** Files by path; an error is thrown when read. */
export type FakeFiles = Readonly<
  Record<string, string | Uint8Array<ArrayBuffer> | ReadError>
>;

/** See the file's head. */
export class FakeIo implements Io {
  stdout = "";
  stderr = "";
  columns = 80;
  /** Reads of the clock so far; each is a second after the last. */
  clockReads = 0;
  /** Writes to standard output after which its reader is gone. */
  writesLeft = Infinity;

  constructor(
    readonly files: FakeFiles = {},
    readonly errIsTerminal = false,
  ) {}

  out(text: string): void {
    if (this.writesLeft-- <= 0) throw new OutputClosed();
    this.stdout += text;
  }

  err(text: string): void {
    this.stderr += text;
  }

  nowMs(): number {
    return 1000 * this.clockReads++;
  }

  readText(path: string): string {
    const file = this.#find(path);
    return typeof file === "string" ? file : new TextDecoder().decode(file);
  }

  // deno-lint-ignore require-await -- the real one awaits
  async open(path: string): Promise<ReadableStream<Uint8Array>> {
    return new Blob([this.#find(path)]).stream();
  }

  #find(path: string): string | Uint8Array<ArrayBuffer> {
    const file = this.files[path] ??
      new ReadError("missing", "No such file or directory");
    if (file instanceof ReadError) throw file;
    return file;
  }
}
