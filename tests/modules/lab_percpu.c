/* Data of each CPU, and room of its own kind: .bss of several pages. */
#include "lab_module.h"

u64 lab_slots[16] PERCPU = {1, 2, 3, 4};
int lab_ticks PERCPU = 0x1234;
static unsigned char scratch[20000];
static u64 *where = lab_slots;

__attribute__((noinline)) u64 lab_look(unsigned int i) {
  scratch[i % sizeof scratch]++;
  return lab_slots[i & 15] + lab_ticks + (u64)where;
}

INIT int init_module(void) { return lab_look(3) == 0; }
EXIT void cleanup_module(void) { lab_look(4); }

MODULE("lab_percpu", "Dual BSD/GPL", "");
