/** Lays text out in columns. Pure; knows nothing of what the columns hold. */

/** One column of text. */
export interface Column {
  readonly header: string;
  readonly cells: readonly string[];
  /** Numbers stand right, names left; right if left out. */
  readonly align?: "left" | "right";
}

/** Blanks between two columns. */
const GAP = "  ";

/** Lines of a table: its header, then a line a row. No line ends in blanks. */
export function alignColumns(columns: readonly Column[]): string[] {
  const widths = columns.map(columnWidth);
  const rows = Math.max(0, ...columns.map(({ cells }) => cells.length));
  const line = (textOf: (column: Column) => string) =>
    columns.map((column, i) =>
      column.align === "left"
        ? textOf(column).padEnd(widths[i])
        : textOf(column).padStart(widths[i])
    ).join(GAP).trimEnd();
  const lines = [line(({ header }) => header)];
  for (let row = 0; row < rows; row++) {
    lines.push(line(({ cells }) => cells[row] ?? ""));
  }
  return lines;
}

/** Characters that `columns` take side by side. */
export function tableWidth(columns: readonly Column[]): number {
  return columns.reduce((sum, column) => sum + columnWidth(column), 0) +
    GAP.length * Math.max(0, columns.length - 1);
}

/** `title` between dashes, `width` characters if it fits. */
export function groupHeading(title: string, width: number): string {
  const dashes = Math.max(2, width - title.length - 2);
  const left = Math.floor(dashes / 2);
  return `${"-".repeat(left)} ${title} ${"-".repeat(dashes - left)}`;
}

/**
 * Decimals that show the smallest number of a column with two digits: 0 to
 * `most`, the same for every cell so that points stand below each other.
 */
export function decimalsFor(values: readonly number[], most = 5): number {
  let decimals = 0;
  for (const value of values) {
    if (value === 0 || !Number.isFinite(value)) continue;
    const digits = 1 - Math.floor(Math.log10(Math.abs(value)));
    decimals = Math.max(decimals, digits);
  }
  return Math.min(decimals, most);
}

/** `value` with `decimals`, or a dash if it is no number. */
export function fixed(value: number, decimals: number): string {
  return Number.isFinite(value) ? value.toFixed(decimals) : "-";
}

/** A number of each run; a dash where there is no run. */
export function columnOf<Run>(
  header: string,
  runs: readonly (Run | undefined)[],
  valueOf: (run: Run) => number,
  decimals = decimalsFor(runs.map((run) => run ? valueOf(run) : 0)),
): Column {
  return {
    header,
    cells: runs.map((run) => fixed(run ? valueOf(run) : NaN, decimals)),
  };
}

function columnWidth({ header, cells }: Column): number {
  return Math.max(header.length, ...cells.map((cell) => cell.length));
}
