/*
 * What a module needs of a kernel's headers, in so far as a loader looks at it:
 * struct module with its name where 64-bit kernels have it, modinfo, exports in
 * the form of 2.6.28. Written for these tests; nothing is taken from Linux.
 */
#ifndef LAB_MODULE_H
#define LAB_MODULE_H

typedef unsigned int u32;
typedef unsigned long u64;

struct list { struct list *next, *prev; };

struct module {
  int state;
  struct list list;
  char name[56];
  char rest[200];
  int (*init)(void);
  char more[96];
  void (*exit)(void);
  char refs[96];
};

#define SECTION(name) __attribute__((section(name), used))
#define INIT __attribute__((section(".init.text")))
#define INITDATA __attribute__((section(".init.data")))
#define EXIT __attribute__((section(".exit.text")))
#define PERCPU __attribute__((section(".data.percpu")))

#define CAT2(a, b) a##b
#define CAT(a, b) CAT2(a, b)
#define MODINFO(text) \
  static const char CAT(modinfo_, __COUNTER__)[] SECTION(".modinfo") = text

#define MODULE(title, licence, needs)                    \
  MODINFO("license=" licence);                           \
  MODINFO("depends=" needs);                             \
  MODINFO("vermagic=2.6.28 SMP mod_unload ");            \
  int init_module(void);                                 \
  void cleanup_module(void);                             \
  struct module __this_module                            \
      SECTION(".gnu.linkonce.this_module") = {           \
          .name = title,                                 \
          .init = init_module,                           \
          .exit = cleanup_module,                        \
  }

struct kernel_symbol { u64 value; const char *name; };

#define EXPORT(symbol, table)                                           \
  static const char CAT(name_of_, symbol)[] SECTION("__ksymtab_strings") = \
      #symbol;                                                          \
  static const struct kernel_symbol CAT(export_, symbol) SECTION(table) = { \
      (u64)&symbol, CAT(name_of_, symbol)}
#define EXPORT_SYMBOL(symbol) EXPORT(symbol, "__ksymtab")
#define EXPORT_SYMBOL_GPL(symbol) EXPORT(symbol, "__ksymtab_gpl")

int printk(const char *format, ...);
void *vmalloc(u64 size);
void vfree(const void *addr);

#endif
