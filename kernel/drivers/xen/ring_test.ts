import { assert, assertEquals } from "@std/assert";
import { free_page, get_zeroed_page } from "../../mm/get_free_pages.ts";
import { GFP_KERNEL } from "../../mm/gfp.ts";
import { virt_to_page } from "../../mm/page.ts";
import { PAGE_SIZE, runVm } from "../../mm/vm_testing.ts";
import {
  BLKIF_ENTRY_BYTES,
  BLKIF_OP_READ,
  readRequest,
  readResponse,
  writeRequest,
  writeResponse,
} from "./blkif.ts";
import {
  NETIF_RX_ENTRY_BYTES,
  NETIF_TX_ENTRY_BYTES,
  readRxRequest,
  readRxResponse,
  readTxRequest,
  readTxResponse,
  writeRxRequest,
  writeRxResponse,
  writeTxRequest,
  writeTxResponse,
} from "./netif.ts";
import {
  BackRing,
  FrontRing,
  next,
  REQ_PROD,
  RING_FINAL_CHECK_FOR_REQUESTS,
  RING_FINAL_CHECK_FOR_RESPONSES,
  RING_OFFSET,
  RING_PUSH_REQUESTS_AND_CHECK_NOTIFY,
  RING_PUSH_RESPONSES_AND_CHECK_NOTIFY,
  RING_UNCONSUMED_REQUESTS,
  RING_UNCONSUMED_RESPONSES,
  ringSize,
  RSP_PROD,
  SHARED_RING_INIT,
} from "./ring.ts";
import { vstore } from "../../../arch/asm.ts";

Deno.test("rings of one page have as many entries as Xen's", () => {
  assertEquals(ringSize(4096, BLKIF_ENTRY_BYTES), 32);
  assertEquals(ringSize(4096, NETIF_TX_ENTRY_BYTES), 256);
  assertEquals(ringSize(4096, NETIF_RX_ENTRY_BYTES), 256);
});

Deno.test("the block ring is bit by bit what blkif.h says", () => {
  runVm({}, function* (t) {
    const addr = yield* get_zeroed_page(t, GFP_KERNEL);
    yield* SHARED_RING_INIT(t, addr);
    const front = new FrontRing(addr, PAGE_SIZE, BLKIF_ENTRY_BYTES);
    const req = {
      operation: BLKIF_OP_READ,
      nr_segments: 2,
      handle: 0xca00,
      idLow: 7,
      idHigh: 0x80000001,
      sector_number: 0x1_2345_6789,
      seg: [
        { gref: 0x11223344, first_sect: 1, last_sect: 7 },
        { gref: 9, first_sect: 0, last_sect: 3 },
      ],
    };
    yield* writeRequest(t, front.entry(33), req); // the second entry
    assertEquals(yield* readRequest(t, front.entry(1)), req);
    const page = new Uint8Array(PAGE_SIZE);
    t.machine.memory.readBytes(
      virt_to_page(t.k, addr).pfn * PAGE_SIZE,
      page,
    );
    const hex = (from: number, to: number) => page.subarray(from, to).toHex();
    assertEquals(hex(0, 16), "00000000010000000000000001000000");
    assert(page.subarray(16, RING_OFFSET + 112).every((b) => b === 0));
    const at = RING_OFFSET + 112;
    assertEquals(hex(at, at + 8), "000200ca00000000");
    assertEquals(hex(at + 8, at + 16), "0700000001000080");
    assertEquals(hex(at + 16, at + 24), "8967452301000000");
    assertEquals(hex(at + 24, at + 40), "44332211010700000900000000030000");
    assert(page.subarray(at + 40).every((b) => b === 0));
    const rsp = { idLow: 7, idHigh: 0x80000001, operation: 1, status: -2 };
    yield* writeResponse(t, front.entry(0), rsp);
    assertEquals(yield* readResponse(t, front.entry(32)), rsp);
    t.machine.memory.readBytes(virt_to_page(t.k, addr).pfn * PAGE_SIZE, page);
    assertEquals(hex(64, 80), "07000000010000800100feff00000000");
    yield* free_page(t, addr);
  });
});

Deno.test("the network rings are bit by bit what netif.h says", () => {
  runVm({}, function* (t) {
    const addr = yield* get_zeroed_page(t, GFP_KERNEL);
    const hex = (length: number) => {
      const bytes = new Uint8Array(length);
      const from = virt_to_page(t.k, addr).pfn * PAGE_SIZE;
      t.machine.memory.readBytes(from, bytes);
      return bytes.toHex();
    };
    const tx = { gref: 0x01020304, offset: 66, flags: 1, id: 5, size: 1514 };
    yield* writeTxRequest(t, addr, tx);
    assertEquals(hex(12), "04030201420001000500ea05");
    assertEquals(yield* readTxRequest(t, addr), tx);
    yield* writeTxResponse(t, addr, { id: 5, status: -1 });
    assertEquals(hex(4), "0500ffff");
    assertEquals(yield* readTxResponse(t, addr), { id: 5, status: -1 });
    yield* vstore(t, addr, 8, 0);
    yield* writeRxRequest(t, addr, { id: 3, gref: 0x0a0b0c0d });
    assertEquals(hex(8), "030000000d0c0b0a");
    assertEquals(yield* readRxRequest(t, addr), { id: 3, gref: 0x0a0b0c0d });
    const rx = { id: 3, offset: 2, flags: 0, status: 1514 };
    yield* writeRxResponse(t, addr, rx);
    assertEquals(hex(8), "030002000000ea05");
    assertEquals(yield* readRxResponse(t, addr), rx);
    yield* free_page(t, addr);
  });
});

Deno.test("who sleeps is told of the next entry, and nobody twice", () => {
  runVm({}, function* (t) {
    const addr = yield* get_zeroed_page(t, GFP_KERNEL);
    yield* SHARED_RING_INIT(t, addr);
    const front = new FrontRing(addr, PAGE_SIZE, BLKIF_ENTRY_BYTES);
    const back = new BackRing(addr, PAGE_SIZE, BLKIF_ENTRY_BYTES);
    // Close to the wrap of the counters.
    const start = 2 ** 32 - 3;
    front.req_prod_pvt = front.rsp_cons = start;
    back.req_cons = back.rsp_prod_pvt = start;
    for (const offset of [REQ_PROD, RSP_PROD]) {
      yield* vstore(t, addr + offset, 4, start);
    }
    assertEquals(yield* RING_FINAL_CHECK_FOR_REQUESTS(t, back), 0);
    assertEquals(yield* RING_FINAL_CHECK_FOR_RESPONSES(t, front), 0);
    const told: boolean[] = [];
    for (let i = 0; i < 5; i++) {
      front.req_prod_pvt = next(front.req_prod_pvt);
      told.push(yield* RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(t, front));
    }
    assertEquals(told, [true, false, false, false, false]);
    assertEquals(front.free, 27);
    assertEquals(yield* RING_UNCONSUMED_REQUESTS(t, back), 5);
    for (let i = 0; i < 5; i++) back.req_cons = next(back.req_cons);
    assertEquals(back.req_cons, 2);
    assertEquals(yield* RING_FINAL_CHECK_FOR_REQUESTS(t, back), 0);
    for (let i = 0; i < 5; i++) back.rsp_prod_pvt = next(back.rsp_prod_pvt);
    assert(yield* RING_PUSH_RESPONSES_AND_CHECK_NOTIFY(t, back));
    assertEquals(yield* RING_UNCONSUMED_RESPONSES(t, front), 5);
    yield* free_page(t, addr);
  });
});

Deno.test("a counter that is too far ahead is refused", () => {
  runVm({}, function* (t) {
    const addr = yield* get_zeroed_page(t, GFP_KERNEL);
    yield* SHARED_RING_INIT(t, addr);
    const front = new FrontRing(addr, PAGE_SIZE, BLKIF_ENTRY_BYTES);
    const back = new BackRing(addr, PAGE_SIZE, BLKIF_ENTRY_BYTES);
    yield* vstore(t, addr + REQ_PROD, 4, 32);
    assertEquals(yield* RING_UNCONSUMED_REQUESTS(t, back), 32);
    yield* vstore(t, addr + REQ_PROD, 4, 33);
    assertEquals(yield* RING_UNCONSUMED_REQUESTS(t, back), null);
    yield* vstore(t, addr + REQ_PROD, 4, 2 ** 32 - 1); // behind
    assertEquals(yield* RING_FINAL_CHECK_FOR_REQUESTS(t, back), null);
    front.req_prod_pvt = 2;
    yield* vstore(t, addr + RSP_PROD, 4, 2);
    assertEquals(yield* RING_UNCONSUMED_RESPONSES(t, front), 2);
    yield* vstore(t, addr + RSP_PROD, 4, 3);
    assertEquals(yield* RING_FINAL_CHECK_FOR_RESPONSES(t, front), null);
    yield* free_page(t, addr);
  });
});
