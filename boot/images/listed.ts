/** What is known to be on a disk, to compare with. */

/** One name, as lstat() must find it. */
export interface ListedEntry {
  /** 1 to 255 bytes. */
  readonly name: Uint8Array;
  /** Inode number. */
  readonly ino: number;
  /** Type and permissions as in `st_mode`. */
  readonly mode: number;
}

/** One directory, as readdir must find it. */
export interface ListedDirectory {
  /** From the root of the file system. */
  readonly path: Uint8Array;
  /** `.` and `..` left out. */
  readonly entries: readonly ListedEntry[];
}
