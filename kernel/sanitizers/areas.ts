import type { Kernel } from "../kernel.ts";
import type { Sanitizer } from "./sanitizer.ts";

export class AreaSanitizer implements Sanitizer {
  constructor(readonly k: Kernel) {}
}
