import { assertEquals, assertStringIncludes } from "@std/assert";
import { sampleMixedRun, sampleResult } from "./_sample.ts";
import { formatMixed } from "./mixed.ts";

const { machine } = sampleResult([]);

Deno.test("formatMixed() says what each part did, and why one did nothing", () => {
  assertEquals(
    formatMixed(sampleMixedRun(), machine),
    `\
mixed run on opteron-2x4, vmap=rewrite: 5 tasks side by side for 20.0 ms of virtual time
  xfs  1500 names looked up by 5 tasks
  xen  not run: no hypervisor
calls: vmalloc 1, vmap 2, vm_map_ram 3000, ioremap 0, alloc_vm_area 0, vm_unmap_aliases 4
TLB flushes 5, IPIs 35; at most 20 areas, 1024 pages unmapped lazily
returned: all pages, all areas
`,
  );
});

Deno.test("formatMixed() says what was not returned", () => {
  const run = sampleMixedRun({ leaked_pages: 2, leaked_areas: 1 });
  assertStringIncludes(
    formatMixed(run, machine),
    "returned: not 2 pages, 1 areas\n",
  );
});
