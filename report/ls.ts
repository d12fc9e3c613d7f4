/** The listing of `xfs-ls`: a line a name, inode number first. */
import type { BootResult, XfsLsRun } from "../boot/results.ts";

/** A line for each name of each run. */
export function formatLs({ runs }: BootResult<XfsLsRun>): string {
  const lines: string[] = [];
  for (const { entries } of runs) {
    let width = 0;
    for (const { ino } of entries) width = Math.max(width, `${ino}`.length);
    for (const { ino, name, name_hex } of entries) {
      lines.push(`${`${ino}`.padStart(width)}  ${printable(name, name_hex)}\n`);
    }
  }
  return lines.join("");
}

// deno-lint-ignore no-control-regex -- control characters are what it looks for
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g;
// deno-lint-ignore no-control-regex -- and so are these
const NOT_ASCII = /[\u0000-\u001f\u007f-\u00ff]/g;

/**
 * A name as it fits a line: backslashes are doubled; control characters are
 * shown as `\xNN`, and so are all bytes above 127 of a name that is not UTF-8.
 */
export function printable(name: string, hex?: string): string {
  if (hex === undefined) return escaped(name, CONTROL);
  const bytes = Uint8Array.fromHex(hex);
  return escaped(String.fromCharCode(...bytes), NOT_ASCII);
}

function escaped(text: string, what: RegExp): string {
  return text.replaceAll("\\", "\\\\").replace(what, (c) => {
    const code = c.charCodeAt(0);
    return code < 256
      ? `\\x${code.toString(16).padStart(2, "0")}`
      : `\\u${code.toString(16)}`;
  });
}
