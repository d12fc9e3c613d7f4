/** `--disk=`: a file with a disk's image, or the embedded one. */
import {
  ImageError,
  readImage,
  type SparseImage,
} from "../../kernel/drivers/block/image.ts";
import type { ListedDirectory } from "../images/listed.ts";
import { type Io, ReadError } from "./io.ts";
import { readProblem } from "./read_problem.ts";
import { UsageError } from "./usage.ts";

/** A disk, and what is known to be on it. */
export interface Disk {
  readonly disk: SparseImage;
  /** `null` = nothing is known. */
  readonly directories: readonly ListedDirectory[] | null;
}

/**
 * The disk in the file `path`: raw, gzipped, or an xfs_metadump; the embedded
 * one if `path` is `null`.
 *
 * @param args All arguments, to show the command that would work.
 * @throws {UsageError} If the file will not do.
 */
export async function readDisk(
  path: string | null,
  args: readonly string[],
  io: Io,
): Promise<Disk> {
  if (path === null) {
    // Only now: it is a third of a megabyte that other workloads do not need.
    const { xfsLargeDirImage } = await import("../images/xfs_large_dir.ts");
    return await xfsLargeDirImage();
  }
  const file = `disk image ${JSON.stringify(path)}`;
  try {
    return { disk: await readImage(await io.open(path)), directories: null };
  } catch (error) {
    if (error instanceof ReadError) {
      throw new UsageError(
        `Cannot read ${file}: ${readProblem(error, path, args)}`,
      );
    }
    if (error instanceof ImageError) {
      throw new UsageError(error.message.replace("image", () => file));
    }
    throw error;
  }
}
