/* Attention over keys in pages gives the bits of attention over rows, on any device: two sequences whose pages lie in no order, each
 * read in pieces beside the other. */
#pragma once
#include "tensor/device.h"
#include "tests/tensor/numbers.h"

typedef struct {
    int64_t heads, kv_heads, width, window;
} paged_shape;

/* Grouped queries, an odd width, one that is a whole row, a window that leaves a page out. */
static const paged_shape paged_shapes[] = {{3, 3, 20, 0}, {4, 2, 7, 0}, {2, 1, 64, 0}, {2, 2, 32, 40}};
enum { PAGED_SHAPES = sizeof paged_shapes / sizeof *paged_shapes, PAGED_ROWS = 2, PAGED_MOST = 150, PAGED_PAGES = 8 };
static const int64_t paged_lengths[PAGED_ROWS] = {PAGED_MOST, 70};
static const int32_t paged_pages[PAGED_ROWS][3] = {{5, 0, 3}, {7, 2, -1}};

static inline ls_attention_args paged_args(const paged_shape *s, ls_type type)
{
    return (ls_attention_args){.type = type, .batch = 1, .heads = s->heads, .kv_heads = s->kv_heads, .width = s->width, .causal = true, .window = s->window,
                               .scale = 1 / __builtin_sqrt((double)s->width)};
}

/* What attention over the whole row gives. */
static inline void paged_whole(ls_device *on, const paged_shape *s, ls_type type, int64_t length, const void *q, const void *k, const void *v, void *out, ls_arena *scratch)
{
    ls_attention_args whole = paged_args(s, type);
    whole.queries = whole.keys = length;
    whole.q = q, whole.k = k, whole.v = v, whole.out = out;
    cr_assert_eq(on->attention(on, &whole, scratch), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_device_wait(on), LS_OK, "%s", ls_fail_sentence());
}

/* Rows [0, length) of x [length, kv_heads, width] to their places in pages. */
static inline void paged_store(const paged_shape *s, ls_type type, int64_t length, const int32_t *pages, int64_t row, const void *x, void *to)
{
    const int64_t size = (int64_t)ls_type_size(type);
    for (int64_t t = 0; t < length; t++)
        for (int64_t h = 0; h < s->kv_heads; h++)
            memcpy((char *)to + ((pages[t / LS_PAGE] * s->kv_heads + h) * LS_PAGE + t % LS_PAGE) * row * size,
                   (const char *)x + (t * s->kv_heads + h) * s->width * size, (size_t)(s->width * size));
}

static inline void paged_equals_whole(ls_device *on, const paged_shape *s, ls_type type, ls_arena *scratch)
{
    static const int64_t pieces[PAGED_ROWS][4] = {{100, 1, 30, 19}, {1, 63, 1, 5}};
    const int64_t size = (int64_t)ls_type_size(type), row = (s->width + LS_PAGE_ROW - 1) / LS_PAGE_ROW * LS_PAGE_ROW;
    const int64_t q_row = s->heads * s->width, k_row = s->kv_heads * s->width, page = s->kv_heads * LS_PAGE * row;
    char *q[PAGED_ROWS], *want[PAGED_ROWS];
    char *keys = array_of(type, PAGED_PAGES * page), *values = array_of(type, PAGED_PAGES * page);
    for (int r = 0; r < PAGED_ROWS; r++) {
        const int64_t n = paged_lengths[r];
        void *k = numbers(type, n * k_row, 10 * (uint64_t)r, 1), *v = numbers(type, n * k_row, 10 * (uint64_t)r + 1, 1);
        q[r] = numbers(type, n * q_row, 10 * (uint64_t)r + 2, 1), want[r] = array_of(type, n * q_row);
        paged_whole(on, s, type, n, q[r], k, v, want[r], scratch);
        paged_store(s, type, n, paged_pages[r], row, k, keys), paged_store(s, type, n, paged_pages[r], row, v, values);
        free(k), free(v);
    }
    char *both = array_of(type, 2 * PAGED_MOST * q_row), *out = array_of(type, 2 * PAGED_MOST * q_row);
    for (int64_t i = 0, at[PAGED_ROWS] = {0}; i < 4; at[0] += pieces[0][i], at[1] += pieces[1][i], i++) {
        const ls_page_span span[PAGED_ROWS] = {{0, pieces[0][i], at[0], paged_pages[0]}, {pieces[0][i], pieces[1][i], at[1], paged_pages[1]}};
        ls_attention_args x = paged_args(s, type);
        x.queries = pieces[0][i] + pieces[1][i], x.keys = PAGED_MOST, x.spans = PAGED_ROWS, x.span = span, x.page_row = row;
        x.q = both, x.k = keys, x.v = values, x.out = out;
        for (int r = 0; r < PAGED_ROWS; r++)
            memcpy(both + span[r].row * q_row * size, q[r] + at[r] * q_row * size, (size_t)(span[r].queries * q_row * size));
        cr_assert_eq(on->attention(on, &x, scratch), LS_OK, "%s", ls_fail_sentence());
        cr_assert_eq(ls_device_wait(on), LS_OK, "%s", ls_fail_sentence());
        for (int r = 0; r < PAGED_ROWS; r++)
            cr_expect_eq(memcmp(out + span[r].row * q_row * size, want[r] + at[r] * q_row * size, (size_t)(span[r].queries * q_row * size)), 0,
                         "%s, width %d, sequence %d, positions from %d on", ls_type_name(type), (int)s->width, r, (int)at[r]);
    }
    for (int r = 0; r < PAGED_ROWS; r++)
        free(q[r]), free(want[r]);
    free(keys), free(values), free(both), free(out);
}
