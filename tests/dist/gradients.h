/* Gradients whose sum shows every wrong order of additions, and their sum by the definition of the tree. */
#pragma once
#include "base/random.h"
#include "dist/tree.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Element i of the gradient of a grain in a step: either sign, magnitudes from 1e-6 to 1e6. */
static inline float gradient_at(int64_t step, int64_t grain, int64_t i)
{
    uint32_t counter[4] = {(uint32_t)i, (uint32_t)grain, (uint32_t)step, 0}, key[2] = {17, 4}, bits[4];
    ls_philox4x32(counter, key, bits);
    static const float scale[13] = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1.f, 1e1f, 1e2f, 1e3f, 1e4f, 1e5f, 1e6f};
    return ((float)bits[0] / 4294967296.f - 0.5f) * scale[bits[1] % 13];
}

static inline void fill_gradient(float *gradient, int64_t step, int64_t grain, int64_t elements)
{
    for (int64_t i = 0; i < elements; i++)
        gradient[i] = gradient_at(step, grain, i);
}

/* The definition, word by word: node = left child, plus right child where there is one. leaf [grains][elements]. */
__attribute__((noinline)) static float tree_node_sum(const float *leaf, int64_t elements, int64_t i, int64_t grains,
                                                     int level, int64_t index)
{
    if (level == 0)
        return leaf[index * elements + i];
    float left = tree_node_sum(leaf, elements, i, grains, level - 1, 2 * index);
    if ((2 * index + 1) << (level - 1) >= grains)
        return left;
    return left + tree_node_sum(leaf, elements, i, grains, level - 1, 2 * index + 1);
}

static inline void tree_sum(float *sum, const float *leaf, int64_t elements, int64_t grains)
{
    int top = 0;
    while (INT64_C(1) << top < grains)
        top++;
    for (int64_t i = 0; i < elements; i++)
        sum[i] = tree_node_sum(leaf, elements, i, grains, top, 0);
}

static inline int64_t first_difference(const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0)
            return i;
    return -1;
}
