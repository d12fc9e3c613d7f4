/**
 * When a workload cannot go on though the kernel is all right: an image that
 * does not mount, a path that is not there.
 *
 * @example
 * ```ts
 * import {
 *   findPreset,
 *   runXfsLs,
 *   SparseImage,
 *   WorkloadError,
 * } from "@vmaplab/vmaplab";
 * import { assert, assertThrows } from "@std/assert";
 *
 * const spec = findPreset("opteron-2x4");
 * const disk = new SparseImage(2 ** 20);
 * const machines = { spec, layers: ["rewrite"], threads: [1] };
 * const error = assertThrows(
 *   () => runXfsLs({ ...machines, disk, path: "/" }),
 *   WorkloadError,
 * );
 * assert(error.log.some((line) => line.includes("XFS (ram0): Invalid superblock")));
 * ```
 */
export class WorkloadError extends Error {
  /** Name shown before the message. */
  override readonly name = "WorkloadError";

  /**
   * Made by the workloads.
   *
   * @param message One line that starts with "Cannot".
   * @param log What the kernel has said since the workload began, a line each.
   */
  constructor(message: string, readonly log: readonly string[]) {
    super(message);
  }
}
