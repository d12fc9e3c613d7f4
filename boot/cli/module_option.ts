/** `--insmod=` and `--ksyms=`: files with modules, and with the addresses of a kernel's symbols. */
import {
  type MapSymbol,
  MapSyntaxError,
  parseSystemMap,
} from "../../kernel/module/kernel_symbols.ts";
import type { Insmod, ModuleFile } from "../insmod.ts";
import { type Io, ReadError } from "./io.ts";
import { readProblem } from "./read_problem.ts";
import { UsageError } from "./usage.ts";

/** Packed modules: first bytes, what they are, what unpacks them. */
const PACKED: readonly (readonly [string, string, string])[] = [
  ["fd377a585a00", "xz", "unxz"],
  ["28b52ffd", "zstd", "unzstd"],
  ["1f8b", "gzip", "gunzip"],
];

/**
 * Reads the files; `undefined` = there are none.
 *
 * @param args All arguments, to show the command that would work.
 * @throws {UsageError} If one will not do.
 */
export async function readInsmod(
  paths: readonly string[],
  ksyms: string | null,
  args: readonly string[],
  io: Io,
): Promise<Insmod | undefined> {
  if (paths.length === 0) return undefined;
  const files: ModuleFile[] = [];
  for (const path of paths) files.push(await readModule(path, args, io));
  const symbols = ksyms === null ? [] : readKsyms(ksyms, args, io);
  return { files, symbols };
}

async function readModule(
  path: string,
  args: readonly string[],
  io: Io,
): Promise<ModuleFile> {
  try {
    const stream = await io.open(path);
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
    checkPacked(path, bytes);
    return { path, bytes };
  } catch (error) {
    throw usage(error, `module ${JSON.stringify(path)}`, path, args);
  }
}

function checkPacked(path: string, bytes: Uint8Array): void {
  const start = bytes.subarray(0, 8).toHex();
  for (const [magic, format, tool] of PACKED) {
    if (!start.startsWith(magic)) continue;
    throw new UsageError(
      `Cannot insert module ${
        JSON.stringify(path)
      } as it is packed by ${format}: unpack it with ${tool} first`,
    );
  }
}

function readKsyms(
  path: string,
  args: readonly string[],
  io: Io,
): MapSymbol[] {
  const file = `symbols ${JSON.stringify(path)}`;
  try {
    return parseSystemMap(io.readText(path));
  } catch (error) {
    if (error instanceof MapSyntaxError) {
      throw new UsageError(`Cannot read ${file}: ${error.message}`);
    }
    throw usage(error, file, path, args);
  }
}

function usage(
  error: unknown,
  file: string,
  path: string,
  args: readonly string[],
): unknown {
  if (!(error instanceof ReadError)) return error;
  return new UsageError(
    `Cannot read ${file}: ${readProblem(error, path, args)}`,
  );
}
