/* Needs lab_base and the kernel; a weak symbol that nobody has. */
#include "lab_module.h"

extern int lab_counter;
extern int (*const lab_table[])(int);
int lab_call(unsigned int which, int x);
void lab_nobody(void) __attribute__((weak));

static void *buffer;
int *counter_at = &lab_counter;

struct ops {
  const char *name;
  int (*call)(unsigned int, int);
  void *(*alloc)(u64);
};
static const struct ops ops[] = {
    {"base", lab_call, vmalloc},
    {"again", lab_call, vmalloc},
};

__attribute__((noinline)) int use_lab(unsigned int i) {
  if (lab_nobody) lab_nobody();
  return ops[i & 1].call(i, *counter_at) + lab_table[1](2);
}

static int wanted INITDATA = 3;

INIT int init_module(void) {
  buffer = vmalloc(8192);
  printk("%s: %d\n", ops[1].name, use_lab(wanted));
  return buffer == 0;
}
EXIT void cleanup_module(void) { vfree(buffer); }

MODULE("lab_user", "GPL", "lab_base");
