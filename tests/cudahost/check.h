/* The judge of a kernel's accesses (check.cpp), asked by the compiler's calls (hooks.cpp). */
#ifndef CUDAHOST_CHECK_H
#define CUDAHOST_CHECK_H

#include <stddef.h>

enum check_kind { check_read, check_write, check_atomic };

/* The running thread is about to touch `size` bytes; `pc` is where it does. Does not return if it may not. */
void check_access(const void *address, size_t size, check_kind kind, const void *pc);

bool check_active(); /* inside a kernel, with checks on */

#endif
