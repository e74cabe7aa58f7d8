/* What the families of operator descriptions share: each .c beside this one holds builders, formulas and the table of
 * one family, named as its source in tensor/ops/. The formulas are written straight from inputs to result and share
 * nothing with tensor/: no strides, no shape rules, no kernels. */
#pragma once
#include "tests/tensor/operators.h"

#include <math.h>
#include <string.h>

static inline int64_t size(const operator_case *c, int input, int axis)
{
    return c->in[input].shape[axis];
}

static inline int32_t *numbers(ls_tape *tape, int64_t n, int32_t (*f)(int64_t i, int64_t limit), int64_t limit)
{
    int32_t *out = ls_arena_array(ls_tape_arena(tape), int32_t, n);
    for (int64_t i = 0; i < n; i++)
        out[i] = f(i, limit);
    return out;
}

/* What a builder and its formula both need (ids, labels, ...) is a function of the place. Indices with repeats; each
 * tenth is -1 where that is allowed. */
static inline int32_t index_at(int64_t i, int64_t limit)
{
    return (int32_t)((i * i * 7 + 3 * i + 1) % limit);
}

static inline int32_t index_or_none_at(int64_t i, int64_t limit)
{
    return i % 10 == 4 ? -1 : index_at(i, limit);
}

#define BIG_ONE                                                                                                        \
    {                                                                                                                  \
        "bench", {{2, {512, 4096}}},                                                                                   \
        {                                                                                                              \
            0                                                                                                          \
        }                                                                                                              \
    }
#define BIG_TWO                                                                                                        \
    {                                                                                                                  \
        "bench", {{2, {512, 4096}}, {2, {512, 4096}}},                                                                 \
        {                                                                                                              \
            0                                                                                                          \
        }                                                                                                              \
    }
#define BIG_ROWS                                                                                                       \
    {                                                                                                                  \
        "bench", {{2, {512, 4096}}},                                                                                   \
        {                                                                                                              \
            -1                                                                                                         \
        }                                                                                                              \
    }
