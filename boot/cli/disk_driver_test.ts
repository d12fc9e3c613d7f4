import { assertEquals, assertThrows } from "@std/assert";
import { FakeIo } from "./_fake_io.ts";
import { type BootCommand, parseOptions } from "./options.ts";
import { UsageError } from "./usage.ts";

function parse(...args: string[]): BootCommand {
  const command = parseOptions(args, new FakeIo());
  if (command.kind === "help") throw new TypeError("help");
  return command;
}

Deno.test("--disk-driver=blkfront goes with Xen and with the workloads on a disk", () => {
  const xfs = "--workload=xfs-large-dir";
  assertEquals(parse(xfs).diskDriver, "brd");
  assertEquals(parse(xfs, "--disk-driver=brd").diskDriver, "brd");
  for (const workload of [xfs, "--workload=xfs-ls"]) {
    const command = parse(
      workload,
      "--machine=xen-pv",
      "--disk-driver=blkfront",
    );
    assertEquals(command.diskDriver, "blkfront");
  }
  const bad: [string[], string][] = [
    [
      [xfs, "--disk-driver=blkfront"],
      'Cannot use --disk-driver=blkfront as it goes with a machine that has Xen, such as --machine=xen-pv, alone: current machine is "opteron-2x4"',
    ],
    [
      [xfs, "--machine=xen-pv", "--disk-driver=blkfrnt"],
      'Cannot use --disk-driver as it must be one of brd, blkfront (nearest is "blkfront"): current value is "blkfrnt"',
    ],
    [
      ["--machine=xen-pv", "--disk-driver=blkfront"],
      'Cannot use --disk-driver as it goes with --workload=xfs-large-dir or --workload=xfs-ls alone: current workload is "map-touch-unmap"',
    ],
    [
      [xfs, "--disk-driver=brd", "--disk-driver=brd"],
      "Cannot use --disk-driver as it must come once",
    ],
  ];
  for (const [args, message] of bad) {
    assertThrows(() => parse(...args), UsageError, message);
  }
});

Deno.test("--pcap goes with the workload xen", () => {
  const xen = ["--workload=xen", "--machine=xen-pv"];
  assertEquals(parse(...xen).pcap, null);
  assertEquals(parse(...xen, "--pcap=a.pcap").pcap, "a.pcap");
  assertThrows(
    () => parse(...xen, "--pcap="),
    UsageError,
    "Cannot use --pcap as it must be the path of a file",
  );
  assertThrows(
    () => parse("--workload=all", "--pcap=a.pcap"),
    UsageError,
    "Cannot use --pcap as it goes with --workload=xen alone",
  );
});
