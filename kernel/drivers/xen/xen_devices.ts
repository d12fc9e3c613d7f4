/**
 * Both domains' sides of paravirtual devices on one machine: xenstore, a bus of
 * front ends in domain 1 and one of back ends in domain 0, their drivers, and
 * the tool stack that gives devices and takes them away. `k.xen_devices`.
 *
 * Both domains are threads of one kernel; see arch/xen/hypervisor.ts for what
 * that leaves out.
 */
import { charge, type Steps } from "../../../arch/asm.ts";
import type { BlockDevice } from "../../block/block_device.ts";
import { BUG, BUG_ON } from "../../bug.ts";
import { EBUSY, ENODEV, err, type Errno } from "../../lib/errno.ts";
import { KERN_ERR, KERN_INFO, printk } from "../../printk.ts";
import { wait_event } from "../../sched/wait.ts";
import type { Thread } from "../../thread.ts";
import { blkback } from "./blkback.ts";
import { Blkback } from "./blkback_io.ts";
import { blkfront, MINORS, XENVBD_MAJOR } from "./blkfront.ts";
import { BlkfrontInfo } from "./blkfront_io.ts";
import { echo_peer } from "./echo_peer.ts";
import { Netback, netback, type NetPeer } from "./netback.ts";
import { netfront } from "./netfront.ts";
import { Netfront } from "./netfront_io.ts";
import {
  type DevicePaths,
  toolstack_attach,
  toolstack_detach,
  toolstack_wait,
  type Xenbus,
  xenbus_backend_init,
  xenbus_frontend_init,
  xenbus_register_driver,
  xenbus_strstate,
  xenbus_switch_state,
  XenbusStateClosed,
  XenbusStateClosing,
  XenbusStateConnected,
} from "./xenbus.ts";
import { XenStore, xs_defer, xs_init, type XsHandle } from "./xenstore.ts";

/** The guest. */
const DOMU = 1;
/** Disks that a domain can have, xvda to xvdp. */
const MAX_VBDS = 16;

/** `k.xen_devices`. */
export class XenDevices {
  /** Devices of domain 0 that a disk's `params` may name. */
  readonly bdevs: Map<string, BlockDevice> = new Map();
  /** Disks given, by number: xvda is 0. */
  readonly vbds: Set<number> = new Set();
  /** Network interfaces given, by number. */
  readonly vifs: Set<number> = new Set();
  /** Who is behind each of them. */
  readonly peers: Map<number, NetPeer> = new Map();

  constructor(
    readonly store: XenStore,
    readonly dom0: XsHandle,
    readonly domU: XsHandle,
    readonly backs: Xenbus,
    readonly fronts: Xenbus,
  ) {}
}

/** Brings all of it up, once. Context: process, one thread; the machine has Xen. */
export function* xenbus_init(t: Thread): Steps<XenDevices> {
  const { k } = t;
  if (k.xen_devices !== null) return k.xen_devices;
  BUG_ON(t, k.xen === null, "xenbus_init() without Xen");
  charge(t, 4000);
  const store = new XenStore(k);
  const dom0 = yield* xs_init(t, store, 0);
  const domU = yield* xs_init(t, store, DOMU);
  const backs = yield* xenbus_backend_init(t, dom0);
  const fronts = yield* xenbus_frontend_init(t, domU);
  const made = new XenDevices(store, dom0, domU, backs, fronts);
  xenbus_register_driver(t, backs, blkback((name) => made.bdevs.get(name)));
  xenbus_register_driver(t, fronts, blkfront);
  xenbus_register_driver(t, backs, netback((handle) => made.peers.get(handle)));
  xenbus_register_driver(t, fronts, netfront);
  k.xen_devices = made;
  printk(t, KERN_INFO, "xenbus_probe_init: vbd, vif");
  return made;
}

/** A device of the guest's. */
export interface XenDevice {
  readonly paths: DevicePaths;
}

/** A disk of the guest's. */
export interface Vbd extends XenDevice {
  readonly number: number;
  readonly backing: BlockDevice;
  /** What the guest has. */
  readonly bdev: BlockDevice;
  /** Both ends, for their counts. */
  readonly front: BlkfrontInfo;
  readonly back: Blkback;
}

/**
 * Gives the guest a disk that reads from domain 0's `backing`.
 *
 * Context: process.
 *
 * @returns -EBUSY if it has as many as it can; -ENODEV if the ends do not come together.
 */
export function* vbd_attach(
  t: Thread,
  backing: BlockDevice,
): Steps<Vbd | Errno> {
  const x = yield* xenbus_init(t);
  let number = 0;
  while (x.vbds.has(number)) number++;
  if (number === MAX_VBDS) return err(EBUSY);
  x.vbds.add(number);
  const params = `${backing.name}-${number}`; // two machines' worth of "ram0" may exist
  x.bdevs.set(params, backing);
  const vdevice = XENVBD_MAJOR * 256 + number * MINORS;
  const paths = yield* toolstack_attach(t, x.dom0, "vbd", DOMU, vdevice, {
    frontend: { "virtual-device": vdevice, "device-type": "disk" },
    backend: { params, mode: "r", online: 1 },
  });
  const device = { paths };
  if (yield* connected(t, x, device)) {
    const front = x.fronts.devices.get(paths.front)!.driver_data;
    const back = x.backs.devices.get(paths.back)!.driver_data;
    if (front instanceof BlkfrontInfo && back instanceof Blkback) {
      return { ...device, number, backing, bdev: front.gd!, front, back };
    }
  }
  yield* detach(t, x, device);
  x.bdevs.delete(params);
  x.vbds.delete(number);
  return err(ENODEV);
}

/** Takes a disk away that nobody uses. Context: process. */
export function* vbd_detach(t: Thread, vbd: Vbd): Steps {
  const x = yield* xenbus_init(t);
  yield* detach(t, x, vbd);
  x.bdevs.delete(`${vbd.backing.name}-${vbd.number}`);
  x.vbds.delete(vbd.number);
}

/** A network interface of the guest's. */
export interface Vif extends XenDevice {
  readonly number: number;
  readonly front: Netfront;
  readonly back: Netback;
}

/**
 * Gives the guest a network interface.
 *
 * Context: process.
 *
 * @param peer Who is at the other end of the wire; left out: one that sends everything back.
 * @returns -ENODEV if the ends do not come together.
 */
export function* vif_attach(
  t: Thread,
  peer: NetPeer = echo_peer,
): Steps<Vif | Errno> {
  const x = yield* xenbus_init(t);
  let number = 0;
  while (x.vifs.has(number)) number++;
  x.vifs.add(number);
  x.peers.set(number, peer);
  const paths = yield* toolstack_attach(t, x.dom0, "vif", DOMU, number, {
    frontend: { handle: number, mac: `00:16:3e:00:00:${hex2(number)}` },
    backend: { handle: number, online: 1 },
  });
  const device = { paths };
  if (yield* connected(t, x, device)) {
    const front = x.fronts.devices.get(paths.front)!.driver_data;
    const back = x.backs.devices.get(paths.back)!.driver_data;
    if (front instanceof Netfront && back instanceof Netback) {
      return { ...device, number, front, back };
    }
  }
  yield* detach(t, x, device);
  x.peers.delete(number);
  x.vifs.delete(number);
  return err(ENODEV);
}

/** Takes a network interface away. Context: process. */
export function* vif_detach(t: Thread, vif: Vif): Steps {
  const x = yield* xenbus_init(t);
  yield* detach(t, x, vif);
  x.peers.delete(vif.number);
  x.vifs.delete(vif.number);
}

function hex2(n: number): string {
  return (n & 0xff).toString(16).padStart(2, "0");
}

/** Waits for the ends to come together. @returns Whether they have. */
function* connected(
  t: Thread,
  x: XenDevices,
  { paths }: XenDevice,
): Steps<boolean> {
  const ends = [XenbusStateConnected, XenbusStateClosing, XenbusStateClosed];
  for (const path of [paths.front, paths.back]) {
    const state = yield* toolstack_wait(t, x.dom0, path, ends);
    if (state === XenbusStateConnected) continue;
    const text = xenbus_strstate(state);
    printk(t, KERN_ERR, `xenbus: ${path} is ${text}, not Connected`);
    return false;
  }
  return true;
}

/** Closes both ends and removes the device; returns when its drivers have given everything back. */
function* detach(
  t: Thread,
  x: XenDevices,
  { paths }: XenDevice,
): Steps {
  const front = x.fronts.devices.get(paths.front);
  if (front !== undefined && front.state < XenbusStateClosing) {
    yield* xs_defer(
      t,
      x.domU,
      (t) => xenbus_switch_state(t, front, XenbusStateClosing),
    );
  }
  for (const path of [paths.front, paths.back]) {
    const state = yield* toolstack_wait(t, x.dom0, path, [XenbusStateClosed]);
    if (state === XenbusStateClosed) continue;
    BUG(t, `xenbus: ${path} stays ${xenbus_strstate(state)}`);
  }
  yield* toolstack_detach(t, x.dom0, paths);
  const sides = [[x.fronts, paths.front], [x.backs, paths.back]] as const;
  for (const [bus, path] of sides) {
    yield* wait_event(t, bus.removed_wait, () => !bus.devices.has(path));
  }
}
