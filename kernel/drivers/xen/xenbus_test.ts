import { assertEquals } from "@std/assert";
import type { Steps } from "../../../arch/asm.ts";
import { EACCES, EINVAL, ENOENT, err, type Errno } from "../../lib/errno.ts";
import { runVm } from "../../mm/vm_testing.ts";
import type { Thread } from "../../thread.ts";
import { msleep } from "../../timer.ts";
import {
  toolstack_attach,
  toolstack_detach,
  xenbus_backend_init,
  xenbus_exit,
  xenbus_frontend_init,
  xenbus_register_driver,
  xenbus_strstate,
  xenbus_switch_state,
  type XenbusDevice,
  type XenbusDriver,
  XenbusStateClosed,
  XenbusStateClosing,
  XenbusStateConnected,
  XenbusStateInitialised,
  XenbusStateInitWait,
} from "./xenbus.ts";
import {
  register_xenbus_watch,
  unregister_xenbus_watch,
  xenbus_directory,
  xenbus_read,
  xenbus_rm,
  xenbus_scan,
  xenbus_write,
  XenbusWatch,
  XenStore,
  xs_exit,
  xs_init,
} from "./xenstore.ts";

Deno.test("xenstore keeps values, lists directories, and lets a domain write its own alone", () => {
  runVm({ cpus: 2 }, function* (t) {
    const store = new XenStore(t.k);
    const dom0 = yield* xs_init(t, store, 0);
    const domU = yield* xs_init(t, store, 1);
    assertEquals(yield* xenbus_write(t, domU, "/local/domain/1/a/b", 5), 0);
    assertEquals(yield* xenbus_read(t, dom0, "/local/domain/1/a/b"), "5");
    assertEquals(yield* xenbus_scan(t, dom0, "/local/domain/1/a/b"), 5);
    assertEquals(yield* xenbus_read(t, dom0, "/local/domain/1/a"), "");
    assertEquals(yield* xenbus_scan(t, dom0, "/local/domain/1/a"), err(ENOENT));
    for (const path of ["/local/domain/11/a", "/local/domain/0/x", "/x"]) {
      assertEquals(yield* xenbus_write(t, domU, path, 1), err(EACCES));
      assertEquals(yield* xenbus_rm(t, domU, path), err(EACCES));
      assertEquals(yield* xenbus_read(t, dom0, path), err(ENOENT));
    }
    yield* xenbus_write(t, dom0, "/local/domain/1/a/c", "");
    assertEquals(yield* xenbus_directory(t, domU, "/local/domain/1/a"), [
      "b",
      "c",
    ]);
    assertEquals(yield* xenbus_rm(t, dom0, "/local/domain/1/a"), 0);
    assertEquals(yield* xenbus_directory(t, domU, "/local/domain/1"), []);
    assertEquals(yield* xenbus_rm(t, dom0, "/nowhere"), err(ENOENT));
    yield* xs_exit(t, domU);
    yield* xs_exit(t, dom0);
    assertEquals(store.handles, []);
  });
});

Deno.test("watches fire at first, for what is below, and not after their end", () => {
  runVm({ cpus: 2 }, function* (t) {
    const store = new XenStore(t.k);
    const dom0 = yield* xs_init(t, store, 0);
    const seen: string[] = [];
    const watch = new XenbusWatch("/d/1", (t, path) => {
      assertEquals(t, dom0.thread);
      seen.push(path);
      return [];
    });
    yield* register_xenbus_watch(t, dom0, watch);
    for (const path of ["/d/1/x", "/d/11", "/d", "/d/1"]) {
      yield* xenbus_write(t, dom0, path, 1);
    }
    yield* xenbus_rm(t, dom0, "/d"); // a parent goes: so does what is watched
    yield* msleep(t, 20);
    assertEquals(seen, ["/d/1", "/d/1/x", "/d/1", "/d/1"]);
    yield* unregister_xenbus_watch(t, dom0, watch);
    yield* xenbus_write(t, dom0, "/d/1", 2);
    yield* msleep(t, 20);
    assertEquals(seen.length, 4);
    yield* xs_exit(t, dom0);
  });
});

Deno.test("both ends of a device go from Initialising to Connected to Closed, and are removed", () => {
  runVm({ cpus: 2 }, function* (t) {
    const store = new XenStore(t.k);
    const dom0 = yield* xs_init(t, store, 0);
    const domU = yield* xs_init(t, store, 1);
    const backs = yield* xenbus_backend_init(t, dom0);
    const fronts = yield* xenbus_frontend_init(t, domU);
    const log: string[] = [];
    const driver = (
      who: string,
      answers: Record<number, number>,
      probe: (t: Thread, dev: XenbusDevice) => Steps<0 | Errno>,
    ): XenbusDriver => ({
      type: "vbd",
      probe,
      *otherend_changed(t, dev, state) {
        log.push(`${who} sees ${xenbus_strstate(state)}`);
        const answer = answers[state];
        if (answer) yield* xenbus_switch_state(t, dev, answer);
      },
      remove(_t, dev) {
        log.push(`${who} removed as ${xenbus_strstate(dev.state)}`);
        return [];
      },
    });
    xenbus_register_driver(
      t,
      backs,
      driver("back", {
        [XenbusStateInitialised]: XenbusStateConnected,
        [XenbusStateClosing]: XenbusStateClosing,
        [XenbusStateClosed]: XenbusStateClosed,
      }, function* (t, dev) {
        yield* xenbus_switch_state(t, dev, XenbusStateInitWait);
        return 0;
      }),
    );
    xenbus_register_driver(
      t,
      fronts,
      driver("front", {
        [XenbusStateInitWait]: XenbusStateInitialised,
        [XenbusStateConnected]: XenbusStateConnected,
        [XenbusStateClosing]: XenbusStateClosed,
      }, function* (t, dev) {
        yield* msleep(t, 1);
        assertEquals(dev.otherend, "/local/domain/0/backend/vbd/1/51712");
        assertEquals(dev.otherend_id, 0);
        return 0;
      }),
    );
    const paths = yield* toolstack_attach(t, dom0, "vbd", 1, 51712, {});
    yield* msleep(t, 50);
    const state = (path: string) => xenbus_scan(t, dom0, `${path}/state`);
    assertEquals(yield* state(paths.front), XenbusStateConnected);
    assertEquals(yield* state(paths.back), XenbusStateConnected);
    const front = fronts.devices.get(paths.front)!;
    yield* xenbus_switch_state(t, front, XenbusStateClosing);
    yield* msleep(t, 50);
    assertEquals(yield* state(paths.front), XenbusStateClosed);
    assertEquals(yield* state(paths.back), XenbusStateClosed);
    yield* toolstack_detach(t, dom0, paths);
    yield* msleep(t, 50);
    assertEquals([fronts.devices.size, backs.devices.size], [0, 0]);
    assertEquals(log.filter((line) => line.startsWith("front")), [
      "front sees InitWait",
      "front sees Connected",
      "front sees Closing",
      "front sees Closed",
      "front removed as Closed",
    ]);
    // The front end's directory goes first, and that shows.
    assertEquals(log.filter((line) => line.startsWith("back")).slice(-3), [
      "back sees Closed",
      "back sees Unknown",
      "back removed as Closed",
    ]);
    for (const bus of [fronts, backs]) yield* xenbus_exit(t, bus);
    yield* xs_exit(t, domU);
    yield* xs_exit(t, dom0);
  });
});

Deno.test("a driver that cannot take a device closes it, and says why", () => {
  const { k } = runVm({ cpus: 1 }, function* (t) {
    const store = new XenStore(t.k);
    const dom0 = yield* xs_init(t, store, 0);
    const backs = yield* xenbus_backend_init(t, dom0);
    xenbus_register_driver(t, backs, {
      type: "vif",
      *probe(t) {
        yield* msleep(t, 1);
        return err(EINVAL);
      },
      otherend_changed() {
        throw new Error("no such device");
      },
      remove() {
        throw new Error("no such device");
      },
    });
    const paths = yield* toolstack_attach(t, dom0, "vif", 1, 0, {});
    yield* toolstack_attach(t, dom0, "vkbd", 1, 0, {}); // nobody's
    yield* msleep(t, 50);
    const state = yield* xenbus_scan(t, dom0, `${paths.back}/state`);
    assertEquals(state, XenbusStateClosed);
    yield* toolstack_detach(t, dom0, paths);
    yield* msleep(t, 50);
    assertEquals(backs.devices.size, 0);
    yield* xenbus_exit(t, backs);
    yield* xs_exit(t, dom0);
  });
  const log = k.printk.lines().map(({ text }) => text);
  assertEquals(log.at(-1), "vif-1-0: 22 xenbus_dev_probe on device (EINVAL)");
});
