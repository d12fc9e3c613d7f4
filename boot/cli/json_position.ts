/**
 * Finds where a text stops being JSON. `JSON.parse` knows, but its messages
 * quote the text, line breaks included, and often leave the place out.
 */

/** A place in a text, both from 1. */
export interface TextPosition {
  readonly line: number;
  readonly column: number;
}

/** Nesting that JSON.parse takes easily and recursion here does too. */
const MAX_DEPTH = 500;

/** Where `text` first differs from any JSON document; `null` = it is one. */
export function jsonErrorAt(text: string): TextPosition | null {
  const scanner = new Scanner(text);
  if (scanner.value(0)) {
    scanner.blanks();
    if (scanner.at === text.length) return null;
  }
  const before = text.slice(0, scanner.at).split("\n");
  return {
    line: before.length,
    column: before[before.length - 1].length + 1,
  };
}

/** Goes through a text; on failure `at` is where it stopped. */
class Scanner {
  at = 0;

  constructor(readonly text: string) {}

  /** @returns Whether a JSON value was here. */
  value(depth: number): boolean {
    this.blanks();
    switch (this.text[this.at]) {
      case "{":
        return depth < MAX_DEPTH && this.#list("}", () => this.#member(depth));
      case "[":
        return depth < MAX_DEPTH &&
          this.#list("]", () => this.value(depth + 1));
      case '"':
        return this.#string();
      default:
        return this.#match(
          /true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y,
        );
    }
  }

  blanks(): void {
    this.#match(/[ \t\r\n]*/y);
  }

  /** Items between brackets, commas between items. */
  #list(close: string, item: () => boolean): boolean {
    this.at++;
    this.blanks();
    if (this.#take(close)) return true;
    for (;;) {
      if (!item()) return false;
      this.blanks();
      if (this.#take(close)) return true;
      if (!this.#take(",")) return false;
    }
  }

  #member(depth: number): boolean {
    this.blanks();
    if (!this.#string()) return false;
    this.blanks();
    return this.#take(":") && this.value(depth + 1);
  }

  #string(): boolean {
    if (!this.#take('"')) return false;
    // deno-lint-ignore no-control-regex -- JSON forbids them inside strings
    const piece = /[^"\\\u0000-\u001f]+|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;
    while (this.#match(piece));
    return this.#take('"');
  }

  #take(c: string): boolean {
    if (this.text[this.at] !== c) return false;
    this.at++;
    return true;
  }

  #match(sticky: RegExp): boolean {
    sticky.lastIndex = this.at;
    if (!sticky.test(this.text)) return false;
    this.at = sticky.lastIndex;
    return true;
  }
}
