/**
 * Xenbus: devices that are directories of xenstore, and the handshake of their
 * two ends (drivers/xen/xenbus/xenbus_probe.c, xenbus_client.c of 2.6.28).
 *
 * Each end has a directory with a key `state`, and watches the other's:
 *
 *     front end      back end
 *     Initialising   Initialising   the tool stack has made both directories
 *                    InitWait       the back end says what it can
 *     Initialised                   ring pages granted, event channel allocated
 *                    Connected      rings mapped, event channel bound
 *     Connected                     the device is there
 *     Closing, Closed               either of them goes, the other follows
 *
 * A {@linkcode Xenbus} is one domain's: front ends live in
 * `/local/domain/N/device/TYPE/ID`, back ends in
 * `/local/domain/0/backend/TYPE/N/ID`. Drivers are called in the domain's
 * thread `xenwatch` alone, so their probe, otherend_changed and remove never
 * run at the same time.
 *
 * Lock order: see xenstore.ts; a driver's callback runs under xenwatch_mutex.
 *
 * Left out: sysfs, suspend and resume, module references, devices that are
 * there before the bus is.
 */
import { charge, enter, ksym, leave, type Steps } from "../../../arch/asm.ts";
import type { Errno } from "../../lib/errno.ts";
import { errname } from "../../lib/errno.ts";
import { KERN_ERR, printk } from "../../printk.ts";
import {
  wait_event_timeout,
  WaitQueue,
  wake_up,
  wake_up_all,
} from "../../sched/wait.ts";
import type { Thread } from "../../thread.ts";
import {
  register_xenbus_watch,
  unregister_xenbus_watch,
  xenbus_read,
  xenbus_rm,
  xenbus_scan,
  xenbus_write,
  XenbusWatch,
  type XsHandle,
} from "./xenstore.ts";

const XENBUS_SWITCH_STATE = ksym("xenbus_switch_state");
const XENBUS_DEV_CHANGED = ksym("xenbus_dev_changed");
const XENBUS_DEV_PROBE = ksym("xenbus_dev_probe");
const XENBUS_DEV_REMOVE = ksym("xenbus_dev_remove");
const OTHEREND_CHANGED = ksym("otherend_changed");

/** States of one end (include/xen/interface/io/xenbus.h). */
export const XenbusStateUnknown = 0;
export const XenbusStateInitialising = 1;
export const XenbusStateInitWait = 2;
export const XenbusStateInitialised = 3;
export const XenbusStateConnected = 4;
export const XenbusStateClosing = 5;
export const XenbusStateClosed = 6;

const STATE_NAMES = [
  "Unknown",
  "Initialising",
  "InitWait",
  "Initialised",
  "Connected",
  "Closing",
  "Closed",
];

/** Name of a state. */
export function xenbus_strstate(state: number): string {
  return STATE_NAMES[state] ?? "INVALID";
}

/** One driver of one end. Context of all: `xenwatch`. */
export interface XenbusDriver {
  /** `"vbd"`, `"vif"`. */
  readonly type: string;
  /** A device has come. After an error it stays away. */
  probe(t: Thread, dev: XenbusDevice): Steps<0 | Errno>;
  /** The other end is in `state`; called for each change, and once at first. */
  otherend_changed(t: Thread, dev: XenbusDevice, state: number): Steps;
  /** The device has gone. */
  remove(t: Thread, dev: XenbusDevice): Steps;
}

/** One end of a device. */
export class XenbusDevice {
  /** Directory of the other end. Fixed after probe. */
  otherend = "";
  /** Domain of the other end. Fixed after probe. */
  otherend_id = 0;
  /** What this end's state is. */
  state = XenbusStateInitialising;
  /** The driver's. */
  driver_data: unknown = null;
  /** On the other end's state. */
  watch: XenbusWatch | null = null;

  constructor(
    readonly bus: Xenbus,
    readonly nodename: string,
    readonly driver: XenbusDriver,
  ) {}
}

/** One kind of end in one domain. */
export class Xenbus {
  readonly drivers: Map<string, XenbusDriver> = new Map();
  /** By directory. Changed by `xenwatch` alone. */
  readonly devices: Map<string, XenbusDevice> = new Map();
  watch: XenbusWatch | null = null;
  /** For whoever waits for a device to go. */
  readonly removed_wait: WaitQueue;

  constructor(
    t: Thread,
    readonly xs: XsHandle,
    /** Directory of the devices. */
    readonly root: string,
    /** Names between it and a device. */
    readonly levels: number,
    /** Keys of a device that lead to its other end. */
    readonly otherend: { readonly path: string; readonly id: string },
  ) {
    this.removed_wait = new WaitQueue(t.k, "xenbus");
  }
}

/** The bus of front ends of the domain that `xs` belongs to. */
export function* xenbus_frontend_init(t: Thread, xs: XsHandle): Steps<Xenbus> {
  const root = `/local/domain/${xs.domid}/device`;
  const keys = { path: "backend", id: "backend-id" };
  return yield* start(t, new Xenbus(t, xs, root, 2, keys));
}

/** The bus of back ends. */
export function* xenbus_backend_init(t: Thread, xs: XsHandle): Steps<Xenbus> {
  const root = `/local/domain/${xs.domid}/backend`;
  const keys = { path: "frontend", id: "frontend-id" };
  return yield* start(t, new Xenbus(t, xs, root, 3, keys));
}

function* start(t: Thread, bus: Xenbus): Steps<Xenbus> {
  bus.watch = new XenbusWatch(
    bus.root,
    (t, path) => xenbus_dev_changed(t, bus, path),
  );
  yield* register_xenbus_watch(t, bus.xs, bus.watch);
  return bus;
}

/** Ends a bus that has no devices any more. Context: process. */
export function* xenbus_exit(t: Thread, bus: Xenbus): Steps {
  yield* unregister_xenbus_watch(t, bus.xs, bus.watch!);
}

/** Registers a driver; devices come later. */
export function xenbus_register_driver(
  t: Thread,
  bus: Xenbus,
  driver: XenbusDriver,
): void {
  charge(t, 200);
  bus.drivers.set(driver.type, driver);
}

/** Something below `bus.root` has changed: a device came or went, perhaps. */
function* xenbus_dev_changed(t: Thread, bus: Xenbus, path: string): Steps {
  const names = path.slice(bus.root.length + 1).split("/");
  if (names.length < bus.levels) return;
  enter(t, XENBUS_DEV_CHANGED);
  charge(t, 60);
  const nodename = `${bus.root}/${names.slice(0, bus.levels).join("/")}`;
  const dev = bus.devices.get(nodename);
  const exists = typeof (yield* xenbus_read(t, bus.xs, nodename)) !== "number";
  if (!exists && dev !== undefined) yield* xenbus_dev_remove(t, dev);
  if (exists && dev === undefined) {
    const state = yield* xenbus_read_driver_state(t, bus.xs, nodename);
    const driver = bus.drivers.get(names[0]);
    if (state === XenbusStateInitialising && driver !== undefined) {
      yield* xenbus_dev_probe(t, new XenbusDevice(bus, nodename, driver));
    }
  }
  leave(t);
}

function* xenbus_dev_probe(t: Thread, dev: XenbusDevice): Steps {
  enter(t, XENBUS_DEV_PROBE);
  const { bus, nodename } = dev;
  const { xs, otherend } = bus;
  const id = yield* xenbus_scan(t, xs, `${nodename}/${otherend.id}`);
  const path = yield* xenbus_read(t, xs, `${nodename}/${otherend.path}`);
  if (typeof path === "string" && id >= 0) {
    bus.devices.set(nodename, dev);
    dev.otherend = path;
    dev.otherend_id = id;
    const error = yield* dev.driver.probe(t, dev);
    if (error === 0) {
      dev.watch = new XenbusWatch(
        `${path}/state`,
        (t) => otherend_changed(t, dev),
      );
      yield* register_xenbus_watch(t, xs, dev.watch);
    } else {
      yield* xenbus_dev_error(t, dev, error, "xenbus_dev_probe on device");
      yield* xenbus_switch_state(t, dev, XenbusStateClosed);
    }
  } else {
    printk(
      t,
      KERN_ERR,
      `xenbus_dev_probe: unable to read other end from ${nodename}.`,
    );
  }
  leave(t);
}

function* xenbus_dev_remove(t: Thread, dev: XenbusDevice): Steps {
  enter(t, XENBUS_DEV_REMOVE);
  const { bus, nodename, watch } = dev;
  if (watch !== null) {
    yield* unregister_xenbus_watch(t, bus.xs, watch);
    yield* dev.driver.remove(t, dev);
  }
  bus.devices.delete(nodename);
  yield* wake_up_all(t, bus.removed_wait);
  leave(t);
}

function* otherend_changed(t: Thread, dev: XenbusDevice): Steps {
  enter(t, OTHEREND_CHANGED);
  const { xs } = dev.bus;
  const state = yield* xenbus_read_driver_state(t, xs, dev.otherend);
  charge(t, 20);
  yield* dev.driver.otherend_changed(t, dev, state);
  leave(t);
}

/** The state of the end in directory `path`. */
export function* xenbus_read_driver_state(
  t: Thread,
  xs: XsHandle,
  path: string,
): Steps<number> {
  const state = yield* xenbus_scan(t, xs, `${path}/state`);
  return state < 0 ? XenbusStateUnknown : state;
}

/** Tells the other end that this one is in `state`; says nothing if it is already, or its directory has gone. */
export function* xenbus_switch_state(
  t: Thread,
  dev: XenbusDevice,
  state: number,
): Steps {
  if (state === dev.state) return;
  enter(t, XENBUS_SWITCH_STATE);
  const { xs } = dev.bus;
  const key = `${dev.nodename}/state`;
  if ((yield* xenbus_scan(t, xs, key)) >= 0) {
    yield* xenbus_write(t, xs, key, state);
    dev.state = state;
  }
  leave(t);
}

/** Says what is wrong with `dev`, in the log and in xenstore. */
export function* xenbus_dev_error(
  t: Thread,
  dev: XenbusDevice,
  error: Errno,
  what: string,
): Steps {
  const name = dev.nodename.slice(dev.bus.root.length + 1);
  const text = `${-error} ${what}`;
  printk(
    t,
    KERN_ERR,
    `${name.replaceAll("/", "-")}: ${text} (${errname(error)})`,
  );
  yield* xenbus_write(t, dev.bus.xs, `${dev.nodename}/error`, text);
}

/** {@linkcode xenbus_dev_error}; and the device closes. */
export function* xenbus_dev_fatal(
  t: Thread,
  dev: XenbusDevice,
  error: Errno,
  what: string,
): Steps {
  yield* xenbus_dev_error(t, dev, error, what);
  yield* xenbus_switch_state(t, dev, XenbusStateClosing);
}

/** Directories of a device's two ends. */
export interface DevicePaths {
  readonly front: string;
  readonly back: string;
}

/** Keys of a device that its drivers need besides. */
export interface DeviceKeys {
  readonly frontend?: Readonly<Record<string, string | number>>;
  readonly backend?: Readonly<Record<string, string | number>>;
}

/**
 * What the tool stack in domain 0 does to give domain `domid` a device: both
 * directories, the states last. Context: process.
 */
export function* toolstack_attach(
  t: Thread,
  xs: XsHandle,
  type: string,
  domid: number,
  id: number,
  keys: DeviceKeys,
): Steps<DevicePaths> {
  const front = `/local/domain/${domid}/device/${type}/${id}`;
  const back = `/local/domain/0/backend/${type}/${domid}/${id}`;
  const sides = [
    [back, { frontend: front, "frontend-id": domid, ...keys.backend }],
    [front, { backend: back, "backend-id": 0, ...keys.frontend }],
  ] as const;
  for (const [path, values] of sides) {
    for (const key of Object.keys(values)) {
      const value = (values as Record<string, string | number>)[key];
      yield* xenbus_write(t, xs, `${path}/${key}`, value);
    }
  }
  for (const [path] of sides) {
    yield* xenbus_write(t, xs, `${path}/state`, XenbusStateInitialising);
  }
  return { front, back };
}

/** Longest that the tool stack waits for an end, seconds. */
const PATIENCE_S = 10;

/**
 * Waits until the end in directory `path` is in one of `states`.
 *
 * Context: process.
 *
 * @returns The state that it is in; another one if it took too long.
 */
export function* toolstack_wait(
  t: Thread,
  xs: XsHandle,
  path: string,
  states: readonly number[],
): Steps<number> {
  const wq = new WaitQueue(t.k, "toolstack_wait");
  let seen = XenbusStateUnknown;
  const watch = new XenbusWatch(`${path}/state`, function* (t) {
    seen = yield* xenbus_read_driver_state(t, xs, path);
    yield* wake_up(t, wq);
  });
  yield* register_xenbus_watch(t, xs, watch);
  const timeout = PATIENCE_S * t.machine.spec.kernel.hz;
  yield* wait_event_timeout(t, wq, () => states.includes(seen), timeout);
  yield* unregister_xenbus_watch(t, xs, watch);
  return seen;
}

/** Takes a device away whose ends are closed. Context: process. */
export function* toolstack_detach(
  t: Thread,
  xs: XsHandle,
  { front, back }: DevicePaths,
): Steps {
  yield* xenbus_rm(t, xs, front);
  yield* xenbus_rm(t, xs, back);
}
