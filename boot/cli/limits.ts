/** What fits the machine: checked before it boots. */
import type { MachineSpec } from "../../arch/hw/spec.ts";
import type { KernelParams } from "../../kernel/params.ts";
import { ParamError, sizeText } from "../params.ts";
import { badValue, UsageError } from "./usage.ts";

/** @throws {UsageError} If the kernel would quietly cut `vmalloc=` down. */
export function checkVmalloc(
  spec: MachineSpec,
  { vmalloc_bytes }: KernelParams,
): void {
  const { min, max } = vmallocLimits(spec);
  if (
    vmalloc_bytes !== null && !(vmalloc_bytes >= min && vmalloc_bytes <= max)
  ) {
    throw new UsageError(
      new ParamError(
        "vmalloc",
        `${sizeText(min)} to ${sizeText(max)} on ${spec.name}`,
        sizeText(vmalloc_bytes),
      ).message,
    );
  }
}

/** @throws {UsageError} If the pages do not fit, which the kernel would only panic about. */
export function checkPages(
  spec: MachineSpec,
  { mem_bytes }: KernelParams,
  threads: readonly number[],
  pages: number,
): void {
  const ram = spec.memory.bytesPerNode * spec.topology.nodes;
  const memory = Math.min(ram, mem_bytes ?? ram);
  const most = Math.max(...threads);
  const room = Math.floor(memory / 2 / 2 ** spec.paging.pageShift / most);
  if (pages <= room) return;
  throw badValue(
    "--pages",
    `be at most ${room}, so that ${most} thread${
      most === 1 ? " fits" : "s fit"
    } in half the memory`,
    String(pages),
  );
}

/** What `vmalloc=` may be on `spec`, bytes. On i386 low memory gives way to it. */
function vmallocLimits(spec: MachineSpec): { min: number; max: number } {
  const { vmallocStart, vmallocEnd, directMapStart } = spec.layout;
  const MiB = 2 ** 20;
  if (spec.paging.format === "i386-pae") {
    const direct = 2 ** 32 - Number(directMapStart);
    return { min: 32 * MiB, max: Math.max(32 * MiB, direct / 2) };
  }
  const space = Number(vmallocEnd) - Number(vmallocStart);
  return { min: MiB, max: Math.floor(space / MiB) * MiB };
}
