import { assert, assertEquals } from "@std/assert";
import type { Steps } from "../../../arch/asm.ts";
import { Rng } from "../../../arch/sim/random.ts";
import { findPreset } from "../../../arch/hw/presets/index.ts";
import { withCpus } from "../../../arch/hw/validate.ts";
import { boot } from "../../../boot/boot.ts";
import { kthread_join, kthread_run } from "../../kthread.ts";
import { EINVAL, err } from "../../lib/errno.ts";
import { page_address } from "../../mm/page.ts";
import { __free_page } from "../../mm/page_alloc.ts";
import type { Thread } from "../../thread.ts";
import { mismatch } from "./copy.ts";
import { echoed } from "./echo_peer.ts";
import { netfront_receive, netfront_send } from "./netfront_io.ts";
import { type Vif, vif_attach, vif_detach } from "./xen_devices.ts";

function run<T>(fn: (t: Thread) => Steps<T>, cpus = 4) {
  return boot({ spec: withCpus(findPreset("xen-pv"), cpus) }).run(fn);
}

export function frames(count: number, seed = 1): Uint8Array[] {
  const rng = new Rng(seed);
  return Array.from({ length: count }, () => {
    const frame = new Uint8Array(14 + rng.below(1501));
    for (let i = 0; i < frame.length; i++) frame[i] = rng.below(256);
    return frame;
  });
}

Deno.test("every frame comes back from the echo peer byte by byte, in order", () => {
  run(function* (t) {
    const vif = (yield* vif_attach(t)) as Vif;
    assert(typeof vif === "object");
    const sent = [new Uint8Array(14).fill(7), ...frames(600)];
    const p = yield* kthread_run(t, function* (p) {
      for (const frame of sent) {
        assertEquals(yield* netfront_send(p, vif.front, frame), 0);
      }
    }, "sender");
    for (const frame of sent) {
      const got = (yield* netfront_receive(t, vif.front, 1000))!;
      assertEquals(got.length, frame.length);
      const at = page_address(t.k, got.page) + got.offset;
      assertEquals(yield* mismatch(t, at, echoed(frame)), -1);
      yield* __free_page(t, got.page);
    }
    yield* kthread_join(t, p);
    assertEquals(vif.front.counts.received, 601);
    assertEquals(vif.back.counts.tx, 601);
    assertEquals(vif.back.counts.rx, 601);
    assertEquals(vif.back.counts.dropped, 0);
    for (const length of [0, 13, 1515]) {
      const frame = new Uint8Array(length);
      assertEquals(yield* netfront_send(t, vif.front, frame), err(EINVAL));
    }
    assertEquals(yield* netfront_receive(t, vif.front, 2), null);
    yield* vif_detach(t, vif);
  });
});
