/* bf16 weights in twelve bits each, without loss, for decoding: a product of a few rows is as fast as the memory that its weights
 * come from (few_rows.h), and this is a quarter less of it.
 *
 * A bf16 number is a sign, 8 bits of exponent and 7 of fraction, and the exponents of weights that lie side by side are few: in a
 * group of 256 (16 columns, LS_TIGHT_UNITS units of k) they mostly lie in a window of sixteen below the largest, so four bits tell
 * them. A group where they do not keeps its sixteen bits. What is multiplied are the numbers themselves, in few_rows.h's
 * order, so no bit of a result changes.
 *
 *     panel of 16 columns   | one byte a group: the window's least exponent, or RAW | group | group | ...
 *     group                 LS_TIGHT_UNITS pieces, each of a pair of numbers of each column: 32 x 12 bits, or 32 x 16
 *
 * Twelve bits: sign, exponent less the window's, fraction. A group is 384 bytes, or 512; a panel's room is for the latter. */
#pragma once
#include "tensor/numerics.h"

#include <stdint.h>

enum {
    LS_TIGHT_COLUMNS = 16,
    LS_TIGHT_UNITS = 8,
    LS_TIGHT_ROWS = 4, /* of x at once */
};

/* Bytes of room for a panel of k units, which are whole groups. */
int64_t ls_tight_panel_bytes(int64_t k);

typedef struct {
    /* The panel of columns w [16, k], rows of pairs of bf16 ldw units apart. */
    void (*pack)(int64_t k, const float *w, int64_t ldw, uint8_t *panel);
    /* c[r * ldc + j] = sum over p of x[r * ldx + p] w[j, p], r < m <= LS_TIGHT_ROWS, j < 16, p < k. `next` [may be NULL]: the panel that will be
     * multiplied after this one. */
    void (*multiply)(int64_t m, int64_t k, const float *x, int64_t ldx, const uint8_t *panel, const uint8_t *next, float *c, int64_t ldc);
} ls_tight_kernels;

/* NULL: this processor has no AVX512_BF16 or no AVX512_VBMI, or the level is another. */
const ls_tight_kernels *ls_tight_kernels_for(ls_numerics level);
