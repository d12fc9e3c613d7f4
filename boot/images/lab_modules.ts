/** Four kernel modules that a compiler made from the sources in `tests/modules/`. */
import { LAB_MODULES_DATA } from "./_lab_modules_data.ts";

/** Names of the modules; `lab_user` needs `lab_base`. */
export type LabModuleName = keyof typeof LAB_MODULES_DATA;

/** The objects, unpacked, by name. */
export async function labModules(): Promise<
  Readonly<Record<LabModuleName, Uint8Array>>
> {
  return {
    lab_base: await unpack("lab_base"),
    lab_user: await unpack("lab_user"),
    lab_percpu: await unpack("lab_percpu"),
    lab_big: await unpack("lab_big"),
  };
}

async function unpack(name: LabModuleName): Promise<Uint8Array> {
  const stream = new Blob([Uint8Array.fromBase64(LAB_MODULES_DATA[name])])
    .stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
