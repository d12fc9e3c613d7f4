/** What `--help` prints. */
import { PRESETS } from "../../arch/hw/presets/index.ts";
import { QUIRKS } from "../../kernel/mm/quirks.ts";
import { SANITIZERS } from "../../kernel/sanitizers/index.ts";
import { PARAMETERS } from "../params.ts";
import { DEFAULT_OPS } from "../run.ts";
import { DISK_DRIVERS } from "../xfs_disk.ts";
import {
  DEFAULT_LAYERS,
  DEFAULT_PAGES,
  FORMATS,
  WORKLOADS,
} from "./options.ts";

/** The help text. */
export function helpText(): string {
  return `Boots an emulated SMP machine with a Linux 2.6.28 vmap layer and measures it.

Usage: deno task boot [OPTION]...

  --machine=NAME|FILE  machine to emulate (default ${Object.keys(PRESETS)[0]})
  --cpus=N             number of CPUs, 1..4096 (default: the machine's)
  --threads=N[,N]...   threads to run with, each 1..CPUs (default: powers of
                       two up to the CPUs, and all CPUs; xfs-large-dir and
                       modules: one a CPU)
  --vmap=NAME[,NAME]   vmap layers to run (default ${DEFAULT_LAYERS.join(",")};
                       xfs-ls: one, rewrite)
  --workload=NAME      ${WORKLOADS.slice(0, 3).join(", ")},
                       ${WORKLOADS.slice(3).join(", ")} (default: a mixed run
                       of several for a moment, then ${WORKLOADS[0]})
  --pages=N            pages of one mapping (default ${DEFAULT_PAGES})
  --ops=N              operations of each thread (default of
                       map-touch-unmap: ${DEFAULT_OPS.vmlist} on vmlist, ${DEFAULT_OPS.ram} on
                       rewrite, several purges; with few operations a lazy
                       layer pays for none)
  --disk=FILE          for the xfs workloads: image of a disk, raw, gzipped, or
                       an xfs_metadump (default: a small one that is built in)
  --disk-driver=NAME   ${DISK_DRIVERS.join(", ")}: who reads the disk of the xfs
                       workloads, the kernel from its memory (default), or on
                       Xen domain 0, over a ring and granted pages
  --pcap=FILE          for the xen workload: frames that the network front ends
                       carry, each compared when it comes back (default: made
                       up)
  --path=/DIR          for the xfs workloads: directory to list (default /), or
                       with directories to look names up in (default: /tree of
                       the image that is built in, / of others)
  --insmod=FILE[,FILE]...
                       kernel modules to load after the boot, x86-64 ELF (.ko)
  --ksyms=FILE         with --insmod: where a kernel has its symbols, in the
                       format of System.map
  --api=ram|vmap       map by vm_map_ram() or by vmap() (default: as in 2008,
                       vmap() on vmlist and vm_map_ram() on rewrite)
  --append="..."       kernel command line, see below
  --sanitize=NAME[,NAME]...|all
                       sanitizers to watch the kernel with, see below; they
                       take host time and no virtual time
  --seed=N             seed of everything random (default 1)
  --format=FORMAT      ${FORMATS.join(", ")} (default text)
  --quiet              no boot log, no progress, no rates
  --help, -h           this text

Machines (--machine=), or a file such as mine.json (docs/OUTPUT.md):
${
    rows(
      Object.values(PRESETS).map((
        { name, description },
      ) => [name, description]),
    )
  }

Kernel parameters (--append="vmap=vmlist loglevel=8"):
${
    rows(PARAMETERS.map(({ name, placeholder, help }) => [
      placeholder === "" ? name : `${name}=${placeholder}`,
      help,
    ]))
  }

Quirks (--append="vmap.quirk=NAME,NAME"), historic bugs:
${rows(QUIRKS.map(({ name, summary }) => [name, summary]))}

Sanitizers (--sanitize=):
${rows(SANITIZERS.map(({ name, summary }) => [name, summary]))}

Results go to standard output and depend on the arguments alone; progress and
host times go to standard error. Exit code: 0 = done, 1 = the emulated kernel
oopsed, a sanitizer found something, or it could not be done, 2 = the command
line is wrong, 141 = nobody reads the output.
`;
}

/** Indented lines of two columns; the second is wrapped at 80 characters. */
function rows(pairs: readonly (readonly [string, string])[]): string {
  const width = Math.max(...pairs.map(([name]) => name.length));
  const indent = " ".repeat(width + 4);
  return pairs.map(([name, text]) =>
    `  ${name.padEnd(width)}  ${
      wrap(text, 80 - indent.length).join(`\n${indent}`)
    }`
  ).join("\n");
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}
