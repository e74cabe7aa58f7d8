/* Whole numbers of the CPU device's loops. */
#pragma once
#include <stdint.h>

static inline int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* a >= 0, b > 0 */
static inline int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static inline int64_t product3(const int64_t a[3])
{
    return a[0] * a[1] * a[2];
}
