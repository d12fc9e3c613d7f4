import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  ImageError,
  parseImage,
  readImage,
  type SparseImage,
} from "./image.ts";

const SECTOR = 512;
const SB_MAGIC = 0x58465342;

/** A sector with a pattern of its own. */
function sector(seed: number): Uint8Array {
  return Uint8Array.from(
    { length: SECTOR },
    (_, i) => (seed * 31 + i * 7) & 255,
  );
}

/** The start of a superblock. */
function superblock(blocksize: number, dblocks: number): Uint8Array {
  const bytes = new Uint8Array(SECTOR);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, SB_MAGIC);
  view.setUint32(4, blocksize);
  view.setBigUint64(8, BigInt(dblocks));
  return bytes;
}

/** A version 1 record. */
function record(blocks: readonly (readonly [number, Uint8Array])[]) {
  const bytes = new Uint8Array(SECTOR * (1 + blocks.length));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x5846534d);
  view.setUint16(4, blocks.length);
  view.setUint8(6, 9);
  blocks.forEach(([daddr, data], i) => {
    view.setBigUint64(8 + 8 * i, BigInt(daddr));
    bytes.set(data, SECTOR * (1 + i));
  });
  return bytes;
}

/** A version 2 file. */
function version2(
  extents: readonly (readonly [bigint, Uint8Array])[],
  { version = 2, incompat = 0 } = {},
): Uint8Array {
  const header = new Uint8Array(24);
  const view = new DataView(header.buffer);
  view.setUint32(0, 0x584d4432);
  view.setUint32(4, version);
  view.setUint32(12, incompat);
  const parts: Uint8Array[] = [header];
  for (const [addr, data] of extents) {
    const head = new Uint8Array(12);
    const v = new DataView(head.buffer);
    v.setBigUint64(0, addr);
    v.setUint32(8, data.length / SECTOR);
    parts.push(head, data);
  }
  return concat(parts);
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, p) => sum + p.length, 0));
  let at = 0;
  for (const p of parts) {
    all.set(p, at);
    at += p.length;
  }
  return all;
}

function at(image: SparseImage, offset: number, length: number): Uint8Array {
  const out = new Uint8Array(length).fill(0xaa);
  image.read(offset, out);
  return out;
}

function streamOf(bytes: Uint8Array, chunk = 1000): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      for (let i = 0; i < bytes.length; i += chunk) {
        controller.enqueue(bytes.slice(i, i + chunk));
      }
      controller.close();
    },
  });
}

async function gzip(bytes: Uint8Array): Promise<Uint8Array> {
  const zipped = new Blob([bytes as Uint8Array<ArrayBuffer>]).stream()
    .pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(zipped).arrayBuffer());
}

Deno.test("parseImage() of a raw image keeps every byte and no block of zeros", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(99), fc.nat(255)), { maxLength: 6 }),
      fc.array(fc.integer({ min: 1, max: 9000 }), { maxLength: 20 }),
      (marks, cuts) => {
        const bytes = new Uint8Array(100 * SECTOR);
        for (const [n, value] of marks) {
          bytes.fill(value, n * SECTOR, (n + 1) * SECTOR);
        }
        const chunks: Uint8Array[] = [];
        let from = 0;
        for (const cut of cuts) {
          chunks.push(bytes.subarray(from, from + cut));
          from = Math.min(bytes.length, from + cut);
        }
        chunks.push(bytes.subarray(from));
        const image = parseImage(chunks);
        assertEquals(image.sizeBytes, bytes.length);
        assertEquals(at(image, 0, bytes.length), bytes);
        assert(image.dataBytes <= 4096 * marks.length);
      },
    ),
    { seed: 1, numRuns: 100 },
  );
});

Deno.test("SparseImage reads zeros beyond its end and where nothing was written", () => {
  const image = parseImage([sector(1)]);
  assertEquals(
    at(image, SECTOR - 2, 4),
    new Uint8Array([...sector(1).slice(-2), 0, 0]),
  );
  assertEquals(at(image, 2 ** 45, 3), new Uint8Array(3));
});

Deno.test("parseImage() refuses a raw image of half a sector, or of nothing", () => {
  assertThrows(
    () => parseImage([new Uint8Array(700)]),
    ImageError,
    "Cannot use image as its size must be a multiple of 512 bytes, and not 0: current value is 700",
  );
  assertThrows(() => parseImage([]), ImageError, "current value is 0");
});

Deno.test("parseImage() puts the blocks of a metadump where they came from", () => {
  const sb = superblock(4096, 1000);
  const full = Array.from(
    { length: 63 },
    (_, i) => [i * 8, i === 0 ? sb : sector(i)] as const,
  );
  const rest = [[7999, sector(77)], [8, sector(99)]] as const;
  const image = parseImage([record(full), record(rest)]);
  assertEquals(image.sizeBytes, 4096 * 1000);
  assertEquals(at(image, 0, SECTOR), sb);
  assertEquals(at(image, 16 * SECTOR, SECTOR), sector(2));
  assertEquals(at(image, 62 * 8 * SECTOR, SECTOR), sector(62));
  assertEquals(at(image, 8 * SECTOR, SECTOR), sector(99)); // the later one
  assertEquals(at(image, 7999 * SECTOR, SECTOR), sector(77));
  assertEquals(at(image, SECTOR, SECTOR), new Uint8Array(SECTOR));
  // A full last record is followed by an empty one.
  assertEquals(parseImage([record(full), record([])]).sizeBytes, 4096000);
});

Deno.test("parseImage() says what is wrong with a metadump", () => {
  const sb = superblock(4096, 1000);
  const good = record([[0, sb], [8, sector(1)]]);
  const changed = (at: number, ...values: number[]) => {
    const bytes = good.slice();
    bytes.set(values, at);
    return bytes;
  };
  const full = record(
    Array.from(
      { length: 63 },
      (_, i) => [i, i === 0 ? sb : sector(i)] as const,
    ),
  );
  const cases: readonly (readonly [Uint8Array, string])[] = [
    [
      good.slice(0, 5),
      "size must be 8 bytes at least, where the header ends: current value is 5",
    ],
    [
      good.slice(0, 600),
      "size must be 1024 bytes at least, where the superblock ends",
    ],
    [
      good.slice(0, 1500),
      "size must be 1536 bytes at least, where the record at byte 0 ends: current value is 1500",
    ],
    [full, "where a record's header ends"],
    [
      concat([full, new Uint8Array(SECTOR)]),
      `record at byte ${full.length} must be of magic 0x5846534d: current value is 0x0`,
    ],
    [
      changed(4, 0, 0),
      "count of blocks at byte 4 must be 1 to 63: current value is 0",
    ],
    [changed(4, 0xff, 0xff), "must be 1 to 63: current value is 65535"],
    [
      changed(6, 40),
      "log2 of the block size must be 9 to 16: current value is 40",
    ],
    [
      changed(15, 1),
      "first block must be the superblock, at sector 0: current value is 1",
    ],
    [
      changed(512, 0),
      "first block must be a superblock, magic 0x58465342: current value is magic 0x465342",
    ],
    [
      changed(516, 0, 0, 0x10, 1),
      "block size must be a power of two in 512..65536: current value is 4097",
    ],
    [
      changed(520, 0xff),
      "number of blocks must be 1 to 2199023255551: current value is",
    ],
    [
      changed(520, 0, 0, 0, 0, 0, 0, 0, 0),
      "number of blocks must be 1 to 2199023255551: current value is 0",
    ],
    [
      changed(16, 0xff),
      "address of the data at byte 1024 must be 0 to 7999, inside of the disk of 8000 sectors",
    ],
    [changed(22, 0x1f, 0x40), "8000 sectors: current value is 8000"],
  ];
  for (const [bytes, message] of cases) {
    assertThrows(() => parseImage([bytes]), ImageError, message);
  }
});

Deno.test("parseImage() reads version 2 of the format, the data device alone", () => {
  const sb = superblock(512, 100);
  const two = concat([sector(1), sector(2)]);
  const LOG = 1n << 54n;
  const image = parseImage([
    version2([[0n, sb], [50n, two], [LOG | 3n, sector(9)], [LOG << 1n, two]]),
  ]);
  assertEquals(image.sizeBytes, 51200);
  assertEquals(at(image, 50 * SECTOR, 2 * SECTOR), two);
  assertEquals(at(image, 3 * SECTOR, SECTOR), new Uint8Array(SECTOR));
  const good = version2([[0n, sb], [50n, two]]);
  const cases: readonly (readonly [Uint8Array, string])[] = [
    [
      good.slice(0, 100),
      "size must be 548 bytes at least, where the superblock ends",
    ],
    [good.slice(0, good.length - 1), "where the extent at byte 548 ends"],
    [good.slice(0, 552), "where an extent's header ends"],
    [
      version2([[0n, sb]], { version: 3 }),
      "version must be 2: current value is 3",
    ],
    [
      version2([[0n, sb]], { incompat: 1 }),
      "incompatible features must be none: current value is 0x1",
    ],
    [version2([[1n, sb]]), "first extent must be the superblock"],
    [
      version2([[0n, sb], [50n, new Uint8Array(0)]]),
      "length of the extent at byte 548 must be 1 sector at least",
    ],
    [
      version2([[0n, sb], [99n, two]]),
      "must be 0 to 98, inside of the disk of 100 sectors: current value is 99",
    ],
    [
      version2([[0n, sb], [3n << 54n, two]]),
      "device of the extent at byte 548 must be",
    ],
  ];
  for (const [bytes, message] of cases) {
    assertThrows(() => parseImage([bytes]), ImageError, message);
  }
});

Deno.test("readImage() takes gzip off, and says when it is damaged", async () => {
  const raw = concat([sector(1), new Uint8Array(40960), sector(2)]);
  const dump = record([[0, superblock(512, 8)], [7, sector(3)]]);
  for (const chunk of [1, 1000]) {
    const image = await readImage(streamOf(raw, chunk));
    assertEquals(at(image, 0, raw.length), raw);
    const zipped = await readImage(streamOf(await gzip(raw), chunk));
    assertEquals(at(zipped, 0, raw.length), raw);
    const both = await readImage(streamOf(await gzip(dump), chunk));
    assertEquals(at(both, 7 * SECTOR, SECTOR), sector(3));
  }
  const zipped = await gzip(raw);
  await assertRejects(
    () => readImage(streamOf(zipped.slice(0, zipped.length - 9))),
    ImageError,
    "gzip data must be whole",
  );
  const damaged = zipped.slice();
  damaged[zipped.length >> 1] ^= 0x55;
  await assertRejects(() => readImage(streamOf(damaged)), ImageError, "gzip");
  await assertRejects(
    () => readImage(streamOf(new Uint8Array(100))),
    ImageError,
    "current value is 100",
  );
  await assertRejects(() => readImage(streamOf(new Uint8Array(0))), ImageError);
});

Deno.test("readImage() passes errors of its stream on", async () => {
  const failing = (head: Uint8Array) =>
    new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(head),
      pull: () => Promise.reject(new Error("no such disk")),
    });
  for (const head of [sector(1), await gzip(sector(1))]) {
    await assertRejects(
      () => readImage(failing(head.slice(0, 20))),
      Error,
      "no such disk",
    );
  }
});

Deno.test("parseImage() ends on any damage to a metadump, with an ImageError or an image", () => {
  const sb = superblock(4096, 1000);
  const v1 = record([[0, sb], [8, sector(1)], [16, sector(2)]]);
  const v2 = version2([[0n, sb], [8n, sector(1)]]);
  fc.assert(
    fc.property(
      fc.boolean(),
      fc.array(fc.tuple(fc.nat(1100), fc.nat(255)), { maxLength: 5 }),
      fc.nat(3000),
      (first, changes, length) => {
        const bytes = (first ? v1 : v2).slice(0, 4 + length);
        for (const [i, value] of changes) {
          if (i < bytes.length) bytes[i] = value;
        }
        try {
          assert(parseImage([bytes]).dataBytes <= 16 * 4096);
        } catch (error) {
          assert(error instanceof ImageError, String(error));
        }
      },
    ),
    { seed: 2, numRuns: 500 },
  );
});

/** Whether xfsprogs can be run; the tools lie in /usr/sbin. */
async function haveXfsprogs(): Promise<boolean> {
  for (const name of ["run", "read", "write", "env"] as const) {
    const { state } = await Deno.permissions.query({ name });
    if (state !== "granted") return false;
  }
  try {
    return (await run("mkfs.xfs", "-V")).success;
  } catch {
    return false;
  }
}

function run(tool: string, ...args: string[]): Promise<Deno.CommandOutput> {
  const PATH = `${Deno.env.get("PATH") ?? ""}:/usr/sbin:/sbin`;
  return new Deno.Command("env", { args: [tool, ...args], env: { PATH } })
    .output();
}

Deno.test({
  name: "readImage() makes of xfs_metadump's file the disk that it was made of",
  ignore: !(await haveXfsprogs()),
  async fn() {
    const dir = await Deno.makeTempDir();
    try {
      const [disk, dump] = [`${dir}/disk`, `${dir}/dump`];
      const file = await Deno.create(disk);
      await file.truncate(300 * 2 ** 20);
      file.close();
      const made = await run("mkfs.xfs", "-q", disk);
      const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
      assert(made.success, decode(made.stderr));
      // Not obfuscated, whole blocks.
      assert((await run("xfs_metadump", "-o", "-a", disk, dump)).success);
      const open = async (path: string) =>
        await readImage((await Deno.open(path)).readable);
      const [raw, image] = [await open(disk), await open(dump)];
      assertEquals(raw.sizeBytes, 300 * 2 ** 20);
      assertEquals(image.sizeBytes, raw.sizeBytes);
      assert(raw.dataBytes < 2 ** 20, `${raw.dataBytes} bytes`);
      assertEquals(decode(at(raw, 0, 4)), "XFSB");
      const [a, b] = [new Uint8Array(4096), new Uint8Array(4096)];
      for (let i = 0; i < raw.sizeBytes; i += a.length) {
        raw.read(i, a);
        image.read(i, b);
        assert(a.every((byte, j) => byte === b[j]), `block at byte ${i}`);
      }
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  },
});
