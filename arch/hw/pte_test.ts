import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  I386_PAE,
  IA64_16K,
  PAGE_KERNEL,
  PAGE_KERNEL_EXEC,
  PAGE_KERNEL_LARGE,
  PAGE_KERNEL_LARGE_EXEC,
  PAGE_KERNEL_NOCACHE,
  PAGE_KERNEL_RO,
  PAGE_KERNEL_RX,
  PAGE_KERNEL_WC,
  parseVaddr,
  printVaddr,
  PROT_ACCESSED,
  PROT_DIRTY,
  PROT_GLOBAL,
  PROT_LARGE,
  PROT_NX,
  PROT_PAT,
  PROT_PCD,
  PROT_PRESENT,
  PROT_PWT,
  PROT_TABLE,
  PROT_USER,
  PROT_WRITE,
  type PteFormat,
  pteFormat,
  type PtePair,
  X86_64,
} from "./pte.ts";

function hex(format: PteFormat, pfn: number, prot: number): string {
  const out: PtePair = { lo: 0, hi: 0 };
  format.encode(pfn, prot, out);
  return out.hi.toString(16).padStart(8, "0") + "_" +
    out.lo.toString(16).padStart(8, "0");
}

// By hand from the AMD64 APM vol. 2 figures of the long-mode 4 KiB PTE and
// 2 MiB PDE: P 0, R/W 1, U/S 2, PWT 3, PCD 4, A 5, D 6, PAT 7 (PDE: PS),
// G 8, PDE's PAT 12, base 51..12 (PDE: 51..21), NX 63.
Deno.test("X86_64.encode() sets the bits the architecture manual draws", () => {
  const cases: [number, number, string][] = [
    [0, PROT_PRESENT, "00000000_00000001"],
    [0, PROT_WRITE, "00000000_00000002"],
    [0, PROT_USER, "00000000_00000004"],
    [0, PROT_PWT, "00000000_00000008"],
    [0, PROT_PCD, "00000000_00000010"],
    [0, PROT_ACCESSED, "00000000_00000020"],
    [0, PROT_DIRTY, "00000000_00000040"],
    [0, PROT_PAT, "00000000_00000080"],
    [0, PROT_LARGE, "00000000_00000080"],
    [0, PROT_LARGE | PROT_PAT, "00000000_00001080"],
    [0, PROT_GLOBAL, "00000000_00000100"],
    [0, PROT_NX, "80000000_00000000"],
    [1, 0, "00000000_00001000"],
    [0x100000, 0, "00000001_00000000"], // 4 GiB
    [2 ** 40 - 1, 0, "000fffff_fffff000"],
    [0x1234, PROT_TABLE, "00000000_01234063"],
    [0x12345, PAGE_KERNEL, "80000000_12345163"],
    [0x12345, PAGE_KERNEL_EXEC, "00000000_12345163"],
    [0x12345, PAGE_KERNEL_RO, "80000000_12345161"],
    [0x12345, PAGE_KERNEL_RX, "00000000_12345161"],
    [0x12345, PAGE_KERNEL_NOCACHE, "80000000_1234517b"],
    [0x12345, PAGE_KERNEL_WC, "80000000_1234516b"],
    [0x12200, PAGE_KERNEL_LARGE, "80000000_122001e3"],
    [0x12200, PAGE_KERNEL_LARGE_EXEC, "00000000_122001e3"],
  ];
  for (const [pfn, prot, want] of cases) {
    assertEquals(hex(X86_64, pfn, prot), want);
  }
});

Deno.test("I386_PAE keeps the reserved bits of a root entry clear", () => {
  assertEquals(hex(I386_PAE, 0x77, I386_PAE.tableProt(0)), "00000000_00077001");
  assertEquals(hex(I386_PAE, 0x77, I386_PAE.tableProt(1)), "00000000_00077063");
  assertEquals(hex(I386_PAE, 0xfffff, PAGE_KERNEL), "80000000_fffff163");
  assertEquals(hex(I386_PAE, 0x100001, PAGE_KERNEL), "80000001_00001163");
});

// Intel Itanium SDM vol. 2: P 0, MA 4..2, A 5, D 6, PL 8..7, AR 11..9,
// PPN 49..12, ED 52.
Deno.test("IA64_16K.encode() gives the kernel's entry", () => {
  assertEquals(hex(IA64_16K, 1, PAGE_KERNEL_EXEC), "00100000_00004661");
  assertEquals(hex(IA64_16K, 1, PAGE_KERNEL), "00100000_00004461");
  assertEquals(hex(IA64_16K, 0x40000, PAGE_KERNEL_RO), "00100001_00000061");
  assertEquals(hex(IA64_16K, 1, PAGE_KERNEL_NOCACHE), "00100000_00004471");
  assertEquals(hex(IA64_16K, 1, PAGE_KERNEL_WC), "00100000_00004479");
  assertEquals(hex(IA64_16K, 0x55, IA64_16K.tableProt(0)), "00000000_00154000");
  assertEquals(IA64_16K.isPresent(0x154000, 0, 0), true);
  assertEquals(IA64_16K.isPresent(0x154000, 0, 2), false);
  assertEquals(IA64_16K.isPresent(0, 0, 1), false);
});

Deno.test("PteFormat decodes what it encoded", () => {
  const out: PtePair = { lo: 0, hi: 0 };
  fc.assert(
    fc.property(fc.nat(2 ** 31 - 1), fc.nat(511), fc.nat(0x7ff), (a, b, p) => {
      for (const format of [X86_64, I386_PAE]) {
        const large = (p & PROT_LARGE) !== 0;
        const pfn = large ? a * 512 : a * 512 + b;
        format.encode(pfn, p, out);
        const level = format.levels.length - (large ? 2 : 1);
        assertEquals(format.prot(out.lo, out.hi, level), p);
        assertEquals(format.pfn(out.lo, out.hi, p), pfn);
        assertEquals(format.isLeaf(out.lo, out.hi, level), true);
        assertEquals(out.lo >>> 0, out.lo);
        assertEquals(out.hi >>> 0, out.hi);
      }
      const prot = (p & ~(PROT_LARGE | PROT_PAT | PROT_GLOBAL | PROT_PCD)) |
        ((p & PROT_USER) !== 0 ? 0 : PROT_GLOBAL) | PROT_PRESENT;
      IA64_16K.encode(a, prot, out);
      assertEquals(IA64_16K.prot(out.lo, out.hi, 2), prot);
      assertEquals(IA64_16K.pfn(out.lo, out.hi, prot), a);
    }),
  );
});

Deno.test("isLeaf() tells a large page from a table", () => {
  assertEquals(X86_64.isLeaf(0x1e3, 0, 2), true);
  assertEquals(X86_64.isLeaf(0x63, 0, 2), false);
  assertEquals(X86_64.isLeaf(0x1e3, 0, 1), false); // no 1 GiB pages in 2.6.28
  assertEquals(X86_64.isLeaf(0x63, 0, 3), true);
  assertEquals(IA64_16K.isLeaf(0xffffffff, 0, 1), false);
});

Deno.test("index() takes an address apart", () => {
  const parts = (format: PteFormat, vaddr: number) =>
    format.levels.map((_, level) => format.index(vaddr, level));
  assertEquals(parts(X86_64, 0xc20000000000), [388, 0, 0, 0]);
  assertEquals(parts(X86_64, 0xffffffa00fff), [511, 511, 509, 0]);
  assertEquals(parts(X86_64, 0xffffffffffff), [511, 511, 511, 511]);
  assertEquals(parts(I386_PAE, 0xf8000000), [3, 448, 0]);
  assertEquals(parts(I386_PAE, 0xfffff000), [3, 511, 511]);
  assertEquals(parts(IA64_16K, 0x200000000), [0, 256, 0]);
  assertEquals(parts(IA64_16K, 2 ** 47 - 1), [2047, 2047, 2047]);
  assertEquals(X86_64.spanBytes(2), 2 ** 21);
  assertEquals(I386_PAE.spanBytes(0), 2 ** 30);
  assertEquals(IA64_16K.spanBytes(1), 2 ** 25);
});

Deno.test("index() agrees with exact arithmetic", () => {
  const wide = fc.bigInt({ min: 0n, max: 2n ** 47n - 1n });
  fc.assert(fc.property(wide, fc.boolean(), (low, upper) => {
    for (const format of [X86_64, I386_PAE, IA64_16K]) {
      let vaddr = format === X86_64 && upper ? low + 2n ** 47n : low;
      if (format === I386_PAE) vaddr &= 0xffffffffn;
      let shift = BigInt(format.pageShift);
      for (let level = format.levels.length - 1; level >= 0; level--) {
        const bits = BigInt(format.levels[level]);
        const want = Number(vaddr >> shift & 2n ** bits - 1n);
        assertEquals(format.index(Number(vaddr), level), want);
        shift += bits;
      }
    }
  }));
});

Deno.test("printVaddr() and parseVaddr() are inverse", () => {
  const cases: [PteFormat, number, string][] = [
    [X86_64, 0xc20000000000, "ffffc20000000000"],
    [X86_64, 0xffffffa00000, "ffffffffffa00000"],
    [X86_64, 0x400000, "0000000000400000"],
    [I386_PAE, 0xf8000000, "f8000000"],
    [I386_PAE, 0x1000, "00001000"],
    [IA64_16K, 0x200000000, "a000000200000000"],
    [IA64_16K, 2 ** 47 + 0x4000, "e000000000004000"],
  ];
  for (const [format, vaddr, text] of cases) {
    assertEquals(printVaddr(format, vaddr), text);
    assertEquals(parseVaddr(format, text), vaddr);
    assertEquals(parseVaddr(format, "0x" + text.toUpperCase()), vaddr);
  }
  assertEquals(parseVaddr(X86_64, "0xc20000000000"), 0xc20000000000);
  for (const text of ["", "0x", "xyz", "-1", "1".repeat(17)]) {
    assertThrows(() => parseVaddr(X86_64, text), SyntaxError);
  }
  assertThrows(() => parseVaddr(X86_64, "0000c20000000000"), RangeError);
  assertThrows(() => parseVaddr(I386_PAE, "100000000"), RangeError);
  assertThrows(() => parseVaddr(IA64_16K, "b000000000000000"), RangeError);
  assertThrows(() => parseVaddr(IA64_16K, "a000800000000000"), RangeError);
});

Deno.test("pteFormat() finds each format by name", () => {
  for (const name of ["x86-64", "i386-pae", "ia64-16k"] as const) {
    assertEquals(pteFormat(name).name, name);
  }
});
