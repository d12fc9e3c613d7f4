/**
 * What the command line asks of the host, so that tests can stand in for it.
 * `main.ts` has the real one.
 */

/** The host; see the file's head. */
export interface Io {
  /**
   * Writes all of `text` to standard output.
   *
   * @throws {OutputClosed} If nobody reads it any more.
   */
  out(text: string): void;
  /** Writes all of `text` to standard error; does nothing if nobody reads it. */
  err(text: string): void;
  readonly errIsTerminal: boolean;
  /** Characters of a line of the terminal. */
  readonly columns: number;
  /** Host clock, milliseconds from some start. */
  nowMs(): number;
  /**
   * The text of a file.
   *
   * @throws {ReadError} If it cannot be read.
   */
  readText(path: string): string;
  /**
   * The bytes of a file, bit by bit; reading them may fail with a
   * {@linkcode ReadError}, too.
   *
   * @throws {ReadError} If it cannot be opened.
   */
  open(path: string): Promise<ReadableStream<Uint8Array>>;
}

/** Whoever read standard output has gone: the run ends without a word. */
export class OutputClosed extends Error {
  override readonly name = "OutputClosed";
}

/** Why a file could not be read. */
export type ReadFailure =
  | "missing"
  | "a directory"
  | "denied"
  | "no permission"
  | "other";

/** A file that could not be read. */
export class ReadError extends Error {
  override readonly name = "ReadError";

  constructor(
    /** `"denied"`: by the operating system; `"no permission"`: by Deno. */
    readonly failure: ReadFailure,
    message: string,
  ) {
    super(message);
  }
}
