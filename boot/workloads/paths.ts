/** Path names as bytes. */

const SLASH = 0x2f;
const DOT = 0x2e;

/** Whether `name` is `.` or `..`. */
export function isDot(name: Uint8Array): boolean {
  return name[0] === DOT &&
    (name.length === 1 || name.length === 2 && name[1] === DOT);
}

/** The path of `name` in the directory `path`. */
export function join(path: Uint8Array, name: Uint8Array): Uint8Array {
  const length = path.at(-1) === SLASH ? path.length : path.length + 1;
  const whole = new Uint8Array(length + name.length);
  whole.set(path);
  whole[length - 1] = SLASH;
  whole.set(name, length);
  return whole;
}

/** For messages: a character for each byte that is printable ASCII, `\\xNN` for the others. */
export function text(name: Uint8Array): string {
  let result = "";
  for (const byte of name) {
    result += byte >= 0x20 && byte < 0x7f
      ? String.fromCharCode(byte)
      : `\\x${byte.toString(16).padStart(2, "0")}`;
  }
  return result;
}

/** `text` in UTF-8. */
export function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
