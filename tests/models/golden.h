/* What the tests against PyTorch's files share (tests/golden/make_golden.py and its siblings). */
#pragma once
#include "tests/models/workbench.h"

/* numbers() of make_golden.py. */
static inline double number(int parameter, int64_t i)
{
    uint32_t h = (uint32_t)i + (uint32_t)(parameter + 1) * 1000003u;
    h = (h ^ h >> 16) * 0x7feb352du;
    h = (h ^ h >> 16) * 0x846ca68bu;
    h ^= h >> 16;
    return (double)(h >> 8) / (1 << 24) - 0.5;
}

static inline bool ends_with(const char *name, const char *end)
{
    const size_t length = strlen(name), tail = strlen(end);
    return length >= tail && !strcmp(name + length - tail, end);
}

/* initial() of make_golden.py. */
static inline void fill(const ls_parameter *p, float *to)
{
    const bool one = ends_with(p->name, "gain") || ends_with(p->name, "running_variance");
    const bool small = ends_with(p->name, "bias") || ends_with(p->name, "running_mean");
    for (int64_t i = 0; i < p->count; i++) {
        double u = number(p->number, i);
        to[i] = (float)(one ? 1 + 0.2 * u : small ? 0.2 * u : 0.5 * u);
    }
}

static inline int64_t option(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

static inline int32_t *integers(const json_t *root, const char *key, int64_t n)
{
    const json_t *array = json_object_get(root, key);
    cr_assert_eq((int64_t)json_array_size(array), n, "%s", key);
    int32_t *x = calloc((size_t)n, sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = (int32_t)json_integer_value(json_array_get(array, (size_t)i));
    return x;
}

static inline double relative_error(const float *x, const json_t *want)
{
    double error = 0, norm = 0;
    for (size_t i = 0; i < json_array_size(want); i++) {
        double y = json_number_at(want, i), e = (double)x[i] - y;
        error += e * e;
        norm += y * y;
    }
    return sqrt(error / norm);
}

/* flat: the gradients of all parameters; want: by name, but for running statistics. */
static inline void expect_gradients(const workbench *w, const float *flat, const json_t *want)
{
    size_t expected = 0;
    for (int i = 0; i < w->count; i++) {
        const ls_parameter *p = &w->parameters[i];
        const json_t *gradient = json_object_get(want, p->name);
        if (p->statistic)
            continue;
        expected++;
        cr_assert_eq((int64_t)json_array_size(gradient), p->count, "%s", p->name);
        double norm = 0, whole = 0, error;
        for (int64_t j = 0; j < p->count; j++)
            norm += pow(json_number_at(gradient, (size_t)j), 2);
        if (strstr(p->name, "key/bias") && norm < 1e-20) { /* without rotary positions exactly 0 in theory (softmax ignores a shift) */
            for (int64_t j = 0; j < p->count; j++)
                whole += pow((double)flat[p->offset + j], 2);
            cr_expect(whole < 1e-12, "%s: %g", p->name, sqrt(whole));
            continue;
        }
        error = relative_error(flat + p->offset, gradient);
        cr_expect_leq(error, 1e-5, "gradient of %s: relative error %g", p->name, error);
    }
    cr_assert_eq(json_object_size(want), expected, "the file has other parameters");
}
