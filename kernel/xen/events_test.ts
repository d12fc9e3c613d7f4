import { assert, assertEquals } from "@std/assert";
import { charge, type Steps } from "../../arch/asm.ts";
import { VIRQ_DEBUG } from "../../arch/xen/abi.ts";
import { XEN_EVTCHN_VECTOR } from "../irq_vectors.ts";
import { kthread_create, kthread_join } from "../kthread.ts";
import { EEXIST, EINVAL, err } from "../lib/errno.ts";
import {
  complete,
  Completion,
  wait_for_completion,
} from "../locking/completion.ts";
import { wake_up_process } from "../sched/wakeup.ts";
import type { Thread } from "../thread.ts";
import {
  bind_evtchn_to_irqhandler,
  bind_interdomain_evtchn,
  bind_virq_to_irqhandler,
  notify_remote_via_evtchn,
  nr_evtchns,
  rebind_evtchn_to_cpu,
  unbind_from_irqhandler,
  xen_alloc_evtchn,
} from "./events.ts";
import { domain_of } from "./hypercall.ts";
import { bootGuest } from "./testing.ts";

/** Runs `fn` as a thread of domain 0. */
function* in_dom0<T>(t: Thread, fn: (t: Thread) => Steps<T>): Steps<T> {
  const p = yield* kthread_create(t, fn, "backend");
  p.domid = 0;
  yield* wake_up_process(t, p);
  return (yield* kthread_join(t, p)) as T;
}

Deno.test("an event sent by one domain is handled by the other, on the CPU its port is bound to", () => {
  const booted = bootGuest();
  const seen: string[] = [];
  booted.run(function* (t) {
    const [ping, pong] = [
      new Completion(t.k, "ping"),
      new Completion(t.k, "pong"),
    ];
    const mine = yield* xen_alloc_evtchn(t, 0);
    yield* rebind_evtchn_to_cpu(t, mine, 3);
    yield* bind_evtchn_to_irqhandler(t, mine, function* (irq, port) {
      seen.push(`dom${irq.domid} port ${port} on CPU ${irq.cpu.id}`);
      yield* complete(irq, pong);
    });
    const backend = in_dom0(t, function* (self) {
      const port = yield* bind_interdomain_evtchn(self, 1, mine);
      yield* bind_evtchn_to_irqhandler(self, port, function* (irq) {
        seen.push(`dom${irq.domid} on CPU ${irq.cpu.id}`);
        yield* complete(irq, ping);
      });
      yield* notify_remote_via_evtchn(self, port);
      yield* wait_for_completion(self, ping);
      yield* unbind_from_irqhandler(self, port);
      return port;
    });
    const p = yield* kthread_create(t, function* (self) {
      self.domid = 1;
      yield* wait_for_completion(self, pong);
      yield* notify_remote_via_evtchn(self, mine);
    }, "frontend");
    yield* wake_up_process(t, p);
    yield* backend;
    yield* kthread_join(t, p);
    yield* unbind_from_irqhandler(t, mine);
    assertEquals(nr_evtchns(t), 0);
  });
  // Binding tells the binder that something may have come before; the handler says so once.
  assertEquals(
    new Set(seen),
    new Set(["dom1 port 1 on CPU 3", "dom0 on CPU 0"]),
  );
  assert(booted.kernel.irq.count(3, XEN_EVTCHN_VECTOR) > 0);
});

Deno.test("events before there is a handler wait for it; several before the upcall are one", () => {
  const booted = bootGuest();
  let calls = 0;
  booted.run(function* (t) {
    const mine = yield* xen_alloc_evtchn(t, 0);
    yield* in_dom0(t, function* (self) {
      const port = yield* bind_interdomain_evtchn(self, 1, mine);
      for (let i = 0; i < 3; i++) yield* notify_remote_via_evtchn(self, port);
    });
    assertEquals([...domain_of(t).pending], [mine]);
    const done = new Completion(t.k, "done");
    yield* bind_evtchn_to_irqhandler(t, mine, function* (irq) {
      calls++;
      charge(irq, 10);
      yield* complete(irq, done);
    });
    yield* wait_for_completion(t, done);
    assertEquals(domain_of(t).pending.size, 0);
  });
  assertEquals(calls, 1);
});

Deno.test("a virtual interrupt is bound once a CPU, and delivered there", () => {
  const booted = bootGuest();
  const cpus: number[] = [];
  booted.run(function* (t) {
    const done = new Completion(t.k, "done");
    const handler = function* (irq: Thread): Steps {
      cpus.push(irq.cpu.id);
      yield* complete(irq, done);
    };
    const port = yield* bind_virq_to_irqhandler(t, VIRQ_DEBUG, 5, handler);
    assert(port > 0);
    const again = yield* bind_virq_to_irqhandler(t, VIRQ_DEBUG, 5, handler);
    assertEquals(again, err(EEXIST));
    const x = t.machine.xen!;
    assert(x.send_virq(t, domain_of(t), 5, VIRQ_DEBUG));
    assert(!x.send_virq(t, domain_of(t), 4, VIRQ_DEBUG));
    yield* wait_for_completion(t, done);
  });
  assertEquals(cpus, [5]);
});

Deno.test("ports are refused: of no domain, bound by another, bound twice, closed", () => {
  bootGuest().run(function* (t) {
    const mine = yield* xen_alloc_evtchn(t, 1); // for domain 1 itself
    assert((yield* xen_alloc_evtchn(t, 9)) < 0);
    yield* in_dom0(t, function* (self) {
      const got = yield* bind_interdomain_evtchn(self, 1, mine);
      assertEquals(got, err(EINVAL));
    });
    const other = yield* bind_interdomain_evtchn(t, 1, mine);
    assert(other > 0);
    assertEquals(yield* bind_interdomain_evtchn(t, 1, mine), err(EINVAL));
    yield* unbind_from_irqhandler(t, other);
    assertEquals(yield* notify_remote_via_evtchn(t, other), err(EINVAL));
    assertEquals(yield* notify_remote_via_evtchn(t, mine), 0); // dropped
  });
});
