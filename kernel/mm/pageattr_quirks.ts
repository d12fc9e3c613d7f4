/** Mistakes around change_page_attr() that can be put in by name: `pageattr.quirk=NAME[,NAME]`. */

/** One named quirk. */
export interface PageattrQuirk {
  /** What `pageattr.quirk=` takes. */
  readonly name: string;
  /** What goes wrong, in a line. */
  readonly summary: string;
}

/** Every quirk there is. None of them was ever in a release. */
export const PAGEATTR_QUIRKS: readonly PageattrQuirk[] = [
  {
    name: "no-unmap-aliases",
    summary:
      "attributes change while lazily unmapped aliases keep the old ones: memory types conflict, read-only pages stay writable",
  },
  {
    name: "no-flush",
    summary: "TLBs keep the old attributes of what has changed",
  },
];
