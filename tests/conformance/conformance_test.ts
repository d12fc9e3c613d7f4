/** The kernel against recordings of the real C code: a selection of them, and what spoils one. */
import { assert, assertEquals } from "@std/assert";
import { formatResult, replayTrace } from "../../verify/conformance.ts";
import { parseTrace } from "../../verify/conformance_trace.ts";
import { unpack, unpackTrace } from "./unpack.ts";
import { VECTORS } from "./vectors/index.ts";

/** Fields of one line. */
type Row = Record<string, unknown>;

/** The trace `name` with the first line from `from` on that `suits` changed; `null` = none suits. */
async function tampered(
  name: string,
  suits: (row: Row) => boolean,
  change: (row: Row) => Row,
  from = 2,
) {
  const lines = (await unpack(name)).trimEnd().split("\n");
  const at = lines.findIndex((text, i) =>
    i + 1 >= from && suits(JSON.parse(text))
  );
  assert(at >= 0, `no line of ${name} suits`);
  lines[at] = JSON.stringify(change(JSON.parse(lines[at])));
  return { trace: parseTrace(lines.join("\n"), name), line: at + 1 };
}

/** Asserts that a change of `field` is found in its line, and nothing else is. */
async function finds(
  name: string,
  field: string,
  suits: (row: Row) => boolean,
  change: (row: Row) => Row,
  from?: number,
): Promise<void> {
  const { trace, line } = await tampered(name, suits, change, from);
  const { difference } = replayTrace(trace);
  assertEquals(difference?.line, line);
  assertEquals(difference?.fields.map((f) => f.field), [field]);
}

for (const [name] of VECTORS) {
  Deno.test(`replayTrace() does what the C code did in ${name}`, async () => {
    const trace = await unpackTrace(name);
    const result = replayTrace(trace);
    assertEquals(result.difference, null, formatResult(result));
    assertEquals(
      result.operations,
      trace.lines.filter((line) => line.op !== "state").length,
    );
  });
}

Deno.test("the selection has every variant and every kind of operation", async () => {
  const variants = new Set<string>();
  const ops = new Set<string>();
  for (const [name] of VECTORS) {
    const { header, lines } = await unpackTrace(name);
    variants.add(header.variant);
    for (const line of lines) ops.add(line.op);
  }
  assertEquals(variants.size, 4);
  assertEquals([...ops].sort(), [
    "free_vm_area",
    "get_vm_area",
    "state",
    "vfree",
    "vm_map_ram",
    "vm_unmap_aliases",
    "vm_unmap_ram",
    "vmalloc",
    "vmap",
    "vunmap",
  ]);
});

Deno.test("replayTrace() finds a changed address at its line", async () => {
  for (const op of ["vmalloc", "vmap", "get_vm_area", "vm_map_ram"]) {
    await finds(
      "repaired.mixed-c8.jsonl",
      "addr",
      (row) => row.op === op && row.addr !== null,
      (row) => ({ ...row, addr: "0xffffc20077777000" }),
      200,
    );
  }
});

Deno.test("replayTrace() finds an allocation that should have failed, and one that should not", async () => {
  const name = "as-merged.space64m-areas-c4.jsonl";
  await finds(
    name,
    "addr",
    (row) => row.op === "vmap" && row.addr === null,
    (row) => ({ ...row, addr: "0xffffc20000000000" }),
  );
  // The last allocation: nobody frees it.
  const lines = (await unpack(name)).trimEnd().split("\n");
  const at = lines.findLastIndex((text) =>
    /"addr":"/.test(text) &&
    !lines.some((other) =>
      other !== text && JSON.parse(other).id === JSON.parse(text).id
    )
  );
  lines[at] = lines[at].replace(/"addr":"[^"]*"/, '"addr":null');
  const { difference } = replayTrace(parseTrace(lines.join("\n"), name));
  assertEquals(difference?.line, at + 1);
  assertEquals(difference?.fields[0].expected, "null");
});

Deno.test("replayTrace() finds a changed flush, its count, and a changed lazy count at their line", async () => {
  const name = "as-merged.ram-c8.jsonl";
  const flushed = (row: Row) => row.flush !== undefined;
  const end = "0xffffc20077777000";
  await finds(name, "flush", flushed, (row) => ({
    ...row,
    flush: [(row.flush as string[])[0], end],
  }));
  await finds(name, "flush", flushed, ({ flush: _, ...row }) => row);
  const any = (row: Row) => row.op !== "state";
  await finds(name, "flushes", any, (row) => ({
    ...row,
    flushes: Number(row.flushes) + 1,
  }), 700);
  await finds(name, "lazy_nr", any, (row) => ({
    ...row,
    lazy_nr: Number(row.lazy_nr) - 1,
  }), 300);
});

Deno.test("replayTrace() finds a changed warning at its line", async () => {
  const name = "posted.areas-c1.jsonl";
  const warned = (row: Row) => row.warn !== undefined;
  await finds(name, "warn", warned, ({ warn: _, ...row }) => row);
  await finds(
    name,
    "warn",
    (row) => row.op === "vmap" && !warned(row),
    (row) => ({ ...row, warn: ["pte_not_none"] }),
  );
});

Deno.test("replayTrace() finds every changed field of a state line", async () => {
  const numbers = [
    "areas",
    "lazy_nr",
    "blocks_with_free",
    "live_pages",
    "live_unmapped",
    "ptes",
    "flushes",
    "warns",
  ];
  for (const field of numbers) {
    await finds(
      "posted.space64m-mixed-c4.jsonl",
      field,
      (row) => row.op === "state",
      (row) => ({ ...row, [field]: Number(row[field]) + 1 }),
    );
  }
  await finds(
    "posted.space64m-mixed-c4.jsonl",
    "last_flush",
    (row) => row.op === "state",
    (row) => ({ ...row, last_flush: null }),
  );
});

Deno.test("replayTrace() finds a header that is not of the machine that boots", async () => {
  const { trace, line } = await tampered(
    "repaired.edges-c1.jsonl",
    (row) => row.format === 1,
    (row) => ({ ...row, lazy_max_pages: 8193, vmap_bbmap_bits: 512 }),
    1,
  );
  const { difference, operations } = replayTrace(trace);
  assertEquals([difference?.line, line, operations], [1, 1, 0]);
  assertEquals(difference?.fields, [
    { field: "lazy_max_pages", expected: "8193", got: "8192" },
    { field: "vmap_bbmap_bits", expected: "512", got: "1024" },
  ]);
});

Deno.test("replayTrace() finds a trace recorded from another variant", async () => {
  const { trace } = await tampered(
    "as-merged.edges-full-c8.jsonl",
    (row) => row.format === 1,
    (row) => ({ ...row, variant: "repaired" }),
    1,
  );
  const { difference } = replayTrace(trace);
  assert(difference !== null);
  assert(difference.text.includes("vm_unmap_aliases"), difference.text);
});

Deno.test("formatResult() shows the line and each field that differs", async () => {
  const { trace, line } = await tampered(
    "vanilla.edges-c4.jsonl",
    (row) => row.addr != null,
    (row) => ({ ...row, addr: "0xffffc20000123000", flushes: 77 }),
  );
  const text = formatResult(replayTrace(trace));
  const [first, second, ...rest] = text.split("\n");
  const done = line - 2;
  assertEquals(
    first,
    `FAILED vanilla.edges-c4.jsonl:${line} (after ${done} operations as recorded)`,
  );
  assert(second.startsWith('  {"op":'));
  assertEquals(rest, [
    "  addr     expected 0xffffc20000123000, got 0xffffc20000000000",
    "  flushes  expected 77, got 0",
  ]);
});
