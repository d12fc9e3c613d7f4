import type { Kernel } from "../kernel.ts";
import type { Sanitizer } from "./sanitizer.ts";

export class LockdepSanitizer implements Sanitizer {
  constructor(readonly k: Kernel) {}
}
