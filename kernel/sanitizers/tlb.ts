import type { Kernel } from "../kernel.ts";
import type { Sanitizer } from "./sanitizer.ts";

export class TlbSanitizer implements Sanitizer {
  constructor(readonly k: Kernel) {}
}
