import { assert, assertEquals } from "@std/assert";
import * as errno from "./errno.ts";

Deno.test("errname() names every constant, negated or not", () => {
  for (const [name, n] of Object.entries(errno)) {
    if (typeof n !== "number" || name === "MAX_ERRNO") continue;
    assertEquals(errno.errname(n), name);
    assertEquals(errno.errname(errno.err(n)), name);
  }
  assertEquals(errno.errname(-999), "errno 999");
  assertEquals(errno.errname(0), "0");
});

Deno.test("IS_ERR_VALUE() tells failures from values", () => {
  assert(errno.IS_ERR_VALUE(errno.err(errno.ENOMEM)));
  assert(!errno.IS_ERR_VALUE(0));
  assert(!errno.IS_ERR_VALUE(0xc200_0000_0000));
  assert(!errno.IS_ERR_VALUE(-4096));
});
