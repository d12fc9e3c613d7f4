/* Exports a function, a table of pointers, and, to the GPL alone, a counter. */
#include "lab_module.h"

int lab_counter = 7;
static int one(int x) { return x + 1; }
static int two(int x) { return x + 2; }

/* R_X86_64_64 in data; relocated before anybody reads it. */
int (*const lab_table[])(int) = {one, two, one, two, one};

/* R_X86_64_32S: an array indexed by a register, in the upper 2 GiB. */
__attribute__((noinline)) int lab_call(unsigned int which, int x) {
  lab_counter++;
  return lab_table[which % 5](x);
}

/* R_X86_64_PC64, R_X86_64_NONE, and R_X86_64_32 of an absolute symbol. */
__asm__(
    ".pushsection .rodata.lab, \"a\"\n"
    ".balign 8\n"
    "lab_distance: .quad lab_call - .\n"
    "lab_word: .long 0\n"
    ".reloc lab_word, R_X86_64_32, lab_absolute\n"
    ".reloc lab_word, R_X86_64_NONE, lab_call\n"
    ".globl lab_absolute\n"
    ".set lab_absolute, 0x12345678\n"
    ".popsection\n");

EXPORT_SYMBOL(lab_call);
EXPORT_SYMBOL(lab_table);
EXPORT_SYMBOL_GPL(lab_counter);

static char greeting[] INITDATA = "lab_base is here";

INIT int init_module(void) { return printk("%s\n", greeting) < 0; }
EXIT void cleanup_module(void) { printk("lab_base goes\n"); }

MODULE("lab_base", "GPL", "");
