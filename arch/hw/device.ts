/** A device register that one CPU can read at a time, such as the HPET's counter. */
export class SerialDevice {
  /** Until then an earlier read is under way, cycles. */
  busyUntil = 0;

  constructor(readonly name: string, readonly readCycles: number) {}

  /** A read that is asked for at `at`. @returns When its value is there, cycles. */
  read(at: number): number {
    const start = at > this.busyUntil ? at : this.busyUntil;
    this.busyUntil = start + this.readCycles;
    return this.busyUntil;
  }
}
