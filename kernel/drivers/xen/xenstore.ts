/**
 * Xenstore: the small tree of strings over which domains agree on devices, and
 * watches on it (drivers/xen/xenbus/xenbus_xs.c of 2.6.28, and the daemon in
 * domain 0).
 *
 * A domain has a {@linkcode XsHandle}. What it watches is queued there as it
 * changes; the domain's `xenwatch` thread calls the callbacks one by one, so
 * that a driver's are never in each other's way.
 *
 * Lock order:
 *
 *     xs.xenwatch_mutex            a callback runs
 *       store.request_mutex        one message to the daemon at a time
 *         xs.watch_events_lock     events queued; interrupts off
 *
 * Differs from Linux: the daemon is not a process behind a ring of its own; a
 * message to it is a function that charges what the exchange takes. Left out:
 * transactions (a driver's writes here are of one key each, the state last),
 * permissions but for one: a domain other than 0 writes below its own
 * directory alone.
 */
import { charge, enter, ksym, leave, type Steps } from "../../../arch/asm.ts";
import type { Kernel } from "../../kernel.ts";
import {
  kthread_run,
  kthread_should_stop,
  kthread_stop,
} from "../../kthread.ts";
import { EACCES, ENOENT, err, type Errno } from "../../lib/errno.ts";
import { Mutex, mutex_lock, mutex_unlock } from "../../locking/mutex.ts";
import {
  spin_lock_irqsave,
  spin_unlock_irqrestore,
  Spinlock,
} from "../../locking/spinlock.ts";
import { wait_event, WaitQueue, wake_up } from "../../sched/wait.ts";
import type { Thread } from "../../thread.ts";

const XENBUS_READ = ksym("xenbus_read");
const XENBUS_WRITE = ksym("xenbus_write");
const XENBUS_RM = ksym("xenbus_rm");
const XENBUS_DIRECTORY = ksym("xenbus_directory");
const REGISTER_XENBUS_WATCH = ksym("register_xenbus_watch");
const UNREGISTER_XENBUS_WATCH = ksym("unregister_xenbus_watch");

/** A message to the daemon and its answer: two notifications, two copies, the daemon's work. */
const MESSAGE_INSTRUCTIONS = 6000;

/** Called with the path that changed, in the thread `xenwatch`. */
export type WatchCallback = (t: Thread, path: string) => Steps;

/** Interest in a node and all below it. */
export class XenbusWatch {
  /** Registered, and not yet unregistered. */
  active = false;

  constructor(readonly node: string, readonly callback: WatchCallback) {}
}

interface WatchEvent {
  readonly watch: XenbusWatch;
  readonly path: string;
}

/** The tree; one a machine. */
export class XenStore {
  readonly request_mutex: Mutex;
  /** Values by path, parents included. Guarded by request_mutex. */
  readonly nodes: Map<string, string> = new Map([["", ""]]);
  /** Domains that talk to it. Guarded by request_mutex. */
  readonly handles: XsHandle[] = [];

  constructor(k: Kernel) {
    this.request_mutex = new Mutex(k, "xs_state.request_mutex");
  }
}

/** One domain's line to the store. */
export class XsHandle {
  readonly xenwatch_mutex: Mutex;
  readonly watch_events_lock: Spinlock;
  readonly watch_events_waitq: WaitQueue;
  /** Guarded by watch_events_lock. */
  readonly watch_events: WatchEvent[] = [];
  /** Guarded by the store's request_mutex. */
  readonly watches: Set<XenbusWatch> = new Set();
  /** Callbacks called. */
  called = 0;
  /** The thread `xenwatch`. */
  thread: Thread | null = null;

  constructor(k: Kernel, readonly store: XenStore, readonly domid: number) {
    this.xenwatch_mutex = new Mutex(k, "xenwatch_mutex");
    this.watch_events_lock = new Spinlock(k, "watch_events_lock");
    this.watch_events_waitq = new WaitQueue(k, "watch_events_waitq");
  }
}

/** Connects domain `domid` and starts its `xenwatch`. Context: process. */
export function* xs_init(
  t: Thread,
  store: XenStore,
  domid: number,
): Steps<XsHandle> {
  const xs = new XsHandle(t.k, store, domid);
  yield* mutex_lock(t, store.request_mutex);
  store.handles.push(xs);
  yield* mutex_unlock(t, store.request_mutex);
  xs.thread = yield* kthread_run(t, function* (p) {
    p.domid = domid;
    yield* xenwatch_thread(p, xs);
  }, domid === 0 ? "xenwatch/dom0" : "xenwatch");
  return xs;
}

/** Ends `xs`: its thread, and its place in the store. */
export function* xs_exit(t: Thread, xs: XsHandle): Steps {
  yield* kthread_stop(t, xs.thread!);
  const { request_mutex, handles } = xs.store;
  yield* mutex_lock(t, request_mutex);
  handles.splice(handles.indexOf(xs), 1);
  yield* mutex_unlock(t, request_mutex);
}

function* xenwatch_thread(t: Thread, xs: XsHandle): Steps {
  for (;;) {
    yield* wait_event(
      t,
      xs.watch_events_waitq,
      () => xs.watch_events.length > 0 || kthread_should_stop(t),
    );
    if (kthread_should_stop(t)) return;
    yield* mutex_lock(t, xs.xenwatch_mutex);
    const flags = yield* spin_lock_irqsave(t, xs.watch_events_lock);
    const event = xs.watch_events.shift();
    yield* spin_unlock_irqrestore(t, xs.watch_events_lock, flags);
    charge(t, 30);
    if (event !== undefined && event.watch.active) {
      xs.called++;
      yield* event.watch.callback(t, event.path);
    }
    yield* mutex_unlock(t, xs.xenwatch_mutex);
  }
}

/** The value of `path`. Context: process. @returns -ENOENT if there is none. */
export function* xenbus_read(
  t: Thread,
  xs: XsHandle,
  path: string,
): Steps<string | Errno> {
  enter(t, XENBUS_READ);
  yield* begin(t, xs);
  const value = xs.store.nodes.get(path);
  yield* mutex_unlock(t, xs.store.request_mutex);
  leave(t);
  return value ?? err(ENOENT);
}

/**
 * Reads an unsigned decimal number, as xenbus_scanf() does with "%u".
 *
 * @returns -ENOENT if there is no such node, or no number in it.
 */
export function* xenbus_scan(
  t: Thread,
  xs: XsHandle,
  path: string,
): Steps<number | Errno> {
  const value = yield* xenbus_read(t, xs, path);
  if (typeof value === "number") return value;
  const number = /^[0-9]{1,15}$/.test(value) ? Number(value) : -1;
  return number < 0 ? err(ENOENT) : number;
}

/**
 * Sets `path`, with parents as needed.
 *
 * Context: process.
 *
 * @returns -EACCES if it is not this domain's to write.
 */
export function* xenbus_write(
  t: Thread,
  xs: XsHandle,
  path: string,
  value: string | number,
): Steps<0 | Errno> {
  enter(t, XENBUS_WRITE);
  yield* begin(t, xs);
  const allowed = mayWrite(xs, path);
  if (allowed) {
    const { nodes } = xs.store;
    nodes.set(path, String(value));
    for (let up = parent(path); !nodes.has(up); up = parent(up)) {
      nodes.set(up, "");
    }
    yield* fire(t, xs.store, path);
  }
  yield* mutex_unlock(t, xs.store.request_mutex);
  leave(t);
  return allowed ? 0 : err(EACCES);
}

/** Removes `path` and all below it. Context: process. */
export function* xenbus_rm(
  t: Thread,
  xs: XsHandle,
  path: string,
): Steps<0 | Errno> {
  enter(t, XENBUS_RM);
  yield* begin(t, xs);
  let error: 0 | Errno = mayWrite(xs, path) ? 0 : err(EACCES);
  const { nodes } = xs.store;
  if (error === 0 && !nodes.has(path)) error = err(ENOENT);
  if (error === 0) {
    for (const node of [...nodes.keys()]) {
      if (isBelow(node, path)) nodes.delete(node);
    }
    yield* fire(t, xs.store, path, true);
  }
  yield* mutex_unlock(t, xs.store.request_mutex);
  leave(t);
  return error;
}

/** Names in the directory `path`, in order. Context: process. */
export function* xenbus_directory(
  t: Thread,
  xs: XsHandle,
  path: string,
): Steps<string[]> {
  enter(t, XENBUS_DIRECTORY);
  yield* begin(t, xs);
  const names: string[] = [];
  for (const node of xs.store.nodes.keys()) {
    if (node !== "" && parent(node) === path) {
      names.push(node.slice(path.length + 1));
    }
  }
  yield* mutex_unlock(t, xs.store.request_mutex);
  leave(t);
  return names.sort();
}

/** Starts a watch; it fires once at once. Context: process. */
export function* register_xenbus_watch(
  t: Thread,
  xs: XsHandle,
  watch: XenbusWatch,
): Steps {
  enter(t, REGISTER_XENBUS_WATCH);
  yield* begin(t, xs);
  watch.active = true;
  xs.watches.add(watch);
  yield* queue(t, xs, watch, watch.node);
  yield* mutex_unlock(t, xs.store.request_mutex);
  leave(t);
}

/** Ends a watch: its callback does not run afterwards, unless it is what calls this. Context: process. */
export function* unregister_xenbus_watch(
  t: Thread,
  xs: XsHandle,
  watch: XenbusWatch,
): Steps {
  enter(t, UNREGISTER_XENBUS_WATCH);
  yield* begin(t, xs);
  watch.active = false; // what is queued for it is passed over
  xs.watches.delete(watch);
  yield* mutex_unlock(t, xs.store.request_mutex);
  if (t !== xs.thread) { // else it is we who hold it
    yield* mutex_lock(t, xs.xenwatch_mutex);
    yield* mutex_unlock(t, xs.xenwatch_mutex);
  }
  leave(t);
}

/** Has `xenwatch` call `callback` in its turn: for what an interrupt may not do itself. Context: any. */
export function xs_defer(
  t: Thread,
  xs: XsHandle,
  callback: (t: Thread) => Steps,
): Steps {
  const watch = new XenbusWatch("", callback);
  watch.active = true;
  return queue(t, xs, watch, "");
}

function* begin(t: Thread, xs: XsHandle): Steps {
  yield* mutex_lock(t, xs.store.request_mutex);
  charge(t, MESSAGE_INSTRUCTIONS);
}

/** Tells everybody who watches `path`, or something `below` it too. Locks: request_mutex held. */
function* fire(
  t: Thread,
  store: XenStore,
  path: string,
  below = false,
): Steps {
  for (let i = 0; i < store.handles.length; i++) {
    const xs = store.handles[i];
    for (const watch of [...xs.watches]) {
      if (isBelow(path, watch.node)) yield* queue(t, xs, watch, path);
      else if (below && isBelow(watch.node, path)) {
        yield* queue(t, xs, watch, watch.node);
      }
    }
  }
}

function* queue(
  t: Thread,
  xs: XsHandle,
  watch: XenbusWatch,
  path: string,
): Steps {
  const flags = yield* spin_lock_irqsave(t, xs.watch_events_lock);
  charge(t, 40);
  xs.watch_events.push({ watch, path });
  yield* wake_up(t, xs.watch_events_waitq);
  yield* spin_unlock_irqrestore(t, xs.watch_events_lock, flags);
}

function mayWrite({ domid }: XsHandle, path: string): boolean {
  return domid === 0 || isBelow(path, `/local/domain/${domid}`);
}

/** Whether `path` is `top` or something in it. */
function isBelow(path: string, top: string): boolean {
  return path === top || path.startsWith(`${top}/`);
}

function parent(path: string): string {
  return path.slice(0, path.lastIndexOf("/"));
}
