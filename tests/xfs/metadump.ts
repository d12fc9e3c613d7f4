/**
 * Packs a raw image in the format of `xfs_metadump` (version 1): sectors that
 * hold anything but zeros, in groups after an index of their places. An image
 * of 300 MiB shrinks to what is in it, and `xfs_mdrestore` reads it too.
 *
 * An index, 512 bytes, big-endian: magic "XFSM", the number of sectors that
 * follow (16 bits), log2 of a sector's size, flags, then the place of each in
 * units of 512 bytes (64 bits). A group that is not full is the last.
 */

const SECTOR_BYTES = 512;
const SECTOR_LOG = 9;
const MAGIC = 0x5846534d;
/** Size of the fields before the places, bytes. */
const HEADER_BYTES = 8;
const GROUP_SECTORS = (SECTOR_BYTES - HEADER_BYTES) / 8;

/** The image `raw`, a multiple of 512 bytes, as a metadump. */
export function packMetadump(raw: Uint8Array): Uint8Array<ArrayBuffer> {
  const used = usedSectors(raw);
  const groups = Math.floor(used.length / GROUP_SECTORS) + 1;
  const packed = new Uint8Array((groups + used.length) * SECTOR_BYTES);
  const view = new DataView(packed.buffer);
  let at = 0;
  for (let group = 0; group < groups; group++) {
    const first = group * GROUP_SECTORS;
    const sectors = used.slice(first, first + GROUP_SECTORS);
    view.setUint32(at, MAGIC);
    view.setUint16(at + 4, sectors.length);
    view.setUint8(at + 6, SECTOR_LOG);
    sectors.forEach((sector, i) => {
      view.setUint32(at + HEADER_BYTES + 8 * i + 4, sector);
    });
    at += SECTOR_BYTES;
    for (const sector of sectors) {
      packed.set(sectorOf(raw, sector), at);
      at += SECTOR_BYTES;
    }
  }
  return packed;
}

function usedSectors(raw: Uint8Array): number[] {
  const used: number[] = [];
  for (let sector = 0; sector < raw.length / SECTOR_BYTES; sector++) {
    if (sectorOf(raw, sector).some((byte) => byte !== 0)) used.push(sector);
  }
  return used;
}

function sectorOf(raw: Uint8Array, sector: number): Uint8Array {
  return raw.subarray(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES);
}
