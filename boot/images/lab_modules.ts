/** Four kernel modules that a compiler made from the sources in `tests/modules/`. */

/** Names of the modules; `lab_user` needs `lab_base`. */
export type LabModuleName = "lab_base" | "lab_user" | "lab_percpu" | "lab_big";

/**
 * Four kernel modules for x86-64, made by a compiler from the sources in
 * `tests/modules/`: ELF objects, by name. `lab_user` needs `lab_base`.
 *
 * @example
 * ```ts
 * import { labModules } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const { lab_base } = await labModules();
 * assertEquals([...lab_base.subarray(1, 4)], [0x45, 0x4c, 0x46]); // "ELF"
 * ```
 */
export async function labModules(): Promise<
  Readonly<Record<LabModuleName, Uint8Array>>
> {
  // Only now: who imports this need not want them.
  const { LAB_MODULES_DATA } = await import("./_lab_modules_data.ts");
  return {
    lab_base: await unpack(LAB_MODULES_DATA.lab_base),
    lab_user: await unpack(LAB_MODULES_DATA.lab_user),
    lab_percpu: await unpack(LAB_MODULES_DATA.lab_percpu),
    lab_big: await unpack(LAB_MODULES_DATA.lab_big),
  };
}

async function unpack(base64: string): Promise<Uint8Array> {
  const stream = new Blob([Uint8Array.fromBase64(base64)]).stream()
    .pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
