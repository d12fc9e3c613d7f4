import { assert, assertEquals } from "@std/assert";
import { PAGE_KERNEL, PAGE_KERNEL_RO, PROT_TABLE } from "../hw/pte.ts";
import { Rng } from "../sim/random.ts";
import { D1, DIRECT, ROOT, V1, V2, VMALLOC, XenRig } from "./testing.ts";

const EINVAL = -22;

Deno.test("pinning a tree gives each of its frames its type, and unpinning takes it", () => {
  const r = new XenRig();
  const types = [100, 101, 102, 103, 104, 105, 106].map((mfn) => {
    const { type, typeCount, pinned } = r.x.frameInfo(mfn);
    return `${type}:${typeCount}${pinned ? " pinned" : ""}`;
  });
  assertEquals(types, [
    "l4:1 pinned",
    "l3:1",
    "l2:1",
    "l1:1",
    "l3:1",
    "l2:1",
    "l1:1",
  ]);
  assertEquals(r.x.frameInfo(5), {
    owner: 1,
    type: "writable",
    typeCount: 1,
    tlbCount: 0,
    pinned: false,
  });
  assertEquals(r.unpin(ROOT), 0);
  assertEquals(r.x.frames.nrTyped, 0);
  assertEquals(r.log(), []);
});

Deno.test("a frame that the direct map maps writable cannot be pinned", () => {
  const r = new XenRig();
  assertEquals(r.pin(7, 1), EINVAL);
  assertEquals(r.log(), [
    "(XEN) mm.c:1833:d1 Bad type (saw 7400000000000001 != exp 1000000000000000) for mfn 7 (pfn 7)",
    "(XEN) mm.c:2043:d1 Error while pinning mfn 7",
  ]);
  assertEquals(r.x.frames.refusal, {
    mfn: 7,
    wanted: "l1",
    mappings: 1,
    translations: 0,
  });
  assertEquals(r.direct(7, PAGE_KERNEL_RO), 0);
  assertEquals(r.pin(7, 1), 0);
  assertEquals(r.log(), []);
});

Deno.test("nor one that has a writable alias, which is counted, and a read-only one is none", () => {
  const r = new XenRig();
  r.set(V1, 3, 7, PAGE_KERNEL);
  r.set(V1, 4, 7, PAGE_KERNEL);
  assertEquals(r.x.frameInfo(7).typeCount, 3);
  r.direct(7, PAGE_KERNEL_RO);
  assertEquals(r.pin(7, 1), EINVAL);
  assertEquals(
    r.log()[0],
    "(XEN) mm.c:1833:d1 Bad type (saw 7400000000000002 != exp 1000000000000000) for mfn 7 (pfn 7)",
  );
  r.set(V1, 3, 7, PAGE_KERNEL_RO);
  r.set(V1, 4, 7, PAGE_KERNEL_RO);
  assertEquals(r.pin(7, 1), 0);
});

Deno.test("translations in TLBs are counted apart: those whose entry is read-only now are flushed, others refused", () => {
  const r = new XenRig();
  const { tlbs } = r.machine.mmu;
  r.direct(7, PAGE_KERNEL_RO);
  tlbs[3].insert(DIRECT / 4096 + 7, 7, PAGE_KERNEL); // from before
  tlbs[5].insert(VMALLOC / 4096 + 9, 7, PAGE_KERNEL);
  assertEquals(r.x.frameInfo(7).tlbCount, 1);
  assertEquals(r.pin(7, 1), EINVAL);
  assertEquals(r.log(), [
    "(XEN) mm.c:1833:d1 Bad type (saw 7400000000000001 != exp 1000000000000000) for mfn 7 (pfn 7)",
    "(XEN) mm.c:1850:d1 mfn 7 has no writable entry but 1 in TLBs, at ffffc20000009000 on CPU 5",
    "(XEN) mm.c:2043:d1 Error while pinning mfn 7",
  ]);
  assert(!tlbs[3].holds(DIRECT / 4096 + 7));
  r.x.flushAll(r.t);
  assertEquals(r.pin(7, 1), 0);
});

Deno.test("a table may not map a page table writable, nor itself; a refused tree is left as it was", () => {
  const r = new XenRig();
  for (const mfn of [7, 8, 9, 10]) r.direct(mfn, PAGE_KERNEL_RO);
  r.set(10, 0, 9, PROT_TABLE); // l4 -> l3 -> l2 -> l1
  r.set(9, 0, 8, PROT_TABLE);
  r.set(8, 0, 7, PROT_TABLE);
  r.set(7, 0, 20, PAGE_KERNEL);
  r.set(7, 1, D1, PAGE_KERNEL);
  const before = r.x.frames.nrTyped;
  assertEquals(r.pin(10, 4), EINVAL);
  const log = r.log();
  assertEquals(log.slice(0, 2), [
    "(XEN) mm.c:1833:d1 Bad type (saw 1400000000000001 != exp 7000000000000000) for mfn 67 (pfn 67)",
    "(XEN) mm.c:649:d1 Error getting mfn 67 (pfn 67) from L1 entry 8000000000067163 for dom1",
  ]);
  assertEquals(r.x.frames.nrTyped, before);
  r.set(7, 1, 7, PAGE_KERNEL);
  assertEquals(r.pin(10, 4), EINVAL);
  r.set(7, 1, D1, PAGE_KERNEL_RO);
  r.log();
  assertEquals(r.pin(10, 4), 0);
  assertEquals(r.x.frames.nrTyped, before + 4);
  assertEquals(r.unpin(10), 0);
  assertEquals(r.x.frames.nrTyped, before);
});

Deno.test("a frame has one type at a time, and is pinned once", () => {
  const r = new XenRig();
  assertEquals(r.pin(ROOT, 4), EINVAL);
  assertEquals(r.unpin(D1), EINVAL);
  assertEquals(r.pin(D1, 2), EINVAL);
  assertEquals(r.log(), [
    "(XEN) mm.c:2050:d1 Mfn 64 already pinned",
    "(XEN) mm.c:2071:d1 Mfn 67 not pinned",
    "(XEN) mm.c:1833:d1 Bad type (saw 1400000000000001 != exp 2000000000000000) for mfn 67 (pfn 67)",
    "(XEN) mm.c:2043:d1 Error while pinning mfn 67",
  ]);
  assertEquals(r.pin(D1, 1), 0); // as what it is: pinned by itself, too
  assertEquals(r.x.frameInfo(D1).typeCount, 2);
});

Deno.test("mmu_update() checks what it writes, level by level", () => {
  const r = new XenRig();
  assertEquals(r.update(V1, 0, 20, PAGE_KERNEL), 0);
  assertEquals(r.machine.mmu.peek(ROOT, VMALLOC), 20);
  assertEquals(r.update(V1, 1, D1, PAGE_KERNEL), EINVAL);
  assertEquals(r.machine.mmu.peek(ROOT, VMALLOC + 4096), -1);
  assertEquals(r.update(V1, 1, D1, PAGE_KERNEL_RO), 0);
  r.log();
  // A new table: not before nobody can write it.
  assertEquals(r.update(V2, 1, 7, PROT_TABLE), EINVAL);
  assertEquals(r.x.frameInfo(7).type, "writable");
  r.direct(7, PAGE_KERNEL_RO);
  assertEquals(r.update(V2, 1, 7, PROT_TABLE), 0);
  assertEquals(r.x.frameInfo(7).type, "l1");
  assertEquals(r.update(V2, 1, 0, 0), 0);
  assertEquals(r.x.frameInfo(7).type, "none");
  // Of a frame that is no table, a plain store.
  assertEquals(r.update(20, 3, 1, PAGE_KERNEL), 0);
  const { memory } = r.machine;
  assertEquals(memory.readLo(20 * 4096 + 24), 0x1163);
});

Deno.test("MMU_PT_UPDATE_PRESERVE_AD keeps accessed and dirty bits; other commands are refused", () => {
  const r = new XenRig();
  r.update(V1, 0, 20, PAGE_KERNEL);
  const ptr = V1 * 4096;
  const clean = { lo: 0x14101, hi: 0 };
  const { x, t, d1 } = r;
  assertEquals(x.mmu_update(t, d1, [{ ptr: ptr + 2, ...clean }]), 0);
  assertEquals(r.machine.memory.readLo(ptr), 0x14161);
  assertEquals(x.mmu_update(t, d1, [{ ptr: ptr + 1, ...clean }]), EINVAL);
});

Deno.test("update_va_mapping() refuses a writable entry for a page table, and an address without a table", () => {
  const r = new XenRig();
  assertEquals(r.direct(D1, PAGE_KERNEL), EINVAL);
  assertEquals(
    r.log().at(-1),
    "(XEN) mm.c:649:d1 Error getting mfn 67 (pfn 67) from L1 entry 8000000000067163 for dom1",
  );
  const { lo, hi } = r.entry(20, PAGE_KERNEL);
  assertEquals(
    r.x.update_va_mapping(r.t, r.d1, VMALLOC + 2 ** 21, lo, hi, 0),
    EINVAL,
  );
  assertEquals(r.log(), [
    "(XEN) mm.c:2744:d1 Could not find L1 PTE for address ffffc20000200000",
  ]);
});

Deno.test("frames given back are nobody's: not to be mapped, nor pinned, nor given back again", () => {
  const r = new XenRig();
  const { x, t, d1 } = r;
  assertEquals(x.decrease_reservation(t, d1, [30, 31, D1, 32]), 2);
  assertEquals(r.log(), [
    "(XEN) memory.c:187:d1 Bad page free for domain 1, mfn 67",
  ]);
  assertEquals(x.frameInfo(30).owner, -1);
  assertEquals(r.direct(30, PAGE_KERNEL), EINVAL);
  assertEquals(r.pin(31, 1), EINVAL);
  assertEquals(x.decrease_reservation(t, d1, [30]), 0);
  assertEquals(x.populate_physmap(t, d1, [30, 5]), 1);
  assertEquals(r.direct(30, PAGE_KERNEL), 0);
});

Deno.test("a descriptor table may not be writable, and is let go of with the next", () => {
  const r = new XenRig();
  const { x, t, d1 } = r;
  const set = (frames: number[]) =>
    x.mmuext_op(t, d1, [{ cmd: "set_ldt", frames }]);
  r.direct(40, PAGE_KERNEL_RO);
  assertEquals(set([40, 41]), EINVAL);
  assertEquals(x.frameInfo(40).type, "none");
  r.direct(41, PAGE_KERNEL_RO);
  assertEquals(set([40, 41]), 0);
  assertEquals(x.frameInfo(41).type, "seg_desc");
  assertEquals(r.direct(41, PAGE_KERNEL), EINVAL);
  assertEquals(set([]), 0);
  assertEquals(r.direct(41, PAGE_KERNEL), 0);
});

Deno.test("multicall() makes all calls, and says of each what came of it", () => {
  const r = new XenRig();
  const calls = [
    {
      op: "update_va_mapping" as const,
      vaddr: DIRECT + 7 * 4096,
      ...r.entry(7, PAGE_KERNEL_RO),
      flags: 0,
      result: 1,
    },
    {
      op: "mmuext_op" as const,
      ops: [{ cmd: "pin_table" as const, level: 1, mfn: 8 }],
      result: 1,
    },
    {
      op: "mmuext_op" as const,
      ops: [{ cmd: "pin_table" as const, level: 1, mfn: 7 }],
      result: 1,
    },
  ];
  assertEquals(r.x.multicall(r.t, r.d1, calls), 0);
  assertEquals(calls.map(({ result }) => result), [0, EINVAL, 0]);
});

Deno.test("large pages and levels that do not exist are refused", () => {
  const r = new XenRig();
  assertEquals(r.update(V2, 1, 512, PROT_TABLE | 0x200), EINVAL);
  assertEquals(r.log(), ["(XEN) mm.c:692:d1 Bad L2 flags 80"]);
  assertEquals(r.pin(7, 5), EINVAL);
  assertEquals(r.pin(7, 0), EINVAL);
});

Deno.test("whatever a guest asks for, no page table is writable, and uses add up", () => {
  for (let seed = 1; seed <= 40; seed++) {
    const r = new XenRig();
    const { x, t, d1 } = r;
    const rng = new Rng(seed);
    const wild = () =>
      [0, -1, 2 ** 40, x.firstFrame, 2 ** 18, 1e9][rng.below(6)];
    const frame = () => rng.below(20) === 0 ? wild() : 96 + rng.below(24);
    const prot = () =>
      [0, PAGE_KERNEL, PAGE_KERNEL_RO, PROT_TABLE, PROT_TABLE | 0x200][
        rng.below(5)
      ];
    for (let i = 0; i < 300; i++) {
      const mfn = frame();
      switch (rng.below(6)) {
        case 0:
          r.pin(mfn, 1 + rng.below(4));
          break;
        case 1:
          r.unpin(mfn === ROOT ? 0 : mfn); // the kernel keeps its tree
          break;
        case 2:
          r.update(mfn, rng.below(512), frame(), prot());
          break;
        case 3:
          r.direct(mfn, rng.below(2) === 0 ? PAGE_KERNEL_RO : PAGE_KERNEL);
          break;
        case 4:
          x.decrease_reservation(t, d1, [mfn]);
          break;
        default:
          x.populate_physmap(t, d1, [mfn]);
      }
    }
    assertEquals(x.frames.check(), [], `seed ${seed}`);
  }
});
