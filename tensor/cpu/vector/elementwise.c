/* Loops over elements without an elementary function: moving, adding, choosing, broadcasting arithmetic. */
#include "tensor/cpu/vector/prototypes.h"

void KERNEL(add_to)(int64_t n, const void *x_, void *y_)
{
    const element *x = x_;
    element *y = y_;
    INDEPENDENT for (int64_t i = 0; i < n; i++)
        y[i] = store(load(y + i) + load(x + i));
}

void KERNEL(add_real)(int64_t n, const void *x_, void *y_)
{
    const real *x = x_;
    element *y = y_;
    INDEPENDENT for (int64_t i = 0; i < n; i++)
        y[i] = store(load(y + i) + x[i]);
}

void KERNEL(fill)(int64_t n, double value, void *y_)
{
    element *y = y_;
    const element v = store((real)value);
    for (int64_t i = 0; i < n; i++)
        y[i] = v;
}

void KERNEL(widen)(int64_t n, const void *x_, void *y_)
{
    widen_run(n, x_, y_);
}

void KERNEL(narrow)(int64_t n, const void *x_, void *y_)
{
    narrow_run(n, x_, y_);
}

void KERNEL(where)(int64_t n, const uint8_t *condition, const void *a_, const void *b_, void *y_)
{
    const element *a = a_, *b = b_;
    element *y = y_;
    INDEPENDENT for (int64_t i = 0; i < n; i++)
    {
        const element chosen = a[i], other = b[i];
        y[i] = condition[i] ? chosen : other;
    }
}

/* Each gradient may be NULL. */
void KERNEL(where_backward)(int64_t n, const uint8_t *condition, const void *dy_, void *da_, void *db_)
{
    const element *dy = dy_;
    element *da = da_, *db = db_;
    if (da)
        INDEPENDENT for (int64_t i = 0; i < n; i++)
            da[i] = store(load(da + i) + (condition[i] ? load(dy + i) : 0));
    if (db)
        INDEPENDENT for (int64_t i = 0; i < n; i++)
            db[i] = store(load(db + i) + (condition[i] ? 0 : load(dy + i)));
}

/* The four ways in which an operand of a run is a vector or one repeated number, so that each loop vectorises.
 * v and w are the elements of a and b. */
#define EACH_PAIR(statement)                                                                                           \
    do {                                                                                                               \
        if (step_a && step_b) {                                                                                        \
            INDEPENDENT for (int64_t i = 0; i < n; i++) { const real v = load(a + i), w = load(b + i); statement; }    \
        } else if (step_a) {                                                                                           \
            const real w = load(b);                                                                                    \
            INDEPENDENT for (int64_t i = 0; i < n; i++) { const real v = load(a + i); statement; }                     \
        } else if (step_b) {                                                                                           \
            const real v = load(a);                                                                                    \
            INDEPENDENT for (int64_t i = 0; i < n; i++) { const real w = load(b + i); statement; }                     \
        } else {                                                                                                       \
            const real v = load(a), w = load(b);                                                                       \
            INDEPENDENT for (int64_t i = 0; i < n; i++) { statement; }                                                 \
        }                                                                                                              \
    } while (0)

void KERNEL(binary)(ls_binary op, int64_t n, const void *a_, int64_t step_a, const void *b_, int64_t step_b, void *y_)
{
    const element *a = a_, *b = b_;
    element *y = y_;
    if (n <= 0)
        return;
    switch (op) {
    case LS_BINARY_ADD: EACH_PAIR(y[i] = store(v + w)); break;
    case LS_BINARY_SUB: EACH_PAIR(y[i] = store(v - w)); break;
    case LS_BINARY_MUL: EACH_PAIR(y[i] = store(v * w)); break;
    case LS_BINARY_DIV: EACH_PAIR(y[i] = store(v / w)); break;
    case LS_BINARY_MIN: EACH_PAIR(y[i] = store((v < w) | (v != v) ? v : w)); break; /* a NaN on either side stays */
    case LS_BINARY_MAX: EACH_PAIR(y[i] = store((v > w) | (v != v) ? v : w)); break;
    case LS_BINARY_COUNT: break;
    }
}

/* Where both are equal, min and max share the gradient. */
always_inline real share(bool wins, bool ties)
{
    return (real)wins + (real)0.5 * (real)ties;
}

void KERNEL(binary_gradient)(ls_binary op, int operand, int64_t n, const void *a_, int64_t step_a, const void *b_,
                             int64_t step_b, const void *dy_, void *g_)
{
    const element *a = a_, *b = b_, *dy = dy_;
    real *g = g_;
    if (n <= 0)
        return;
    switch (2 * (int)op + operand) {
    case 2 * LS_BINARY_ADD:
    case 2 * LS_BINARY_ADD + 1:
    case 2 * LS_BINARY_SUB:
        for (int64_t i = 0; i < n; i++)
            g[i] = load(dy + i);
        break;
    case 2 * LS_BINARY_SUB + 1:
        for (int64_t i = 0; i < n; i++)
            g[i] = -load(dy + i);
        break;
    case 2 * LS_BINARY_MUL: EACH_PAIR(g[i] = load(dy + i) * w; (void)v); break;
    case 2 * LS_BINARY_MUL + 1: EACH_PAIR(g[i] = load(dy + i) * v; (void)w); break;
    case 2 * LS_BINARY_DIV: EACH_PAIR(g[i] = load(dy + i) / w; (void)v); break;
    case 2 * LS_BINARY_DIV + 1: EACH_PAIR(g[i] = -(load(dy + i) / w * (v / w))); break;
    case 2 * LS_BINARY_MIN: EACH_PAIR(g[i] = load(dy + i) * share(v < w, v == w)); break;
    case 2 * LS_BINARY_MIN + 1: EACH_PAIR(g[i] = load(dy + i) * share(w < v, v == w)); break;
    case 2 * LS_BINARY_MAX: EACH_PAIR(g[i] = load(dy + i) * share(v > w, v == w)); break;
    case 2 * LS_BINARY_MAX + 1: EACH_PAIR(g[i] = load(dy + i) * share(w > v, v == w)); break;
    default: break;
    }
}
