/**
 * Frames of a capture file, as tcpdump and others write it: the classic format
 * of libpcap (pcap-savefile(5)), either byte order, times in micro- or
 * nanoseconds, of Ethernet.
 */

/** A file that is not such a capture, or is cut short; the message says where. */
export class PcapError extends Error {
  override readonly name = "PcapError";
}

/** Frames of a file. */
export interface Capture {
  /** In the file's order, as far as they were captured. */
  readonly frames: readonly Uint8Array[];
  /** How many of them are shorter than they were on the wire. */
  readonly cut: number;
}

const MAGIC_US = 0xa1b2c3d4;
const MAGIC_NS = 0xa1b23c4d;
const MAGIC_PCAPNG = 0x0a0d0d0a;
const HEADER_BYTES = 24;
const RECORD_BYTES = 16;
const LINKTYPE_ETHERNET = 1;
/** Longest record that any capture may have (MAXIMUM_SNAPLEN). */
const MAX_FRAME = 262_144;

/** @throws {PcapError} */
export function parsePcap(bytes: Uint8Array): Capture {
  const view = new DataView(
    bytes.buffer,
    bytes.byteOffset,
    bytes.byteLength,
  );
  const refuse = (why: string): never => {
    throw new PcapError(`Cannot read a capture as ${why}`);
  };
  if (bytes.length < HEADER_BYTES) {
    refuse(
      `it must have a header of ${HEADER_BYTES} bytes: current size is ${bytes.length}`,
    );
  }
  const little = view.getUint32(0, true);
  if (little === MAGIC_PCAPNG) {
    refuse('it is pcapng: convert it by "editcap -F pcap"');
  }
  const isMagic = (magic: number) => magic === MAGIC_US || magic === MAGIC_NS;
  const le = isMagic(little);
  if (!le && !isMagic(view.getUint32(0, false))) {
    refuse(
      `it must begin with a1b2c3d4: current value is ${
        bytes.subarray(0, 4).toHex()
      }`,
    );
  }
  const major = view.getUint16(4, le);
  if (major !== 2) refuse(`its version must be 2: current value is ${major}`);
  const link = view.getUint32(20, le) & 0xffff;
  if (link !== LINKTYPE_ETHERNET) {
    refuse(`its link type must be 1, Ethernet: current value is ${link}`);
  }
  const frames: Uint8Array[] = [];
  let cut = 0;
  for (let at = HEADER_BYTES; at < bytes.length;) {
    const left = bytes.length - at - RECORD_BYTES;
    const length = left >= 0 ? view.getUint32(at + 8, le) : 0;
    if (left < 0 || length > left || length > MAX_FRAME) {
      refuse(`record ${frames.length + 1} at byte ${at} ends beyond the file`);
    }
    if (length < view.getUint32(at + 12, le)) cut++;
    at += RECORD_BYTES;
    frames.push(bytes.subarray(at, at + length));
    at += length;
  }
  return { frames, cut };
}
