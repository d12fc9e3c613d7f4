/** Each end against one that writes what it must not: an error, and never a hang or a leak. */
import { assert, assertEquals } from "@std/assert";
import { type Steps, vload, vstore } from "../../../arch/asm.ts";
import { findPreset } from "../../../arch/hw/presets/index.ts";
import { withCpus } from "../../../arch/hw/validate.ts";
import { Rng } from "../../../arch/sim/random.ts";
import { boot } from "../../../boot/boot.ts";
import { inventory, settle } from "../../../boot/workloads/inventory.ts";
import { bio_add_page, bio_alloc, bio_put, READ } from "../../block/bio.ts";
import { submit_bio } from "../../block/blk_core.ts";
import type { BlockDevice } from "../../block/block_device.ts";
import { kthread_join, kthread_run, kthread_stop } from "../../kthread.ts";
import { EIO, ENODEV, err } from "../../lib/errno.ts";
import {
  complete,
  Completion,
  wait_for_completion,
} from "../../locking/completion.ts";
import { GFP_KERNEL, GFP_NOIO } from "../../mm/gfp.ts";
import { type Page, page_address } from "../../mm/page.ts";
import { __free_page, alloc_page } from "../../mm/page_alloc.ts";
import { free_vm_area, get_vm_area } from "../../mm/vm_area.ts";
import { VM_MAP, type VmStruct } from "../../mm/vm_struct.ts";
import type { KernelParams } from "../../params.ts";
import type { Thread } from "../../thread.ts";
import { msleep } from "../../timer.ts";
import { notify_remote_via_evtchn, nr_evtchns } from "../../xen/events.ts";
import {
  gnttab_end_foreign_access,
  gnttab_free_count,
  gnttab_grant_foreign_access_ref,
} from "../../xen/grant_table.ts";
import { brd_alloc, brd_free } from "../block/brd.ts";
import { parseImage } from "../block/image.ts";
import {
  type BlkifRequest,
  type BlkifResponse,
  readResponse,
  writeRequest,
  writeResponse,
} from "./blkif.ts";
import { netfront_receive, netfront_send } from "./netfront_io.ts";
import {
  NETTXF_more_data,
  readTxResponse,
  writeRxResponse,
  writeTxRequest,
} from "./netif.ts";
import {
  next,
  REQ_PROD,
  RING_PUSH_REQUESTS_AND_CHECK_NOTIFY,
  RING_UNCONSUMED_RESPONSES,
  RSP_PROD,
} from "./ring.ts";
import {
  toolstack_attach,
  toolstack_detach,
  toolstack_wait,
  XenbusStateClosed,
  XenbusStateClosing,
  XenbusStateInitialised,
  XenbusStateInitWait,
} from "./xenbus.ts";
import {
  type Vbd,
  vbd_attach,
  vbd_detach,
  type Vif,
  vif_attach,
  vif_detach,
  xenbus_init,
} from "./xen_devices.ts";
import { xenbus_write } from "./xenstore.ts";
import { failPages } from "../../testing.ts";

const SECTORS = 1024;

function run<T>(
  fn: (t: Thread) => Steps<T>,
  params: Partial<KernelParams> = {},
) {
  const booted = boot({ spec: withCpus(findPreset("xen-pv"), 4), params });
  booted.run(fn);
  return booted.dmesg().map((line) => line.replace(/^\[.*?\] /, ""));
}

/** All that must be the same again. */
function* state(t: Thread) {
  yield* settle(t);
  return {
    ...inventory(t.k),
    vm_structs: t.k.vmalloc.nr_vm_structs,
    grants: yield* gnttab_free_count(t),
    ports: nr_evtchns(t),
    active: t.machine.xen!.domains.get(1)!.grants.active.size,
    mapped: t.machine.xen!.domains.get(0)!.grants.maptrack.size,
    nodes: t.k.xen_devices!.store.nodes.size,
    threads: t.k.sched.threads.size,
  };
}

/** Runs `fn` with a disk; before and after, all is the same. */
function* withVbd(t: Thread, fn: (t: Thread, vbd: Vbd) => Steps): Steps {
  const image = parseImage([new Uint8Array(SECTORS * 512).fill(0x5a)]);
  let before: unknown = null;
  for (const work of [false, true]) {
    const brd = brd_alloc(t, "ram0", image);
    const vbd = (yield* vbd_attach(t, brd)) as Vbd;
    if (work) yield* fn(t, vbd);
    yield* vbd_detach(t, vbd);
    yield* brd_free(t, brd);
    const after = yield* state(t);
    if (work) assertEquals(after, before);
    before = after;
  }
}

function* withVif(t: Thread, fn: (t: Thread, vif: Vif) => Steps): Steps {
  let before: unknown = null;
  for (const work of [false, true]) {
    const vif = (yield* vif_attach(t)) as Vif;
    if (work) yield* fn(t, vif);
    yield* vif_detach(t, vif);
    const after = yield* state(t);
    if (work) assertEquals(after, before);
    before = after;
  }
}

/** Does something in domain 0's name. */
function* asDom0(t: Thread, fn: (t: Thread) => Steps<unknown>): Steps {
  const p = yield* kthread_run(t, function* (p) {
    p.domid = 0;
    yield* fn(p);
  }, "dom0");
  yield* kthread_join(t, p);
}

/** Puts one request into the ring past blkfront and waits for its response. */
function* ask(t: Thread, vbd: Vbd, req: BlkifRequest): Steps<BlkifResponse> {
  const { ring, evtchn } = vbd.front;
  vbd.front.state = "gone"; // it does not look at the ring any more
  yield* writeRequest(t, ring.entry(ring.req_prod_pvt), req);
  ring.req_prod_pvt = next(ring.req_prod_pvt);
  yield* RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(t, ring);
  yield* notify_remote_via_evtchn(t, evtchn);
  for (let i = 0; i < 100; i++) {
    if ((yield* RING_UNCONSUMED_RESPONSES(t, ring)) === 1) {
      const rsp = yield* readResponse(t, ring.entry(ring.rsp_cons));
      ring.rsp_cons = next(ring.rsp_cons);
      return rsp;
    }
    yield* msleep(t, 1);
  }
  throw new Error("no response");
}

function request(fields: Partial<BlkifRequest>): BlkifRequest {
  return {
    operation: 0,
    nr_segments: fields.seg?.length ?? 0,
    handle: 0,
    idLow: 0x12345678,
    idHigh: 0xfedcba98,
    sector_number: 0,
    seg: [],
    ...fields,
  };
}

Deno.test("blkback answers requests that cannot be with an error, and goes on", () => {
  const log = run((t) =>
    withVbd(t, function* (t, vbd) {
      const page = (yield* alloc_page(t, GFP_KERNEL)) as Page;
      const grant = (readonly: boolean) =>
        gnttab_grant_foreign_access_ref(t, 0, page.pfn, readonly);
      const good = yield* grant(false);
      const readonly = yield* grant(true);
      const s = (gref: number, first_sect = 0, last_sect = 7) => [
        { gref, first_sect, last_sect },
      ];
      const cases: [Partial<BlkifRequest>, number][] = [
        [{ operation: 9, seg: s(good) }, -2],
        [{ operation: 255, seg: s(good) }, -2],
        [{ nr_segments: 0 }, -1],
        [{ nr_segments: 12, seg: s(good) }, -1],
        [{ nr_segments: 255, seg: s(good) }, -1],
        [{ seg: s(good, 0, 8) }, -1],
        [{ seg: s(good, 3, 2) }, -1],
        [{ seg: s(good, 255, 255) }, -1],
        [{ seg: s(good), sector_number: SECTORS - 7 }, -1],
        [{ seg: s(good), sector_number: 2 ** 53 }, -1],
        [{ seg: s(1) }, -1], // granted to nobody
        [{ seg: s(0xffffffff) }, -1],
        [{ seg: s(readonly) }, -1], // the disk's data would be written there
        [{ seg: [...s(good), ...s(1), ...s(good)] }, -1],
        [{ seg: s(good), operation: 1 }, -1], // the disk is read-only
        [{ seg: s(good) }, 0],
      ];
      for (const [fields, status] of cases) {
        const req = request(fields);
        const rsp = yield* ask(t, vbd, req);
        const { idLow, idHigh, operation } = req;
        assertEquals(rsp, { idLow, idHigh, operation, status });
      }
      assertEquals(yield* vload(t, page_address(t.k, page), 4), 0x5a5a5a5a);
      // Anything at all, 300 times: an answer each time.
      const rng = new Rng(5);
      for (let i = 0; i < 300; i++) {
        const pick = (...values: number[]) => values[rng.below(values.length)];
        const seg = Array.from({ length: rng.below(12) }, () => ({
          gref: pick(good, good, readonly, 0, rng.below(2 ** 31) + 4096),
          first_sect: pick(0, 1, rng.below(256)),
          last_sect: pick(7, 6, rng.below(256)),
        }));
        const req = request({
          seg,
          operation: pick(0, 0, 1, rng.below(256)),
          nr_segments: pick(seg.length, seg.length, rng.below(256)),
          sector_number: pick(0, rng.below(SECTORS), rng.below(2 ** 31)),
        });
        assertEquals((yield* ask(t, vbd, req)).idHigh, req.idHigh);
      }
      assertEquals(vbd.back.counts.okay + vbd.back.counts.errors, 316);
      for (const ref of [good, readonly]) {
        assert(yield* gnttab_end_foreign_access(t, ref));
      }
      yield* __free_page(t, page);
    })
  );
  assert(!log.some((line) => line.includes("still in use")));
});

Deno.test("a front end's counter that cannot be closes the disk", () => {
  run((t) =>
    withVbd(t, function* (t, vbd) {
      const { ring, evtchn } = vbd.front;
      yield* vstore(t, ring.sring + REQ_PROD, 4, 1000);
      yield* notify_remote_via_evtchn(t, evtchn);
      const { dom0 } = yield* xenbus_init(t);
      for (const path of [vbd.paths.front, vbd.paths.back]) {
        const state = yield* toolstack_wait(t, dom0, path, [XenbusStateClosed]);
        assertEquals(state, XenbusStateClosed);
      }
      assertEquals(yield* read(t, vbd.bdev), err(EIO));
    })
  );
});

function* read(t: Thread, bdev: BlockDevice): Steps<number> {
  const page = (yield* alloc_page(t, GFP_KERNEL)) as Page;
  const bio = (yield* bio_alloc(t, GFP_NOIO, 1))!;
  const done = new Completion(t.k, "bio");
  let result = 1;
  bio.bi_bdev = bdev;
  bio_add_page(t, bio, page, 4096, 0);
  bio.bi_end_io = function* (t, bio, error) {
    result = error;
    yield* bio_put(t, bio);
    yield* complete(t, done);
  };
  yield* submit_bio(t, READ, bio);
  yield* wait_for_completion(t, done);
  yield* __free_page(t, page);
  return result;
}

for (const what of ["an unknown id", "a counter", "an id twice"]) {
  Deno.test(`blkfront fails all that is under way when the back end writes ${what}`, () => {
    const log = run((t) =>
      withVbd(t, function* (t, vbd) {
        const { front, back } = vbd;
        // The back end falls asleep, and 40 reads with it: 32 in the ring.
        yield* kthread_stop(t, back.thread!);
        back.thread = null;
        const results: number[] = [];
        const readers: Thread[] = [];
        for (let i = 0; i < 40; i++) {
          readers.push(
            yield* kthread_run(t, function* (p) {
              results.push(yield* read(p, vbd.bdev));
            }, `reader/${i}`),
          );
        }
        yield* msleep(t, 20);
        assertEquals([front.ring.full, results.length], [true, 0]);
        const { sring } = front.ring;
        const rsp = (idLow: number) => ({
          idLow,
          idHigh: 0,
          operation: 0,
          status: 0,
        });
        const at = (n: number) => front.ring.entry(n);
        let prod = 1;
        if (what === "an unknown id") yield* writeResponse(t, at(0), rsp(32));
        else if (what === "a counter") prod = 33;
        else {
          yield* writeResponse(t, at(0), rsp(3));
          yield* writeResponse(t, at(1), rsp(3));
          prod = 2;
        }
        yield* vstore(t, sring + RSP_PROD, 4, prod);
        yield* asDom0(t, (p) => notify_remote_via_evtchn(p, back.evtchn));
        for (const p of readers) yield* kthread_join(t, p);
        const bad = results.filter((result) => result === err(EIO)).length;
        assertEquals(bad, what === "an id twice" ? 39 : 40);
        assertEquals(yield* read(t, vbd.bdev), err(EIO));
      })
    );
    assert(log.some((line) => line.startsWith("blkfront: xvda: ")));
  });
}

Deno.test("blkback refuses a ring, a port or a protocol that is none, and closes", () => {
  const log = run(function* (t) {
    const x = yield* xenbus_init(t);
    x.fronts.drivers.delete("vbd"); // the front end is this test
    const brd = brd_alloc(t, "ram0", parseImage([new Uint8Array(4096)]));
    x.bdevs.set("disk", brd);
    const cases: Record<string, string | number>[] = [
      { "ring-ref": 99, "event-channel": 1, protocol: "x86_64-abi" },
      { "ring-ref": "x", "event-channel": 1, protocol: "x86_64-abi" },
      { "ring-ref": 99, protocol: "x86_64-abi" },
      { "ring-ref": 99, "event-channel": 1, protocol: "x86_32-abi" },
    ];
    yield* state(t); // makes the guest's grant table
    let before: unknown = null;
    for (const [i, keys] of cases.entries()) {
      const paths = yield* toolstack_attach(t, x.dom0, "vbd", 1, 51712 + i, {
        backend: { params: "disk" },
      });
      const wait = (state: number) =>
        toolstack_wait(t, x.dom0, paths.back, [state]);
      assertEquals(yield* wait(XenbusStateInitWait), XenbusStateInitWait);
      for (const [key, value] of Object.entries(keys)) {
        yield* xenbus_write(t, x.domU, `${paths.front}/${key}`, value);
      }
      const key = `${paths.front}/state`;
      yield* xenbus_write(t, x.domU, key, XenbusStateInitialised);
      assertEquals(yield* wait(XenbusStateClosing), XenbusStateClosing);
      yield* xenbus_write(t, x.domU, key, XenbusStateClosed);
      assertEquals(yield* wait(XenbusStateClosed), XenbusStateClosed);
      yield* toolstack_detach(t, x.dom0, paths);
      yield* msleep(t, 20);
      assertEquals(x.backs.devices.size, 0);
      const after = yield* state(t);
      if (before !== null) assertEquals(after, before);
      before = after;
    }
    // A disk that domain 0 does not have.
    const none = yield* toolstack_attach(t, x.dom0, "vbd", 1, 51728, {
      backend: { params: "nothing" },
    });
    const closed = [XenbusStateClosed];
    const last = yield* toolstack_wait(t, x.dom0, none.back, closed);
    assertEquals(last, XenbusStateClosed);
    yield* toolstack_detach(t, x.dom0, none);
    yield* brd_free(t, brd);
  });
  assert(log.some((line) => line.includes("mapping in shared page 99")));
});

Deno.test("netback answers frames that cannot be with an error, and goes on", () => {
  run((t) =>
    withVif(t, function* (t, vif) {
      const { front } = vif;
      const { ring } = front.tx;
      const page = (yield* alloc_page(t, GFP_KERNEL)) as Page;
      const gref = yield* gnttab_grant_foreign_access_ref(t, 0, page.pfn, true);
      const good = { gref, offset: 0, flags: 0, id: 0xbeef, size: 100 };
      const bad = [
        { ...good, size: 13 },
        { ...good, size: 1515 },
        { ...good, size: 65535 },
        { ...good, offset: 4000 },
        { ...good, offset: 65535 },
        { ...good, flags: NETTXF_more_data },
        { ...good, gref: 1 },
        { ...good, gref: 0xffffffff },
      ];
      front.carrier = false; // it does not look at its rings any more
      for (const req of [...bad, ...bad, ...bad, good]) {
        yield* writeTxRequest(t, ring.entry(ring.req_prod_pvt), req);
        ring.req_prod_pvt = next(ring.req_prod_pvt);
      }
      yield* RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(t, ring);
      yield* notify_remote_via_evtchn(t, front.evtchn);
      yield* msleep(t, 20);
      assertEquals(yield* RING_UNCONSUMED_RESPONSES(t, ring), 25);
      for (let i = 0; i < 25; i++) {
        assertEquals(yield* readTxResponse(t, ring.entry(i)), {
          id: 0xbeef,
          status: i < 24 ? -1 : 0,
        });
      }
      assertEquals(vif.back.counts.tx, 1);
      assertEquals(vif.back.counts.tx_errors, 24);
      assert(yield* gnttab_end_foreign_access(t, gref));
      yield* __free_page(t, page);
    })
  );
});

Deno.test("an interface is lost, not hung, when either end's counters cannot be", () => {
  for (const who of ["front", "back", "rx id"]) {
    run((t) =>
      withVif(t, function* (t, vif) {
        const { front, back } = vif;
        if (who === "front") {
          yield* vstore(t, front.rx.ring.sring + REQ_PROD, 4, 5000);
          yield* netfront_send(t, front, new Uint8Array(60));
        } else if (who === "back") {
          yield* vstore(t, front.tx.ring.sring + RSP_PROD, 4, 1);
          yield* asDom0(t, (p) => notify_remote_via_evtchn(p, back.evtchn));
        } else {
          const rsp = { id: 300, offset: 0, flags: 0, status: 60 };
          yield* writeRxResponse(t, front.rx.ring.entry(0), rsp);
          yield* vstore(t, front.rx.ring.sring + RSP_PROD, 4, 1);
          yield* asDom0(t, (p) => notify_remote_via_evtchn(p, back.evtchn));
        }
        const { dom0 } = yield* xenbus_init(t);
        for (const path of [vif.paths.front, vif.paths.back]) {
          const closed = [XenbusStateClosed];
          const state = yield* toolstack_wait(t, dom0, path, closed);
          assertEquals(state, XenbusStateClosed);
        }
        const frame = new Uint8Array(60);
        assertEquals(yield* netfront_send(t, front, frame), err(ENODEV));
        assertEquals(yield* netfront_receive(t, front, 1000), null);
      })
    );
  }
});

Deno.test("without memory or addresses a device does not come, and leaves nothing behind", () => {
  run(function* (t) {
    const brd = brd_alloc(t, "ram0", parseImage([new Uint8Array(4096)]));
    const devices = [
      { attach: (t: Thread) => vbd_attach(t, brd), detach: vbd_detach },
      { attach: (t: Thread) => vif_attach(t), detach: vif_detach },
    ];
    for (const { attach, detach } of devices) {
      // Once with all it takes, so that what stays is there.
      yield* detach(t, (yield* attach(t)) as Vbd & Vif);
      const before = yield* state(t);
      let refused = 0;
      for (const forGood of [false, true]) {
        for (let n = 1, left = 0; left <= 0; n++) {
          left = n;
          failPages(t.k, () => {
            left--;
            return left === 0 || (forGood && left < 0);
          });
          const device = yield* attach(t);
          failPages(t.k, null);
          if (typeof device !== "number") {
            yield* detach(t, device as Vbd & Vif);
          } else {
            assertEquals(device, err(ENODEV));
            refused++;
          }
          assertEquals(yield* state(t), before);
        }
      }
      // Every address is taken, but for a few stretches given back.
      for (const free of [0, 1, 2, 3, 8]) {
        const areas: VmStruct[] = [];
        for (const size of [128, 16, 1]) {
          for (;;) {
            const area = yield* get_vm_area(t, size * 4096, VM_MAP);
            if (area === null) break;
            areas.push(area);
          }
        }
        for (let i = 0; i < free; i++) yield* free_vm_area(t, areas.shift()!);
        const device = yield* attach(t);
        if (typeof device !== "number") {
          yield* detach(t, device as Vbd & Vif);
        } else {
          assertEquals(device, err(ENODEV));
          refused++;
        }
        for (const area of areas) yield* free_vm_area(t, area);
        assertEquals(yield* state(t), before);
      }
      assert(refused >= 4);
    }
    yield* brd_free(t, brd);
  }, { vmalloc_bytes: 4 * 2 ** 20 });
});
