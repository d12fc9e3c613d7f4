import type { Kernel } from "../kernel.ts";
import type { Sanitizer } from "./sanitizer.ts";

export class RcuSanitizer implements Sanitizer {
  constructor(readonly k: Kernel) {}
}
