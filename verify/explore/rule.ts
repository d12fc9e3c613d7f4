/** No decisions: round robin by the rule of event.ts alone. */
import type { Chooser } from "./chooser.ts";

/** A schedule without decisions. */
export class RuleChooser implements Chooser {
  readonly due = Infinity;

  begin(): void {}

  decide(): void {}

  blocked(): null {
    return null;
  }
}
