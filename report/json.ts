/** Results as JSON; the fields are described in `docs/OUTPUT.md`. */
import type {
  AnyRun,
  BootResult,
  LockLine,
  MixedRun,
  ModulesRun,
  NamedInode,
  NoneRun,
  ProfileLine,
  RunResult,
  XfsLargeDirRun,
  XfsLsRun,
} from "../boot/results.ts";

/**
 * The result as indented JSON with its keys in documented order; ends with a
 * newline.
 *
 * @example
 * ```ts
 * import {
 *   findPreset,
 *   formatJson,
 *   RESULT_SCHEMA,
 *   runBoot,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const spec = findPreset("opteron-2x4");
 * const result = runBoot({ spec, layers: ["rewrite"], threads: [1], ops: 50 });
 * assertEquals(JSON.parse(formatJson(result)).schema, RESULT_SCHEMA);
 * ```
 */
export function formatJson(result: BootResult<AnyRun>): string {
  const { schema, machine, seed, command_line, mixed, runs, dmesg } = result;
  const document = {
    schema,
    machine: {
      name: machine.name,
      description: machine.description,
      cpus: machine.cpus,
      cpus_online: machine.cpus_online,
      sockets: machine.sockets,
      nodes: machine.nodes,
      clock_hz: machine.clock_hz,
      page_size: machine.page_size,
      memory_bytes: machine.memory_bytes,
    },
    seed,
    command_line,
    ...(mixed === undefined ? {} : { mixed: orderRun(mixed) }),
    runs: runs.map(orderRun),
    dmesg,
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

/** Order of keys is part of the output, so it does not follow whoever built the object. */
function orderRun(run: AnyRun): AnyRun {
  const ordered = orderFields(run);
  const { injected } = run;
  if (injected === undefined) return ordered;
  return {
    ...ordered,
    injected: {
      failslab: injected.failslab,
      fail_page_alloc: injected.fail_page_alloc,
      fail_page_table: injected.fail_page_table,
      late_ipis: injected.late_ipis,
      failed_ops: injected.failed_ops,
    },
  };
}

function orderFields(run: AnyRun): AnyRun {
  if ("parts" in run) return orderMixed(run);
  if ("modules" in run) return orderNone(run);
  if ("loads_per_s" in run) return orderModules(run);
  if ("entries" in run) return orderLs(run);
  return "lookups" in run ? orderLargeDir(run) : orderMapTouchUnmap(run);
}

function orderMapTouchUnmap(run: RunResult): RunResult {
  return {
    workload: run.workload,
    vmap: run.vmap,
    api: run.api,
    threads: run.threads,
    pages: run.pages,
    ops: run.ops,
    ns_per_op: run.ns_per_op,
    reference_ns: run.reference_ns,
    tlb_flushes: run.tlb_flushes,
    ipis: run.ipis,
    lock_wait_ns: run.lock_wait_ns,
    profile: run.profile.map(orderLine),
    locks: run.locks.map(orderLock),
  };
}

function orderLargeDir(run: XfsLargeDirRun): XfsLargeDirRun {
  return {
    workload: run.workload,
    vmap: run.vmap,
    buf_map: run.buf_map,
    threads: run.threads,
    ops: run.ops,
    lookups: run.lookups,
    lookups_per_s: run.lookups_per_s,
    speedup: run.speedup,
    vmap_ops: run.vmap_ops,
    vmap_percent: run.vmap_percent,
    tlb_flushes: run.tlb_flushes,
    ipis: run.ipis,
    lock_wait_ns: run.lock_wait_ns,
    total_load: run.total_load,
    profile: run.profile.map((line) => ({
      ...orderLine(line),
      load: line.load,
    })),
    locks: run.locks.map(orderLock),
  };
}

function orderNone({ workload, vmap, modules }: NoneRun): NoneRun {
  return { workload, vmap, modules };
}

function orderModules(run: ModulesRun): ModulesRun {
  return {
    workload: run.workload,
    vmap: run.vmap,
    threads: run.threads,
    ops: run.ops,
    loads_per_s: run.loads_per_s,
    sections: run.sections,
    section_bytes: run.section_bytes,
    refusals: run.refusals,
    tlb_flushes: run.tlb_flushes,
    ipis: run.ipis,
    lock_wait_ns: run.lock_wait_ns,
    profile: run.profile.map(orderLine),
    locks: run.locks.map(orderLock),
  };
}

function orderMixed(run: MixedRun): MixedRun {
  const { calls } = run;
  return {
    workload: run.workload,
    vmap: run.vmap,
    window_ns: run.window_ns,
    parts: run.parts.map(({ name, tasks, ops, unit, skipped }) => ({
      name,
      tasks,
      ops,
      unit,
      skipped,
    })),
    calls: {
      vmalloc: calls.vmalloc,
      vmap: calls.vmap,
      vm_map_ram: calls.vm_map_ram,
      ioremap: calls.ioremap,
      alloc_vm_area: calls.alloc_vm_area,
      vm_unmap_aliases: calls.vm_unmap_aliases,
    },
    tlb_flushes: run.tlb_flushes,
    ipis: run.ipis,
    peak_areas: run.peak_areas,
    peak_lazy_pages: run.peak_lazy_pages,
    leaked_pages: run.leaked_pages,
    leaked_areas: run.leaked_areas,
  };
}

function orderLs({ workload, vmap, path, entries }: XfsLsRun): XfsLsRun {
  return { workload, vmap, path, entries: entries.map(orderEntry) };
}

function orderEntry({ name, name_hex, ino }: NamedInode): NamedInode {
  return name_hex === undefined ? { name, ino } : { name, name_hex, ino };
}

function orderLine({ symbol, ticks, percent }: ProfileLine): ProfileLine {
  return { symbol, ticks, percent };
}

function orderLock(lock: LockLine): LockLine {
  return {
    name: lock.name,
    acquisitions: lock.acquisitions,
    contentions: lock.contentions,
    wait_ns: lock.wait_ns,
    hold_ns: lock.hold_ns,
  };
}
