/**
 * mod.ts works by URL: a project without dependencies and import map imports it
 * from a plain HTTP server and boots a machine.
 */
import { assertEquals } from "@std/assert";

const root = new URL("../", import.meta.url);

const NEEDED: readonly Deno.PermissionDescriptor[] = [
  { name: "read" },
  { name: "write" },
  { name: "run" },
  { name: "net", host: "127.0.0.1" },
];
const states = await Promise.all(
  NEEDED.map(async (what) => (await Deno.permissions.query(what)).state),
);

/** Serves the sources as any web server would; notes what was asked for. */
function serve(asked: string[]): Deno.HttpServer<Deno.NetAddr> {
  return Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    async (request) => {
      const { pathname } = new URL(request.url);
      asked.push(pathname);
      try {
        const body = await Deno.readTextFile(new URL(`.${pathname}`, root));
        const headers = { "content-type": "application/typescript" };
        return new Response(body, { headers });
      } catch {
        return new Response("not found", { status: 404 });
      }
    },
  );
}

/** What a user writes first. */
const script = (origin: string) => `
import { boot, type Steps, type Thread, vfree, vload, vmalloc, vstore } from
  "${origin}/mod.ts";

function* touch(t: Thread): Steps<number> {
  const addr = yield* vmalloc(t, 8192);
  yield* vstore(t, addr + 4096, 8, 42);
  const value = yield* vload(t, addr + 4096, 8);
  yield* vfree(t, addr);
  return value;
}

const machine = boot();
const value: number = machine.run(touch);
console.log(JSON.stringify([value, machine.kernel.cpu_online.weight]));
`;

Deno.test({
  name: "mod.ts boots a machine when imported by URL from an empty project",
  ignore: states.some((state) => state !== "granted"),
  async fn() {
    const asked: string[] = [];
    const server = serve(asked);
    const project = await Deno.makeTempDir({ prefix: "vmaplab-" });
    const origin = `http://127.0.0.1:${server.addr.port}`;
    try {
      await Deno.writeTextFile(`${project}/main.ts`, script(origin));
      const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: [
          "run",
          "--check",
          "--no-lock",
          "--no-prompt",
          `--allow-import=127.0.0.1:${server.addr.port}`,
          "main.ts",
        ],
        cwd: project,
        env: { DENO_DIR: `${project}/.deno`, NO_COLOR: "1" },
      }).output();
      const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
      assertEquals([code, text(stdout)], [0, "[42,8]\n"], text(stderr));
    } finally {
      await server.shutdown();
      await Deno.remove(project, { recursive: true });
    }
    assertEquals(asked[0], "/mod.ts");
    // Sources alone, each once: no tests, no command lines, no packages.
    assertEquals(asked.length, new Set(asked).size);
    const odd = /_test\.ts$|\/cli\/|\/testing\.ts$|\.js$|\.json$/;
    assertEquals(asked.filter((path) => odd.test(path)), []);
  },
});
