/**
 * What XFS says: messages with the name of the mount, corruption reports, the
 * word of a read verifier.
 *
 * The form is that of 2.6.39 and later, `XFS (ram0): text`; 2.6.28 wrote
 * `Filesystem "ram0": text`. Internal errors name the function and its caller,
 * not a line of C.
 */
import { KERN_ALERT, KERN_NOTICE, KERN_WARNING, printk } from "../../printk.ts";
import type { Thread } from "../../thread.ts";

/** Bytes of a corrupt buffer that are shown. */
const DUMP_BYTES = 64;

/** Whoever messages are about. */
export interface Named {
  /** Name of the device, as mounted. */
  readonly m_fsname: string;
}

export function xfs_alert(t: Thread, mp: Named, text: string): void {
  printk(t, KERN_ALERT, `XFS (${mp.m_fsname}): ${text}`);
}

export function xfs_warn(t: Thread, mp: Named, text: string): void {
  printk(t, KERN_WARNING, `XFS (${mp.m_fsname}): ${text}`);
}

export function xfs_notice(t: Thread, mp: Named, text: string): void {
  printk(t, KERN_NOTICE, `XFS (${mp.m_fsname}): ${text}`);
}

/** Says that what was read makes no sense; `tag` is the place. */
export function xfs_error_report(t: Thread, mp: Named, tag: string): void {
  const [where, caller] = t.backtrace();
  xfs_alert(
    t,
    mp,
    `Internal error ${tag} in ${where}.  Caller ${caller ?? "unknown"}`,
  );
}

/** {@linkcode xfs_error_report} with the start of what was read. */
export function xfs_corruption_error(
  t: Thread,
  mp: Named,
  tag: string,
  bytes: Uint8Array,
): void {
  hex_dump(t, bytes.subarray(0, 16));
  xfs_error_report(t, mp, tag);
  xfs_alert(t, mp, "Corruption detected. Unmount and run xfs_repair");
}

/** What a read verifier says of a bad block. */
export function xfs_verifier_error(
  t: Thread,
  mp: Named,
  /** Whether the checksum is wrong; else something in the block is. */
  badCrc: boolean,
  verifier: string,
  /** 512-byte sectors. */
  blkno: number,
  bytes: Uint8Array,
): void {
  verifier_error(t, mp, badCrc, verifier, "block", blkno, bytes);
}

/** What a verifier says of a bad inode. */
export function xfs_inode_verifier_error(
  t: Thread,
  mp: Named,
  badCrc: boolean,
  verifier: string,
  ino: number,
  bytes: Uint8Array,
): void {
  verifier_error(t, mp, badCrc, verifier, "inode", ino, bytes);
}

function verifier_error(
  t: Thread,
  mp: Named,
  badCrc: boolean,
  verifier: string,
  what: "block" | "inode",
  number: number,
  bytes: Uint8Array,
): void {
  const error = badCrc ? "CRC error" : "corruption";
  const where = `${what} 0x${number.toString(16)}`;
  xfs_alert(t, mp, `Metadata ${error} detected at ${verifier}, ${where}`);
  xfs_alert(t, mp, "Unmount and run xfs_repair");
  const shown = bytes.subarray(0, DUMP_BYTES);
  xfs_alert(
    t,
    mp,
    `First ${shown.length} bytes of corrupted metadata buffer:`,
  );
  hex_dump(t, shown);
}

/** Says that a buffer could not be read; `caller` is who wanted it. */
export function xfs_buf_ioerror_alert(
  t: Thread,
  mp: Named,
  caller: string,
  /** 512-byte sectors. */
  blkno: number,
  len: number,
  /** Positive. */
  error: number,
): void {
  xfs_alert(
    t,
    mp,
    `metadata I/O error: block 0x${
      blkno.toString(16)
    } ("${caller}") error ${error} numblks ${len}`,
  );
}

/** Lines of 16 bytes. */
function hex_dump(t: Thread, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; at += 16) {
    const row = [...bytes.subarray(at, at + 16)];
    const hex = row.map((b) => b.toString(16).padStart(2, "0")).join(" ");
    const text = row.map((b) =>
      b >= 0x20 && b < 0x7f ? String.fromCharCode(b) : "."
    ).join("");
    const offset = at.toString(16).padStart(8, "0");
    printk(t, KERN_ALERT, `${offset}: ${hex}  ${text}`);
  }
}
