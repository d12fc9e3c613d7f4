/** Why a file could not be read, in words that help. */
import type { ReadError } from "./io.ts";

/**
 * What to say after "Cannot read ...: ".
 *
 * @param args All arguments, to show the command that would work.
 */
export function readProblem(
  error: ReadError,
  path: string,
  args: readonly string[],
): string {
  switch (error.failure) {
    case "missing":
      return "there is no such file";
    case "a directory":
      return "it is a directory";
    case "denied":
      return "the operating system denies it";
    case "no permission":
      return `this takes permission: run ${
        ["deno", "run", `--allow-read=${path}`, "boot/cli/main.ts", ...args]
          .map(shellQuote).join(" ")
      }`;
    default:
      return error.message;
  }
}

/** `word` as a POSIX shell reads it back. */
function shellQuote(word: string): string {
  if (/^[\w@%+=:,./-]+$/.test(word)) return word;
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
