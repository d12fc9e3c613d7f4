/** `--machine=`: a preset's name, or a file that describes a machine. */
import { findPreset, PRESETS } from "../../arch/hw/presets/index.ts";
import type { MachineSpec } from "../../arch/hw/spec.ts";
import { SpecError, validateSpec } from "../../arch/hw/validate.ts";
import { type Io, ReadError } from "./io.ts";
import { jsonErrorAt } from "./json_position.ts";
import { readProblem } from "./read_problem.ts";
import { badChoice, UsageError } from "./usage.ts";

/**
 * The machine that `value` means: a preset, else what a file says if `value`
 * looks like one's path.
 *
 * @param args All arguments, to show the command that would work.
 * @throws {UsageError} If there is no such machine.
 */
export function findMachine(
  value: string,
  args: readonly string[],
  io: Io,
): MachineSpec {
  if (Object.hasOwn(PRESETS, value)) return findPreset(value);
  if (!/[/\\]|\.json$/i.test(value)) {
    throw badChoice(
      "--machine",
      Object.keys(PRESETS),
      value,
      " or a file such as mine.json",
    );
  }
  return named(parseMachine(readMachine(value, args, io), value), value);
}

function readMachine(path: string, args: readonly string[], io: Io): string {
  try {
    return io.readText(path).replace(/^\ufeff/, "");
  } catch (error) {
    if (!(error instanceof ReadError)) throw error;
    throw new UsageError(
      `Cannot read machine file ${JSON.stringify(path)}: ${
        readProblem(error, path, args)
      }`,
    );
  }
}

function parseMachine(text: string, path: string): MachineSpec {
  const file = `machine file ${JSON.stringify(path)}`;
  const problem = jsonErrorAt(text);
  if (problem !== null) {
    throw new UsageError(
      `Cannot read ${file}: it is not JSON, see line ${problem.line}, column ${problem.column}`,
    );
  }
  try {
    return validateSpec(JSON.parse(text));
  } catch (error) {
    if (!(error instanceof SpecError)) throw error;
    throw new UsageError(error.message.replace("machine file", () => file));
  }
}

/** Results under a preset's name are the preset's: a file that changes one goes by its own name. */
function named(spec: MachineSpec, path: string): MachineSpec {
  if (!Object.hasOwn(PRESETS, spec.name)) return spec;
  return { ...spec, name: path.replace(/^.*[/\\]/, "") };
}
