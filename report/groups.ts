/** Groups of columns with a title each, beside each other while they fit a line. */
import {
  alignColumns,
  type Column,
  groupHeading,
  tableWidth,
} from "./columns.ts";

/** Groups that do not fit beside each other stand below each other, characters. */
const MAX_WIDTH = 100;

/** Columns that belong together. */
export interface Group {
  /** Empty = none. */
  readonly title: string;
  readonly columns: readonly Column[];
}

/** Lines of a table; each part of it begins with the column `first`. */
export function groupedTable(
  first: Column,
  groups: readonly Group[],
): string[] {
  return pack(first, groups).map((some) => block(first, some))
    .reduce((lines, next) => [...lines, "", ...next]);
}

/** Splits `groups` so that each part fits a line. */
function pack(first: Column, groups: readonly Group[]): Group[][] {
  const parts: Group[][] = [[]];
  for (const group of groups) {
    const part = parts[parts.length - 1];
    const columns = [...part, group].flatMap((g) => g.columns);
    if (part.length === 0 || tableWidth([first, ...columns]) <= MAX_WIDTH) {
      part.push(group);
    } else {
      parts.push([group]);
    }
  }
  return parts;
}

function block(first: Column, groups: readonly Group[]): string[] {
  const titles = groups.map(({ title, columns }) =>
    title === "" ? "" : groupHeading(title, tableWidth(columns))
  );
  const indent = " ".repeat(tableWidth([first]));
  return [
    [indent, ...titles].join("  ").trimEnd(),
    ...alignColumns([first, ...groups.flatMap(({ columns }) => columns)]),
  ];
}
