/**
 * When a workload cannot go on though the kernel is all right: an image that
 * does not mount, a path that is not there.
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
