import type { Kernel } from "../kernel.ts";
import type { Sanitizer } from "./sanitizer.ts";

export class KasanSanitizer implements Sanitizer {
  constructor(readonly k: Kernel) {}
}
