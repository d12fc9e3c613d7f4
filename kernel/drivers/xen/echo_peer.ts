/** A peer behind netback that sends every frame back to its sender. */
import { charge, type Steps, vload, vstore } from "../../../arch/asm.ts";
import { page_address } from "../../mm/page.ts";
import type { Thread } from "../../thread.ts";
import type { BackFrame, NetPeer } from "./netback.ts";

/** Bytes of an Ethernet address. */
const ETH_ALEN = 6;

/** Swaps the addresses of a frame's header, destination and source, and returns it. */
export const echo_peer: NetPeer = function* (t: Thread, frame: BackFrame) {
  const at = page_address(t.k, frame.page);
  charge(t, 12);
  for (let i = 0; i < ETH_ALEN; i += 2) yield* swap16(t, at + i, ETH_ALEN);
  return [frame];
};

function* swap16(t: Thread, at: number, distance: number): Steps {
  const a = yield* vload(t, at, 2);
  const b = yield* vload(t, at + distance, 2);
  yield* vstore(t, at, 2, b);
  yield* vstore(t, at + distance, 2, a);
}

/** What comes back for `frame`. Host side. */
export function echoed(frame: Uint8Array): Uint8Array {
  const back = frame.slice();
  back.set(frame.subarray(ETH_ALEN, 2 * ETH_ALEN), 0);
  back.set(frame.subarray(0, ETH_ALEN), ETH_ALEN);
  return back;
}
