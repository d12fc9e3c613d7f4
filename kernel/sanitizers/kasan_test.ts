import {
  assert,
  assertEquals,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import type { Steps } from "../../arch/asm.ts";
import { kthread_join, kthread_run } from "../kthread.ts";
import { list_add, list_entry, ListHead } from "../lib/list.ts";
import { GFP_KERNEL } from "../mm/gfp.ts";
import { kfree, kmalloc } from "../mm/kmalloc.ts";
import {
  kmem_cache_alloc,
  kmem_cache_create,
  kmem_cache_free,
  SlabObject,
} from "../mm/slab.ts";
import { check_cache } from "../mm/slab_check.ts";
import {
  PAGE_SIZE,
  PROT,
  runVm,
  take_pages,
  usage,
  type VmOptions,
} from "../mm/vm_testing.ts";
import { VM_ALLOC, VmStruct } from "../mm/vm_struct.ts";
import {
  get_vm_area,
  vfree,
  vm_map_ram,
  vm_unmap_aliases,
  vm_unmap_ram,
  vmalloc,
} from "../mm/vmalloc.ts";
import {
  call_rcu,
  rcu_barrier,
  rcu_read_lock,
  rcu_read_unlock,
  RcuHead,
} from "../rcu.ts";
import type { KernelRun } from "../testing.ts";
import type { Thread } from "../thread.ts";
import { KasanSanitizer } from "./kasan.ts";
import { SanitizerReport } from "./report.ts";
import { Sanitizers } from "./sanitizers.ts";

/** Has a private field: it cannot be built by hand. */
class Thing extends SlabObject {
  id = 0;
  /** Set by its first user. */
  name!: string;
  readonly link: ListHead<Thing> = new ListHead<Thing>(this);
  readonly rcu: RcuHead<Thing> = new RcuHead<Thing>(this);
  #secret = 7;

  get secret(): number {
    return this.#secret;
  }
}

function kasan(t: Thread): KasanSanitizer {
  const sanitizer = new KasanSanitizer(t.k);
  t.k.sanitizers = new Sanitizers([sanitizer]);
  return sanitizer;
}

/** Runs `main` with kasan on. */
function run<T>(
  main: (t: Thread, sanitizer: KasanSanitizer) => Steps<T>,
  options: VmOptions = {},
): KernelRun<T> {
  let sanitizer: KasanSanitizer;
  const before = (t: Thread) => void (sanitizer = kasan(t));
  return runVm({ pages: 256, before, ...options }, (t) => main(t, sanitizer));
}

/** What kasan says of `main`. */
function report(
  main: (t: Thread, sanitizer: KasanSanitizer) => Steps<unknown>,
  options: VmOptions = {},
): SanitizerReport {
  return assertThrows(() => run(main, options), SanitizerReport);
}

function titles({ sections }: SanitizerReport): string[] {
  return sections.map(({ title }) => title.split(" by ")[0]);
}

function things(t: Thread) {
  return kmem_cache_create(t, "thing", 64, () => new Thing());
}

Deno.test("a field of a freed object is reported, read or written, with both stacks", () => {
  for (const write of [false, true]) {
    const found = report(function* (t) {
      const cache = things(t);
      const thing = (yield* kmem_cache_alloc(t, cache, GFP_KERNEL))!;
      yield* kmem_cache_free(t, cache, thing);
      if (write) thing.id = 1;
      return thing.id;
    });
    assertEquals(
      found.headline,
      "BUG: KASAN: use-after-free in kthread: thing.id",
    );
    assertEquals(titles(found), ["allocated", "freed"]);
    assertEquals(found.sections[1].lines[0], "kmem_cache_free");
  }
});

Deno.test("a stale reference is told from the new user's after the memory is used again", () => {
  const { result } = run(function* (t) {
    const cache = t.k.vmalloc.vm_cache(t);
    const old = (yield* kmem_cache_alloc(t, cache, GFP_KERNEL))!;
    old.reset(VM_ALLOC, PAGE_SIZE, 0);
    const { paddr, line } = old;
    yield* kmem_cache_free(t, cache, old);
    const next = (yield* kmem_cache_alloc(t, cache, GFP_KERNEL))!;
    next.reset(VM_ALLOC, 2 * PAGE_SIZE, 0);
    assert(next instanceof VmStruct);
    assertEquals([next.paddr, next.size], [paddr, 2 * PAGE_SIZE]);
    assertStrictEquals(next.line, line);
    assertThrows(() => old.size, SanitizerReport, "vm_struct.size");
    assertThrows(() => old.line, SanitizerReport, "vm_struct.line");
    yield* kmem_cache_free(t, cache, next);
    check_cache(cache);
    return next === old;
  });
  assertEquals(result, false);
});

Deno.test("a link of a freed object is reported by who walks the list", () => {
  const found = report(function* (t) {
    const cache = things(t);
    const list = new ListHead<Thing>();
    const thing = (yield* kmem_cache_alloc(t, cache, GFP_KERNEL))!;
    list_add(thing.link, list);
    yield* kmem_cache_free(t, cache, thing);
    let ids = 0;
    for (let p = list.next; p !== list; p = p.next) ids += list_entry(p).id;
    return ids;
  });
  assertEquals(
    found.headline,
    "BUG: KASAN: use-after-free in kthread: thing.link.owner",
  );
});

Deno.test("what a cache makes keeps its methods, private fields and contents from use to use", () => {
  run(function* (t) {
    const cache = things(t);
    for (let i = 0; i < 3; i++) {
      const thing = (yield* kmem_cache_alloc(t, cache, GFP_KERNEL))!;
      assertEquals([thing.secret, thing.id], [7, i]);
      assertEquals(thing.name, undefined); // its first user's to set, again
      assertStrictEquals(thing.link.owner, thing);
      assertStrictEquals(thing.link.next, thing.link);
      assertStrictEquals(thing.rcu.owner, thing);
      thing.id = i + 1;
      thing.name = "named";
      yield* kmem_cache_free(t, cache, thing);
    }
  });
});

Deno.test("a second free and a free to a wrong cache carry both stacks", () => {
  const twice = report(function* (t) {
    const buf = (yield* kmalloc(t, 100, GFP_KERNEL))!;
    yield* kfree(t, buf);
    yield* kmalloc(t, 100, GFP_KERNEL); // the memory has a new user
    yield* kfree(t, buf);
  });
  assertEquals(twice.headline, "BUG: KASAN: double-free: size-128");
  assertEquals(titles(twice), ["allocated", "freed"]);
  const wrong = report(function* (t) {
    const cache = things(t);
    const buf = (yield* kmalloc(t, 100, GFP_KERNEL))!;
    yield* kmem_cache_free(t, cache, buf as unknown as Thing);
  });
  assertEquals(wrong.headline, "BUG: KASAN: free to a wrong cache: size-128");
  assertEquals(titles(wrong), ["allocated"]);
});

Deno.test("between call_rcu() and its callback readers alone may look", () => {
  const ids: number[] = [];
  const found = report(function* (t) {
    const cache = things(t);
    const thing = (yield* kmem_cache_alloc(t, cache, GFP_KERNEL))!;
    thing.id = 5;
    yield* call_rcu(t, thing.rcu, (irq, head) => {
      ids.push(head.owner.id);
      return kmem_cache_free(irq, cache, head.owner);
    });
    rcu_read_lock(t);
    ids.push(thing.id);
    rcu_read_unlock(t);
    return thing.link;
  });
  assertEquals(ids, [5]);
  assertEquals(
    found.headline,
    "BUG: KASAN: use after call_rcu() outside of an RCU read-side critical section in kthread: thing.link",
  );
  assertEquals(titles(found), ["allocated", "call_rcu()"]);
  assertEquals(found.sections[1].lines[0], "call_rcu");
});

Deno.test("a callback has its object to itself, and frees it", () => {
  const ids: number[] = [];
  const found = report(function* (t) {
    const cache = things(t);
    const thing = (yield* kmem_cache_alloc(t, cache, GFP_KERNEL))!;
    thing.id = 6;
    yield* call_rcu(t, thing.rcu, (irq, head) => {
      ids.push(head.owner.id);
      return kmem_cache_free(irq, cache, head.owner);
    });
    yield* rcu_barrier(t);
    rcu_read_lock(t);
    return thing.id;
  });
  assertEquals(ids, [6]);
  assertEquals(titles(found), ["allocated", "call_rcu()", "freed"]);
});

Deno.test("a reader of what a callback has begun with is reported", () => {
  const found = report(function* (t) {
    const cache = things(t);
    const thing = (yield* kmem_cache_alloc(t, cache, GFP_KERNEL))!;
    yield* call_rcu(t, thing.rcu, () => {}); // frees nothing
    yield* rcu_barrier(t);
    assertEquals(thing.id, 0); // handed on by the callback, perhaps
    rcu_read_lock(t);
    return thing.id;
  });
  assertEquals(
    found.headline,
    "BUG: KASAN: use by a reader after the grace period in kthread: thing.id",
  );
});

Deno.test("freeing what waits for RCU, and call_rcu() of what is free", () => {
  const early = report(function* (t) {
    const cache = things(t);
    const thing = (yield* kmem_cache_alloc(t, cache, GFP_KERNEL))!;
    yield* call_rcu(t, thing.rcu, () => {});
    yield* kmem_cache_free(t, cache, thing);
  });
  assertEquals(early.headline, "BUG: KASAN: free of what waits for RCU: thing");
  const late = report(function* (t) {
    const cache = things(t);
    const thing = (yield* kmem_cache_alloc(t, cache, GFP_KERNEL))!;
    const { rcu } = thing;
    yield* kmem_cache_free(t, cache, thing);
    yield* call_rcu(t, rcu, () => {});
  });
  assertEquals(
    late.headline,
    "BUG: KASAN: call_rcu() of a freed object: thing",
  );
});

Deno.test("a field of a vm_struct that nobody has written is not to be read", () => {
  const found = report(function* (t) {
    const cache = t.k.vmalloc.vm_cache(t);
    const vm = (yield* kmem_cache_alloc(t, cache, GFP_KERNEL))!;
    vm.addr = 0x1000;
    return vm.addr + vm.size;
  });
  assertEquals(
    found.headline,
    "BUG: KASAN: read of an unset field in kthread: vm_struct.size",
  );
});

Deno.test("leaks() are objects that no structure leads to", () => {
  run(function* (t, sanitizer) {
    const cache = things(t);
    yield* vmalloc(t, 3 * PAGE_SIZE); // on vmlist, its array with it
    const pages = yield* take_pages(t, 2);
    yield* vm_map_ram(t, pages, 2, -1, PROT); // in a block
    yield* vfree(t, yield* vmalloc(t, PAGE_SIZE)); // lazily freed
    const before = sanitizer.leaks(); // of the rest of the kernel
    assert(before.every((leak) => !leak.cache.startsWith("vm")));
    yield* kmem_cache_alloc(t, cache, GFP_KERNEL);
    yield* kmalloc(t, 32, GFP_KERNEL);
    const leaks = sanitizer.leaks().slice(before.length);
    assertEquals(leaks.map((leak) => leak.cache), ["thing", "size-32"]);
    sanitizer.quiet(t, t.k); // neither is the vmap layer's
  });
});

Deno.test("purge-iterator: the purge follows a link of what it has given to RCU (A7)", () => {
  const main = function* (t: Thread): Steps {
    yield* vfree(t, yield* vmalloc(t, PAGE_SIZE));
    yield* vm_unmap_aliases(t);
  };
  run(main);
  const params = { vmap_quirk: new Set(["purge-iterator"]) };
  const found = report(main, { params });
  assertEquals(
    found.headline,
    "BUG: KASAN: use after call_rcu() outside of an RCU read-side critical section in __purge_vmap_area_lazy: vmap_area.purge_list.next",
  );
});

Deno.test("leak-on-failure: the descriptor of an area that did not fit is lost (A10)", () => {
  const main = function* (t: Thread): Steps {
    yield* get_vm_area(t, 2 ** 21, VM_ALLOC);
    t.k.sanitizers!.quiet(t, t.k);
  };
  run(main);
  const params = { vmap_quirk: new Set(["leak-on-failure"]) };
  const found = report(main, { params });
  assertEquals(found.headline, "BUG: KASAN: memory leak: vmap_area");
  assert(found.sections[0].title.startsWith("oldest allocated by init:1"));
  assert(found.sections[0].lines.includes("alloc_vmap_area"));
});

function* churn(t: Thread): Steps {
  const pages = yield* take_pages(t, 4);
  for (let i = 0; i < 60; i++) {
    const a = yield* vmalloc(t, (1 + i % 4) * PAGE_SIZE);
    const b = yield* vm_map_ram(t, pages, 1 + i % 4, -1, PROT);
    if (b !== 0) yield* vm_unmap_ram(t, b, 1 + i % 4);
    yield* vfree(t, a);
    if (i % 20 === 0) yield* vm_unmap_aliases(t);
  }
}

Deno.test("three CPUs at work: nothing found, and the same clocks as without", () => {
  const main = function* (t: Thread) {
    const threads: Thread[] = [];
    for (let i = 0; i < 3; i++) threads.push(yield* kthread_run(t, churn, "c"));
    for (const p of threads) yield* kthread_join(t, p);
    yield* rcu_barrier(t);
    t.k.sanitizers?.quiet(t, t.k);
    for (const cache of t.k.slab.caches) check_cache(cache);
    return usage(t.k);
  };
  const params = { lazy_max: 8, vmap_max_alloc: 4, vmap_space: 0 };
  const options = { cpus: 3, pages: 512, params };
  const off = runVm(options, main);
  const on = run(main, options);
  assertEquals(on.clocks, off.clocks);
  assertEquals(on.result, off.result);
});

Deno.test("objects of a class that has other fields in another kernel are refused, as shapes are shared", () => {
  run(function* (t) {
    yield* vmalloc(t, PAGE_SIZE);
  });
  assertThrows(
    () =>
      run(function* (t) {
        const make = () => Object.assign(new VmStruct(), { more: 1 });
        const cache = kmem_cache_create(t, "odd", 64, make);
        yield* kmem_cache_alloc(t, cache, GFP_KERNEL);
      }),
    TypeError,
    "Cannot watch a VmStruct as it is made of other fields",
  );
});
