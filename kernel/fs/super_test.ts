import { assert, assertEquals } from "@std/assert";
import type { BlockDevice } from "../block/block_device.ts";
import { EBUSY, EINVAL, EIO, ENODEV, ENOENT, err } from "../lib/errno.ts";
import type { SuperBlock as SuperBlockType } from "./super_types.ts";
import { runFs } from "./_rig.ts";
import { bytes, TestFs } from "./_testfs.ts";
import { LOOKUP_FOLLOW, path_lookup, path_put } from "./namei.ts";
import { read_dir } from "./readdir.ts";
import { vfs_stat } from "./stat.ts";
import { mount_fs, register_filesystem, SuperBlock, umount } from "./super.ts";
import { exit_fs, set_fs_root, unshare_fs_struct } from "./fs_struct.ts";

Deno.test("after the root is unmounted no path leads anywhere", () => {
  runFs({}, {}, function* (t, _fs, sb) {
    assert(typeof (yield* vfs_stat(t, bytes("/"))) !== "number");
    assertEquals(yield* umount(t, sb), 0);
    assertEquals(yield* vfs_stat(t, bytes("/")), err(ENOENT));
    assertEquals(yield* umount(t, sb), err(EINVAL));
    const again = yield* mount_fs(t, "testfs", null);
    assert(again instanceof SuperBlock);
    assertEquals(again.s_type_name, "testfs");
    assert(typeof (yield* vfs_stat(t, bytes("/"))) !== "number");
  });
});

Deno.test("what is in use is not unmounted", () => {
  runFs({}, { f: 1 }, function* (t, _fs, sb) {
    const path = yield* path_lookup(t, bytes("/f"), LOOKUP_FOLLOW);
    assert(typeof path !== "number");
    assertEquals(yield* umount(t, sb), err(EBUSY));
    yield* path_put(t, path);
    yield* unshare_fs_struct(t); // a working directory is a use, too
    assertEquals(yield* umount(t, sb), err(EBUSY));
    yield* exit_fs(t);
  });
});

Deno.test("a second mount is reached by who makes it his root", () => {
  runFs({}, { f: 1 }, function* (t, _fs, sb) {
    const other = new TestFs({ d: { g: 1 } });
    const type = { ...other, name: "otherfs", fill_super: other.fill_super };
    assertEquals(yield* register_filesystem(t, type), 0);
    assertEquals(yield* register_filesystem(t, type), err(EBUSY));
    const second = yield* mount_fs(t, "otherfs", null);
    assert(second instanceof SuperBlock);
    assertEquals(yield* vfs_stat(t, bytes("/d")), err(ENOENT));
    yield* unshare_fs_struct(t);
    const { root } = t.fs!;
    const mnt = t.k.vfs!.mounts.find((mnt) => mnt.mnt_sb === second)!;
    yield* set_fs_root(t, t.fs!, { mnt, dentry: mnt.mnt_root });
    const stat = yield* vfs_stat(t, bytes("/d/g"));
    assert(typeof stat !== "number");
    assertEquals(stat.ino, other.find("/d/g").ino);
    assertEquals(yield* umount(t, second), err(EBUSY));
    assert(root !== null && root.dentry === sb.s_root);
    yield* exit_fs(t);
    assertEquals(yield* umount(t, second), 0);
    assertEquals(other.frees, other.allocs);
  });
});

Deno.test("a mount that fails leaves nothing", () => {
  runFs({}, {}, function* (t) {
    const bdev = { name: "ram0" } as BlockDevice;
    let error = EIO;
    yield* register_filesystem(t, {
      name: "devfs",
      requires_dev: true,
      *fill_super(_t, sb: SuperBlockType) {
        assertEquals([sb.s_dev, sb.s_bdev], ["ram0", bdev]);
        return err(error);
      },
    });
    assertEquals(yield* mount_fs(t, "nofs", null), err(ENODEV));
    assertEquals(yield* mount_fs(t, "devfs", null), err(EINVAL));
    assertEquals(yield* mount_fs(t, "devfs", bdev), err(EIO));
    error = EINVAL;
    assertEquals(yield* mount_fs(t, "devfs", bdev), err(EINVAL));
    const fs = new TestFs({});
    fs.bad.add(fs.root.ino);
    const type = {
      name: "bad",
      requires_dev: false,
      fill_super: fs.fill_super,
    };
    yield* register_filesystem(t, type);
    assertEquals(yield* mount_fs(t, "bad", null), err(ENOENT));
    fs.bad.clear();
    fs.noInodes = true;
    assertEquals(yield* mount_fs(t, "bad", null), err(12));
    assertEquals(fs.frees, fs.allocs);
  });
});

Deno.test("a device is mounted once at a time", () => {
  runFs({}, {}, function* (t) {
    const bdev = { name: "ram0" } as BlockDevice;
    const fs = new TestFs({});
    const type = { name: "b", requires_dev: true, fill_super: fs.fill_super };
    yield* register_filesystem(t, type);
    const sb = yield* mount_fs(t, "b", bdev);
    assert(sb instanceof SuperBlock);
    assertEquals(yield* mount_fs(t, "b", bdev), err(EBUSY));
    assertEquals(yield* umount(t, sb), 0);
    assert((yield* mount_fs(t, "b", bdev)) instanceof SuperBlock);
  });
});

Deno.test("read_dir() gives everything once, however many calls it takes", () => {
  const tree: Record<string, number> = {};
  for (let i = 0; i < 3000; i++) tree[`name-${i}-${"x".repeat(i % 200)}`] = i;
  runFs({}, { d: tree, f: 1 }, function* (t, fs) {
    const entries = yield* read_dir(t, bytes("/d"));
    assert(typeof entries !== "number");
    const names = entries.map(({ name }) => String.fromCharCode(...name));
    assertEquals(names, [".", "..", ...fs.find("/d").children.keys()]);
    assertEquals(yield* read_dir(t, bytes("/f")), err(20));
    assertEquals(yield* read_dir(t, bytes("/x")), err(ENOENT));
    const locks = t.k.lockStats.get("&inode->i_mutex").acquisitions;
    assert(locks > 5, `${locks}`);
  });
});
