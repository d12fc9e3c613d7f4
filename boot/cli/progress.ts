/** A progress bar on a terminal's last line; nothing anywhere else. */
import type { Io } from "./io.ts";

const BAR_CELLS = 24;
/** Back to the start of the line, and clear it. */
const CLEAR = "\r\x1b[K";

/** The bar of one run. Goes to standard error, so that it never shows in results. */
export class Progress {
  readonly #visible: boolean;
  #drawn = "";

  constructor(readonly io: Io, quiet: boolean) {
    this.#visible = io.errIsTerminal && !quiet;
  }

  /** Shows that `done` of `total` parts are finished and `what` is next. */
  update(done: number, total: number, what: string): void {
    if (!this.#visible) return;
    const line = progressLine(done, total, what, this.io.columns);
    if (line === this.#drawn) return;
    this.io.err(`${CLEAR}${line}`);
    this.#drawn = line;
  }

  /** Makes room for other output; the next update draws the bar again. */
  clear(): void {
    if (this.#drawn === "") return;
    this.io.err(CLEAR);
    this.#drawn = "";
  }
}

/** The bar as text, at most `columns - 1` characters so that it never wraps. */
export function progressLine(
  done: number,
  total: number,
  what: string,
  columns: number,
): string {
  const share = total > 0 ? Math.min(1, Math.max(0, done / total)) : 0;
  const cells = Math.floor(share * BAR_CELLS);
  const bar = "#".repeat(cells) + ".".repeat(BAR_CELLS - cells);
  return `[${bar}] ${Math.floor(done)}/${total} ${what}`.slice(
    0,
    Math.max(0, columns - 1),
  );
}
