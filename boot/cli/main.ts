/**
 * `deno task boot`: the entry point. Needs no permission, except to read a
 * `--machine=` file.
 */
import { runBoot } from "../run.ts";
import { run } from "./command.ts";
import { host } from "./host.ts";

if (import.meta.main) Deno.exit(run(Deno.args, host, runBoot));
