/**
 * mkfs.xfs and xfs_db, for tests and scripts: real file systems, and what is in
 * them according to somebody else. Needs permission to run them and to write a
 * temporary file.
 */
import type { NamedDirectory } from "../../boot/images/xfs_names.ts";
import { S_ISDIR } from "../../kernel/fs/inode_types.ts";

/** Smallest file system that mkfs.xfs makes, bytes. */
export const IMAGE_BYTES = 300 * 2 ** 20;

/** One line of xfs_db's `ls`. */
export interface DbEntry {
  readonly name: Uint8Array;
  readonly ino: number;
}

/** Whether xfsprogs is here and may be run. */
export async function haveXfsprogs(): Promise<boolean> {
  const names = ["run", "read", "write"] as const;
  for (const name of names) {
    const { state } = await Deno.permissions.query({ name });
    if (state !== "granted") return false;
  }
  try {
    await xfs("mkfs.xfs", ["-V"]);
    await xfs("xfs_db", ["-V"]);
    return true;
  } catch {
    return false;
  }
}

/**
 * Makes a file system with `directories` in it.
 *
 * @param path Of the image; it is made.
 * @param options Further arguments of mkfs.xfs, such as `["-n", "size=65536"]`.
 * @throws {Error} If mkfs.xfs fails.
 */
export async function mkfs(
  path: string,
  directories: readonly NamedDirectory[],
  options: readonly string[],
): Promise<void> {
  const proto = `${path}.proto`;
  await Deno.writeFile(proto, protofile(directories));
  await Deno.writeFile(path, new Uint8Array(0));
  await Deno.truncate(path, IMAGE_BYTES);
  await xfs("mkfs.xfs", ["-q", ...options, "-p", proto, path]);
  await Deno.remove(proto);
}

/** What `directories` look like to mkfs.xfs -p. Names must not hold blanks. */
export function protofile(directories: readonly NamedDirectory[]): Uint8Array {
  const byPath = new Map(directories.map((dir) => [dir.path, dir]));
  const lines: Uint8Array[] = [];
  const line = (...parts: (string | Uint8Array)[]) => {
    for (const part of [...parts, "\n"]) {
      lines.push(typeof part === "string" ? encode(part) : part);
    }
  };
  const visit = (dir: NamedDirectory) => {
    for (const { name, mode } of dir.entries) {
      const permissions = (mode & 0o777).toString(8).padStart(3, "0");
      if (S_ISDIR(mode)) {
        line(name, ` d--${permissions} 0 0`);
        const parent = dir.path === "/" ? "" : dir.path;
        visit(byPath.get(`${parent}/${new TextDecoder().decode(name)}`)!);
      } else line(name, ` ---${permissions} 0 0 /dev/null`);
    }
    line("$");
  };
  line("/dev/null");
  line("0 0");
  line("d--755 0 0");
  visit(byPath.get("/")!);
  return concat(lines);
}

/**
 * What xfs_db finds in each of `paths`, in the order of the directory, `.` and
 * `..` first.
 *
 * @throws {Error} If it finds no directory there, or complains.
 */
export async function xfsDbList(
  image: string,
  paths: readonly string[],
): Promise<DbEntry[][]> {
  const commands = paths.flatMap((path) => ["-c", `path ${path}`, "-c", "ls"]);
  const output = await xfs("xfs_db", ["-r", ...commands, image]);
  const lists: DbEntry[][] = [];
  for (const line of splitLines(output)) {
    const entry = dbEntry(line);
    if (entry === null) continue;
    if (decode(entry.name) === ".") lists.push([]); // it comes first
    lists.at(-1)?.push(entry);
  }
  if (lists.length !== paths.length) {
    throw new Error(`Cannot list ${paths}: xfs_db says ${decode(output)}`);
  }
  return lists;
}

/** Runs commands that write, as xfs_db takes them from a terminal. */
export async function xfsDbWrite(
  image: string,
  commands: readonly string[],
): Promise<void> {
  await xfs("xfs_db", ["-x", image], encode(`${commands.join("\n")}\n`));
}

/** Such as `12  131  regular  0x00ce8c2f  18 name-of-18-bytes.c (good)`. */
function dbEntry(line: Uint8Array): DbEntry | null {
  const head = /^\d+\s+(\d+)\s+\S+\s+0x[0-9a-f]+\s+(\d+) /
    .exec(latin1(line));
  if (head === null) return null;
  const at = head[0].length;
  const length = Number(head[2]);
  return { name: line.slice(at, at + length), ino: Number(head[1]) };
}

async function xfs(
  command: string,
  args: readonly string[],
  input: Uint8Array<ArrayBuffer> | null = null,
): Promise<Uint8Array> {
  const child = new Deno.Command(command, {
    args: [...args],
    stdin: input === null ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  if (input !== null) {
    const writer = child.stdin.getWriter();
    writer.write(input).then(() => writer.close());
  }
  const { success, stdout, stderr } = await child.output();
  if (success) return stdout;
  throw new Error(`Cannot run ${command} ${args.join(" ")}: ${decode(stderr)}`);
}

function* splitLines(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length;) {
    const end = bytes.indexOf(10, at);
    const next = end < 0 ? bytes.length : end;
    yield bytes.subarray(at, next);
    at = next + 1;
  }
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, p) => sum + p.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** A character a byte. */
function latin1(bytes: Uint8Array): string {
  return new TextDecoder("latin1").decode(bytes);
}

function encode(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}

function decode(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
