/** `--sanitize=`, as all command lines have it. */
import { SANITIZERS } from "../../kernel/sanitizers/index.ts";
import { manyOf } from "./flags.ts";
import { badValue } from "./usage.ts";

/** Names of the sanitizers that `value` asks for: a list, or `all`, or `none`. */
export function sanitizersOf(value: string): readonly string[] {
  const all = SANITIZERS.map(({ name }) => name);
  if (value === "all") return all;
  if (value === "none") return [];
  const names = manyOf("--sanitize", value, [...all, "all", "none"])!;
  if (names.includes("all") || names.includes("none")) {
    throw badValue("--sanitize", "be all or none alone, or names", value);
  }
  return names;
}
