import { assertEquals, assertThrows } from "@std/assert";
import {
  parseTrace,
  printAddress,
  type Trace,
  TraceSyntaxError,
} from "./conformance_trace.ts";

const HEADER = {
  format: 1,
  allocator: "rewrite",
  variant: "repaired",
  profile: "test",
  nr_cpus: 4,
  vmalloc_start: "0xffffc20000000000",
  vmalloc_end: "0xffffe1ffffffffff",
  page_size: 4096,
  lazy_max_pages: 24576,
  vmap_bbmap_bits: 1024,
  pinned: false,
  seed: 1,
};
const VMAP = {
  op: "vmap",
  cpu: 0,
  id: 0,
  pages: 3,
  addr: "0xffffc20000000000",
  flushes: 0,
  lazy_nr: 0,
};
const VUNMAP = { op: "vunmap", cpu: 3, id: 0, flushes: 0, lazy_nr: 4 };
const STATE = {
  op: "state",
  areas: 1,
  lazy_nr: 4,
  blocks_with_free: 0,
  live_pages: 0,
  live_unmapped: 0,
  ptes: 3,
  flushes: 0,
  warns: 0,
  last_flush: null,
};

type Row = Record<string, unknown> | string;

function parse(...rows: Row[]): Trace {
  const lines = rows.map((row) =>
    typeof row === "string" ? row : JSON.stringify(row)
  );
  return parseTrace(lines.join("\n") + "\n", "t.jsonl");
}

/** What the reader says of the last of `rows`, without "Cannot read the trace as". */
function complaint(...rows: Row[]): string {
  const error = assertThrows(() => parse(...rows), TraceSyntaxError);
  const start = `t.jsonl:${rows.length}: Cannot read the trace as `;
  assertEquals(error.message.slice(0, start.length), start);
  assertEquals(error.message.includes("\n"), false);
  return error.message.slice(start.length);
}

function without(row: Record<string, unknown>, name: string): Row {
  const { [name]: _, ...rest } = row;
  return rest;
}

Deno.test("parseTrace() reads header, operations and state lines", () => {
  const flush = ["0xffffc20000000000", "0xffffc20000004000"];
  const trace = parse(
    HEADER,
    VMAP,
    { ...VUNMAP, flush, warn: ["pte_not_none"] },
    { ...STATE, last_flush: flush },
  );
  const range = { start: 0xc20000000000, end: 0xc20000004000 };
  assertEquals(trace.header.space, {
    start: 0xc20000000000,
    end: 0xe1ffffffffff,
  });
  assertEquals([trace.header.nrCpus, trace.header.variant], [4, "repaired"]);
  const [map, unmap, state] = trace.lines;
  assertEquals([map.line, map.op, map.lazyNr], [2, "vmap", 0]);
  assertEquals("addr" in map && map.addr, 0xc20000000000);
  assertEquals(unmap.op === "vunmap" && unmap.flush, range);
  assertEquals(unmap.op === "vunmap" && unmap.warn, ["pte_not_none"]);
  assertEquals(state.op === "state" && state.lastFlush, range);
  assertEquals(unmap.text.startsWith('{"op":"vunmap"'), true);
});

Deno.test("parseTrace() reads vanilla traces, which have no lazy counts", () => {
  const header = {
    ...HEADER,
    allocator: "vanilla",
    variant: "vanilla",
    lazy_max_pages: null,
    vmap_bbmap_bits: null,
  };
  const trace = parse(header, without(VMAP, "lazy_nr"));
  assertEquals(trace.lines[0].lazyNr, null);
  assertEquals(
    complaint(header, VMAP),
    `"lazy_nr" must be absent here: current value is 0`,
  );
  assertEquals(
    complaint(header, { op: "vm_unmap_aliases", cpu: 0, flushes: 0 }).split(
      ":",
    ).at(-1),
    ` current value is "vm_unmap_aliases"`,
  );
});

Deno.test("parseTrace() reads a failed allocation, whose id nobody frees", () => {
  const failed = { ...VMAP, addr: null };
  assertEquals(parse(HEADER, failed).lines.length, 1);
  assertEquals(
    complaint(HEADER, failed, VUNMAP),
    `"id" must be one that vmap made and nobody has freed: current value is 0`,
  );
});

Deno.test("parseTrace() refuses what is no JSON object", () => {
  assertEquals(
    complaint(""),
    "the line must be a JSON object: current value is empty",
  );
  assertEquals(
    complaint(HEADER, `{"op":`),
    `the line must be a JSON object: current value is {"op":`,
  );
  assertEquals(
    complaint(HEADER, VMAP, ""),
    "the line must be a JSON object: current value is empty",
  );
  assertEquals(
    complaint(HEADER, "[1]"),
    "the line must be a JSON object: current value is [1]",
  );
});

Deno.test("parseTrace() says which header field is wrong", () => {
  const wrong: [Record<string, unknown>, string][] = [
    [{ format: 2 }, `"format" must be 1: current value is 2`],
    [
      { variant: "merged" },
      `"variant" must be one of "vanilla", "posted", "as-merged", "repaired": current value is "merged"`,
    ],
    [
      { allocator: "vanilla" },
      `"allocator" must be "rewrite": current value is "vanilla"`,
    ],
    [
      { nr_cpus: 0 },
      `"nr_cpus" must be an integer in 1..4096: current value is 0`,
    ],
    [
      { vmalloc_start: "0xffffc20000000800" },
      `"vmalloc_start" must be page aligned: current value is "0xffffc20000000800"`,
    ],
    [
      { vmalloc_end: "0xffffc20000000000" },
      `"vmalloc_end" must be above vmalloc_start: current value is "0xffffc20000000000"`,
    ],
    [
      { lazy_max_pages: null },
      `"lazy_max_pages" must be an integer in 0..: current value is null`,
    ],
    [{ page_size: 16384 }, `"page_size" must be 4096: current value is 16384`],
  ];
  for (const [change, message] of wrong) {
    assertEquals(complaint({ ...HEADER, ...change }), message);
  }
});

Deno.test("parseTrace() says which field of a line is wrong", () => {
  const wrong: [Record<string, unknown>, string][] = [
    [{ cpu: 4 }, `"cpu" must be an integer in 0..3: current value is 4`],
    [{ cpu: 0.5 }, `"cpu" must be an integer in 0..3: current value is 0.5`],
    [
      { lazy_nr: "3" },
      `"lazy_nr" must be an integer: current value is "3"`,
    ],
    [
      { addr: "ffffc20000000000" },
      `"addr" must be an address of 0x and 16 lower-case hexadecimal digits: current value is "ffffc20000000000"`,
    ],
    [
      { addr: "0x0000c20000000000" },
      `"addr" must be an address of 0x and 16 lower-case hexadecimal digits: current value is "0x0000c20000000000"`,
    ],
    [{ flush: null }, `"flush" must be two addresses: current value is null`],
    [
      { flush: ["0xffffc20000001000", "0xffffc20000001000"] },
      `"flush" must be a range whose end is above its start: current value is ["0xffffc20000001000","0xffffc20000001000"]`,
    ],
    [
      { warn: [] },
      `"warn" must be a list of one or more strings: current value is []`,
    ],
    [{ flushs: 1 }, `"flushs" must be absent here: current value is 1`],
  ];
  for (const [change, message] of wrong) {
    assertEquals(complaint(HEADER, { ...VMAP, ...change }), message);
  }
  for (const name of ["cpu", "id", "pages", "addr", "flushes", "lazy_nr"]) {
    const message = complaint(HEADER, without(VMAP, name));
    assertEquals(message.startsWith(`"${name}" must be`), true, message);
    assertEquals(message.endsWith("current value is missing"), true, message);
  }
  for (const name of Object.keys(STATE).slice(1)) {
    const message = complaint(HEADER, without(STATE, name));
    assertEquals(message.startsWith(`"${name}" must be`), true, message);
  }
});

Deno.test("parseTrace() follows ids from allocation to free", () => {
  assertEquals(
    complaint(HEADER, VMAP, VMAP),
    `"id" must be new: current value is 0`,
  );
  const free = `"id" must be one that vmap made and nobody has freed: `;
  assertEquals(complaint(HEADER, VUNMAP), `${free}current value is 0`);
  assertEquals(
    complaint(HEADER, VMAP, VUNMAP, VUNMAP),
    `${free}current value is 0`,
  );
  assertEquals(
    complaint(HEADER, VMAP, VUNMAP, VMAP),
    `"id" must be new: current value is 0`,
  );
  assertEquals(
    complaint(HEADER, VMAP, { ...VUNMAP, op: "vfree" }),
    `"id" must be one that vmalloc made and nobody has freed: current value is 0`,
  );
  const ram = { ...VMAP, op: "vm_map_ram" };
  assertEquals(
    complaint(HEADER, ram, { ...VUNMAP, op: "vm_unmap_ram", pages: 2 }),
    `"pages" must be 3: current value is 2`,
  );
});

Deno.test("parseTrace() cuts long values in its messages", () => {
  const message = complaint(HEADER, { ...VMAP, addr: "x".repeat(1000) });
  assertEquals(message.endsWith("..."), true);
  assertEquals(message.length < 200, true);
});

Deno.test("printAddress() writes sixteen digits", () => {
  assertEquals(printAddress(0xc20000001000), "0xffffc20000001000");
});
