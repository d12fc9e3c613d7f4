/**
 * `deno task boot`: the entry point. Needs no permission, except to read a
 * `--machine=`, `--disk=`, `--insmod=` or `--ksyms=` file.
 */
import { run } from "./command.ts";
import { host } from "./host.ts";
import { RUNNERS } from "./workloads.ts";

if (import.meta.main) Deno.exit(await run(Deno.args, host, RUNNERS));
