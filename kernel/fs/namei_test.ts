import { assert, assertEquals } from "@std/assert";
import {
  EIO,
  ELOOP,
  ENAMETOOLONG,
  ENOENT,
  ENOTDIR,
  err,
} from "../lib/errno.ts";
import { PRESETS } from "../../arch/hw/presets/index.ts";
import { onThreads, runFs } from "./_rig.ts";
import { bytes, text } from "./_testfs.ts";
import { LOOKUP_FOLLOW, path_lookup, path_put } from "./namei.ts";
import { sys_chdir, sys_newstat, vfs_lstat, vfs_stat } from "./stat.ts";
import type { Thread } from "../thread.ts";
import type { Steps } from "../../arch/asm.ts";

/** Inode number of `path`, or the error. */
function* ino(t: Thread, path: string): Steps<number> {
  const stat = yield* vfs_stat(t, bytes(path));
  return typeof stat === "number" ? stat : stat.ino;
}

Deno.test("paths lead where they say", () => {
  runFs({}, { a: { b: { c: 1 } }, f: 2 }, function* (t, fs) {
    const found = (path: string) => fs.find(path).ino;
    for (const path of ["/", "/a", "/a/b", "/a/b/c", "/f"]) {
      assertEquals(yield* ino(t, path), found(path), path);
    }
    for (
      const [path, same] of [
        ["//a///b//c", "/a/b/c"],
        ["/a/", "/a"],
        ["/a/.", "/a"],
        ["/./a/./b/./c", "/a/b/c"],
        ["/a/..", "/"],
        ["/a/b/../../f", "/f"],
        ["/..", "/"],
        ["/../../f", "/f"],
        ["a/b", "/a/b"], // the working directory is the root
        [".", "/"],
        ["..", "/"],
        ["///", "/"],
      ]
    ) assertEquals(yield* ino(t, path), found(same), path);
  });
});

Deno.test("what is not there, and what is no directory", () => {
  runFs({}, { d: { f: 1 }, f: 2 }, function* (t) {
    for (
      const [path, error] of [
        ["", ENOENT],
        ["/x", ENOENT],
        ["/x/", ENOENT],
        ["/x/y", ENOENT],
        ["/d/x", ENOENT],
        ["/f/", ENOTDIR],
        ["/f/.", ENOTDIR],
        ["/f/..", ENOTDIR],
        ["/f/x", ENOTDIR],
        ["/d/f/x/y", ENOTDIR],
        [`/d/${"n".repeat(256)}`, ENAMETOOLONG],
        [`/x/${"n".repeat(256)}`, ENOENT],
        ["/d/".repeat(1366), ENAMETOOLONG], // 4098 bytes
      ] as const
    ) assertEquals(yield* ino(t, path), -error, path.slice(0, 20));
    // 4095 bytes and the NUL are a path still.
    assertEquals(yield* ino(t, `${"/".repeat(4094)}f`), 131);
  });
});

Deno.test("names are bytes: any but slash and NUL, 255 of them", () => {
  const names = [
    ...Array.from({ length: 256 }, (_, c) => String.fromCharCode(c))
      .filter((c) => c !== "/" && c !== "\0" && c !== "."),
    "...",
    "..a",
    " ",
    "\xff\xfe\xfd",
    "gr\xc3\xbc\xc3\x9fe",
    "n".repeat(35), // the longest that lies in the dentry
    "n".repeat(36),
    "n".repeat(255),
    `${"n".repeat(254)}m`,
  ];
  const tree = Object.fromEntries(names.map((name) => [name, 1]));
  runFs({}, { d: tree }, function* (t, fs) {
    for (let round = 0; round < 2; round++) {
      for (const name of names) {
        const got = yield* ino(t, `/d/${name}`);
        assertEquals(got, fs.find("/d").children.get(name)!.ino, name);
      }
    }
    for (const [name, { lookups }] of fs.find("/d").children) {
      assertEquals(lookups, 1, name);
    }
  });
});

Deno.test("links are followed, but not at the end of lstat()'s path", () => {
  const links: Record<string, string> = {};
  for (let i = 0; i < 10; i++) links[`n${i}`] = i === 0 ? "/a/f" : `n${i - 1}`;
  const tree = {
    a: { f: 1, up: "..", self: "." },
    abs: "/a",
    rel: "a/f",
    dangling: "nowhere",
    loop: "loop",
    ...links,
  };
  runFs({}, tree, function* (t, fs) {
    const f = fs.find("/a/f").ino;
    for (
      const path of ["/abs/f", "/rel", "/a/up/abs/up/rel", "/a/self/self/f"]
    ) {
      assertEquals(yield* ino(t, path), f, path);
    }
    assertEquals(yield* ino(t, "/rel/"), -ENOTDIR);
    assertEquals(yield* ino(t, "/rel/x"), -ENOTDIR);
    assertEquals(yield* ino(t, "/dangling"), -ENOENT);
    assertEquals(yield* ino(t, "/loop"), -ELOOP);
    assertEquals(yield* ino(t, "/n7"), f); // 8 within each other
    assertEquals(yield* ino(t, "/n8"), -ELOOP);
    const stat = yield* vfs_lstat(t, bytes("/loop"));
    assert(typeof stat !== "number");
    assertEquals(stat.ino, fs.find("/loop").ino);
    // 40 in one path, however shallow.
    assertEquals(yield* ino(t, `/a${"/self".repeat(40)}/f`), f);
    assertEquals(yield* ino(t, `/a${"/self".repeat(41)}/f`), -ELOOP);
  });
});

Deno.test("chdir() moves where relative paths begin", () => {
  runFs({}, { a: { b: { c: 1 } }, f: 2 }, function* (t, fs) {
    assertEquals(yield* sys_chdir(t, bytes("/a/b")), 0);
    assertEquals(yield* ino(t, "c"), fs.find("/a/b/c").ino);
    assertEquals(yield* ino(t, ".."), fs.find("/a").ino);
    assertEquals(yield* ino(t, "../../f"), fs.find("/f").ino);
    assertEquals(yield* sys_chdir(t, bytes("c")), err(ENOTDIR));
    assertEquals(yield* sys_chdir(t, bytes("x")), err(ENOENT));
    assertEquals(yield* sys_chdir(t, bytes("/")), 0);
  });
});

Deno.test("an error of the file system reaches the caller, and no dentry is left of it", () => {
  runFs({}, { d: { f: 1, bad: 2 } }, function* (t, fs) {
    fs.onLookup = (name) => name === "f" ? err(EIO) : 0;
    fs.bad.add(fs.find("/d/bad").ino);
    for (let i = 1; i <= 3; i++) {
      assertEquals(yield* ino(t, "/d/f"), -EIO);
      assertEquals(yield* ino(t, "/d/bad"), -ENOENT);
      assertEquals(fs.lookups.get("f"), i); // asked again each time
    }
    assertEquals(t.k.vfs!.dentry_stat.nr_dentry, 2); // root and d
    fs.noInodes = true;
    fs.onLookup = () => 0;
    assertEquals(yield* ino(t, "/d/f"), -12);
    fs.noInodes = false;
    assertEquals(yield* ino(t, "/d/f"), fs.find("/d/f").ino);
  });
});

Deno.test("a name that is not there is remembered", () => {
  runFs({}, { d: {} }, function* (t, fs) {
    for (let i = 0; i < 3; i++) assertEquals(yield* ino(t, "/d/x"), -ENOENT);
    assertEquals(fs.lookups.get("x"), 1);
  });
});

Deno.test("path_lookup() keeps what it finds until path_put()", () => {
  runFs({}, { d: { f: 1 } }, function* (t) {
    const path = yield* path_lookup(t, bytes("/d/f"), LOOKUP_FOLLOW);
    assert(typeof path !== "number");
    assertEquals(text(path.dentry.d_name.name), "f");
    assertEquals(path.dentry.d_count.value, 1);
    yield* path_put(t, path);
    assertEquals(path.dentry.d_count.value, 0);
    const stat = yield* sys_newstat(t, bytes("/d/f"));
    assert(typeof stat !== "number");
    assertEquals([stat.blksize, stat.dev], [4096, "testfs"]);
  });
});

Deno.test("the same on every machine, hash tables in the direct map or in vmalloc space", () => {
  for (const spec of Object.values(PRESETS)) {
    for (const hashdist of [false, true]) {
      const params = { hashdist };
      const tree = { d: { f: 1, "\xff": 2 } };
      runFs({ cpus: undefined, spec, params }, tree, function* (t, fs) {
        const found = yield* onThreads(t, 4, function* (self) {
          const a = yield* ino(self, "/d/f");
          const b = yield* ino(self, "/d/\xff");
          return [a, b, yield* ino(self, "/d/x")];
        });
        const want = [fs.find("/d/f").ino, fs.find("/d/\xff").ino, -ENOENT];
        assertEquals(found, [want, want, want, want], spec.name);
        assertEquals(fs.lookups.get("f"), 1);
      });
    }
  }
});
