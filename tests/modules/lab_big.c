/* A table of 24 KiB with a pointer in every entry, and as much again to be freed after init. */
#include "lab_module.h"

struct entry { u64 key; const void *to; };
#define E(i) {i, &big_table[(i) * 7 % 1536]}
#define E4(i) E(i), E(i + 1), E(i + 2), E(i + 3)
#define E16(i) E4(i), E4(i + 4), E4(i + 8), E4(i + 12)
#define E64(i) E16(i), E16(i + 16), E16(i + 32), E16(i + 48)
#define E512(i) \
  E64(i), E64(i + 64), E64(i + 128), E64(i + 192), E64(i + 256), \
      E64(i + 320), E64(i + 384), E64(i + 448)
extern struct entry big_table[1536];
struct entry big_table[1536] = {E512(0), E512(512), E512(1024)};
static u64 once[1024] INITDATA = {42};

__attribute__((noinline)) u64 big_walk(u64 from, int steps) {
  const struct entry *e = &big_table[from % 1536];
  while (steps-- > 0) e = e->to;
  return e->key;
}

INIT int init_module(void) { return big_walk(once[0], once[1] + 5) == 0; }
EXIT void cleanup_module(void) { big_walk(1, 2); }

MODULE("lab_big", "GPL v2", "");
