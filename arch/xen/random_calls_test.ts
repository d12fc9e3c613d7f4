/** Random grants and events of two domains: nothing throws, and what Xen marks is what is in use. */
import { assert, assertEquals } from "@std/assert";
import { PAGE_KERNEL } from "../hw/pte.ts";
import { Rng } from "../sim/random.ts";
import {
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_bad_handle,
  GNTST_general_error,
  GTF_reading,
  GTF_writing,
} from "./abi.ts";
import type { EventChannelOp } from "./event_channel.ts";
import { VMALLOC, XenRig } from "./testing.ts";

Deno.test("grants: marks of use, handles and entries of page tables agree after any calls", () => {
  let maps = 0;
  for (let seed = 1; seed <= 30; seed++) {
    const r = new XenRig();
    const { x, t, d0, d1 } = r;
    const { memory, mmu } = r.machine;
    const rng = new Rng(seed);
    const table = x.setup_table(t, d1, 1)![0] * 4096;
    assertEquals(x.setup_table(t, d1, 99), null);
    const handles: { handle: number; host_addr: number; frame: number }[] = [];
    for (let i = 0; i < 200; i++) {
      const ref = rng.below(12);
      const host_addr = VMALLOC + rng.below(40) * 4096;
      switch (rng.below(5)) {
        case 0: { // the guest writes an entry that is not in use
          const at = table + ref * 8;
          if ((memory.read16(at) & (GTF_reading | GTF_writing)) !== 0) break;
          memory.write16(at, [0, 1, 5, 2, 0xffff & ~24][rng.below(5)]);
          memory.write16(at + 2, rng.below(5) === 0 ? 7 : 0);
          memory.write32(
            at + 4,
            rng.below(8) === 0 ? 2 ** 31 : 90 + rng.below(40),
          );
          break;
        }
        case 1:
        case 2: {
          if (mmu.peek(100, host_addr) >= 0) break; // a guest knows what it has mapped
          const flags = GNTMAP_host_map |
            (rng.below(2) === 0 ? GNTMAP_readonly : 0);
          const op = {
            host_addr,
            flags,
            ref: rng.below(20) === 0 ? 1e7 : ref,
            dom: rng.below(20) === 0 ? 5 : 1,
            handle: -1,
            status: 1,
          };
          x.map_grant_ref(t, d0, [op]);
          if (op.status !== 0) break;
          maps++;
          const frame = mmu.peek(100, host_addr);
          handles.push({ handle: op.handle, host_addr, frame });
          break;
        }
        case 3: {
          const n = rng.below(handles.length + 1);
          const known = handles[n] ?? { handle: 1e6, host_addr };
          // At times the right handle, and an address where nothing is mapped.
          const astray = rng.below(6) === 0 && n < handles.length;
          const op = {
            handle: known.handle,
            host_addr: astray ? VMALLOC + 2 ** 40 : known.host_addr,
            status: 1,
          };
          x.unmap_grant_ref(t, d0, [op]);
          if (n === handles.length) assertEquals(op.status, GNTST_bad_handle);
          else if (astray) assertEquals(op.status, GNTST_general_error);
          else {
            assertEquals(op.status, 0);
            handles.splice(n, 1);
          }
          break;
        }
        default: {
          const copy = {
            source: { u: ref, domid: 1, offset: rng.below(4200) },
            dest: { u: 300 + rng.below(9), domid: 0, offset: rng.below(100) },
            len: rng.below(200),
            flags: 1,
          };
          x.grant_copy(t, d0, [copy]);
        }
      }
    }
    assertEquals(d0.grants.maptrack.size, handles.length);
    const { active } = d1.grants;
    for (let ref = 0; ref < 12; ref++) {
      const flags = memory.read16(table + ref * 8);
      const grant = active.get(ref);
      assertEquals((flags & GTF_reading) !== 0, grant !== undefined);
      assertEquals((flags & GTF_writing) !== 0, (grant?.writers ?? 0) > 0);
    }
    for (const { host_addr, frame } of handles) {
      assertEquals(mmu.peek(100, host_addr), frame);
    }
    assertEquals(x.frames.check(), []);
    // A granted frame that is mapped for writing is no page table.
    const written = [...active.values()].find(({ writers }) => writers > 0);
    if (written !== undefined) {
      r.direct(written.frame, PAGE_KERNEL & ~2);
      assertEquals(r.pin(written.frame, 1), -22);
    }
  }
  assert(maps > 300, `${maps} maps`);
});

Deno.test("event channels: ends belong together after any calls", () => {
  for (let seed = 1; seed <= 30; seed++) {
    const { x, t, d0, d1 } = new XenRig();
    const rng = new Rng(seed);
    const any = () => rng.below(30) - 2;
    for (let i = 0; i < 300; i++) {
      const d = rng.below(2) === 0 ? d0 : d1;
      const ops: EventChannelOp[] = [
        { cmd: "alloc_unbound", remote_dom: rng.below(3) },
        {
          cmd: "bind_interdomain",
          remote_dom: rng.below(3),
          remote_port: any(),
        },
        { cmd: "bind_virq", virq: any(), vcpu: rng.below(9) },
        { cmd: "bind_vcpu", port: any(), vcpu: rng.below(9) },
        { cmd: "send", port: any() },
        { cmd: "unmask", port: any() },
        { cmd: "close", port: any() },
      ];
      x.event_channel_op(t, d, ops[rng.below(ops.length)]);
    }
    for (const d of [d0, d1]) {
      d.ports.forEach((port, n) => {
        if (port === null || port.state !== "interdomain") return;
        const other = x.domains.get(port.remoteDom)!.ports[port.remotePort]!;
        assertEquals([other.state, other.remotePort], ["interdomain", n]);
      });
      for (const n of d.pending) assert(d.ports[n] != null);
    }
  }
});
