import { assert, assertEquals } from "@std/assert";
import { findPreset } from "../arch/hw/presets/index.ts";
import { withCpus } from "../arch/hw/validate.ts";
import { xfsLargeDirImage } from "./images/xfs_large_dir.ts";
import { runXfsLargeDir, runXfsLs } from "./run_xfs.ts";
import { DISK_DRIVERS } from "./xfs_disk.ts";

const spec = withCpus(findPreset("xen-pv"), 4);

Deno.test("XFS over blkfront finds what it finds on the RAM disk", async () => {
  const { disk, directories } = await xfsLargeDirImage();
  const common = { spec, disk, layers: ["rewrite"] };
  const [brd, blkfront] = DISK_DRIVERS.map((diskDriver) => {
    const ls = runXfsLs({
      ...common,
      threads: [1],
      path: "/tree",
      diskDriver,
    });
    const large = runXfsLargeDir({
      ...common,
      layers: ["vmlist", "rewrite"],
      threads: [4],
      path: "/tree",
      directories,
      ops: 40,
      diskDriver,
    });
    return { ls, large };
  });
  assertEquals(blkfront.ls.runs[0].entries, brd.ls.runs[0].entries);
  assert(blkfront.ls.dmesg.some((line) => line.includes("blkfront: xvda")));
  assert(!brd.ls.dmesg.some((line) => line.includes("blkfront")));
  const lookups = ({ large }: typeof brd) =>
    large.runs.map(({ vmap, ops, lookups }) => ({ vmap, ops, lookups }));
  assertEquals(lookups(blkfront), lookups(brd));
});
