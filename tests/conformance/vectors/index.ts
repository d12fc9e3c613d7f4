/** Recorded traces: file name and gzip in base64. Written by embed.ts. */
import v0 from "./vanilla.all-c4.ts";
import v1 from "./vanilla.edges-c4.ts";
import v2 from "./vanilla.space64m-areas-c4.ts";
import v3 from "./posted.areas-c1.ts";
import v4 from "./posted.space64m-mixed-c4.ts";
import v5 from "./as-merged.edges-c4.ts";
import v6 from "./as-merged.edges-full-c8.ts";
import v7 from "./as-merged.mixed-c4.ts";
import v8 from "./as-merged.ram-c8.ts";
import v9 from "./as-merged.space64m-areas-c4.ts";
import v10 from "./repaired.areas-c64.ts";
import v11 from "./repaired.edges-c1.ts";
import v12 from "./repaired.edges-c4.ts";
import v13 from "./repaired.edges-full-c8.ts";
import v14 from "./repaired.mixed-c8.ts";
import v15 from "./repaired.over512-c4.ts";
import v16 from "./repaired.ram-c4.ts";
import v17 from "./repaired.ram-c4096.ts";
import v18 from "./repaired.space64m-mixed-c1.ts";

export const VECTORS: readonly (readonly [name: string, data: string])[] = [
  ["vanilla.all-c4.jsonl", v0],
  ["vanilla.edges-c4.jsonl", v1],
  ["vanilla.space64m-areas-c4.jsonl", v2],
  ["posted.areas-c1.jsonl", v3],
  ["posted.space64m-mixed-c4.jsonl", v4],
  ["as-merged.edges-c4.jsonl", v5],
  ["as-merged.edges-full-c8.jsonl", v6],
  ["as-merged.mixed-c4.jsonl", v7],
  ["as-merged.ram-c8.jsonl", v8],
  ["as-merged.space64m-areas-c4.jsonl", v9],
  ["repaired.areas-c64.jsonl", v10],
  ["repaired.edges-c1.jsonl", v11],
  ["repaired.edges-c4.jsonl", v12],
  ["repaired.edges-full-c8.jsonl", v13],
  ["repaired.mixed-c8.jsonl", v14],
  ["repaired.over512-c4.jsonl", v15],
  ["repaired.ram-c4.jsonl", v16],
  ["repaired.ram-c4096.jsonl", v17],
  ["repaired.space64m-mixed-c1.jsonl", v18],
];
