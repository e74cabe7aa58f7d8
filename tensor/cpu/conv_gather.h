/* A convolution as a product whose left operand is gathered: what conv.c, conv_weight.c, conv_padded.c and winograd.c share. Its gradients are
 * such convolutions as well. */
#pragma once
#include "tensor/cpu/cpu.h"
#include "tensor/cpu/product.h"

enum { LS_CONV_TILE_ROWS = 96, LS_CONV_TILE_COLUMNS = 512 };

typedef struct {
    int64_t offset[3]; /* from the position's origin in the source */
    int64_t number;    /* in the window, row by row */
    int64_t run;       /* this tap and those behind it that see neighbours on the last axis, in order */
} ls_conv_tap;

/* Position q of a pass lies at q * out_step + out_offset in the result, and sees the source at q * step + tap offset.
 */
typedef struct {
    int64_t q[3], step[3], out_step[3], out_offset[3];
    int64_t taps;
    ls_conv_tap *tap;
} ls_conv_pass;

/* A position of a pass. */
typedef struct {
    int64_t n, q[3];
} ls_conv_place;

static inline ls_conv_place ls_conv_place_of(const ls_conv_pass *p, int64_t position)
{
    ls_conv_place at_ = {.q = {0, 0, position % p->q[2]}};
    position /= p->q[2];
    at_.q[1] = position % p->q[1];
    position /= p->q[1];
    at_.q[0] = position % p->q[0];
    at_.n = position / p->q[0];
    return at_;
}

static inline void ls_conv_next_place(const ls_conv_pass *p, ls_conv_place *at_)
{
    if (++at_->q[2] < p->q[2])
        return;
    at_->q[2] = 0;
    if (++at_->q[1] < p->q[1])
        return;
    at_->q[1] = 0;
    if (++at_->q[0] < p->q[0])
        return;
    at_->q[0] = 0;
    at_->n++;
}

typedef struct {
    ls_device *device;
    const ls_product_kernels *kernels;
    ls_type type;
    int64_t batch, source[3], result[3];                    /* grids */
    int64_t source_channels, result_channels, depth, width; /* all; of one group */
    ls_conv_pass pass;
    int64_t positions; /* of the pass, over the batch */
    int64_t group, k;  /* k = taps * depth */
    int64_t units;     /* of k, as the kernels multiply it (product.h): k, or pairs of it */
    const void *x;
    void *y, *pre;
    bool accumulate;
    const float *bias;
    ls_activation activation;
    bool in_place;   /* positions follow one another in the result, and ls_conv_writes_sums */
    float *panels;   /* [ceil(width / panel)][units][panel] */
    int64_t sum_row; /* floats from one row of `sum` to the next: no more than needed, so that it stays in cache */
    float *staged, *sum; /* one for each thread: [96, chunk], [96, 512] */
} ls_conv_gather;

/* Bytes of a number in front of the kernels: of f32, or of bf16 where they multiply pairs. */
static inline int64_t ls_conv_size(const ls_conv_gather *g)
{
    return (int64_t)sizeof(float) / g->kernels->unit;
}

/* The kernels may write the result: nothing is to be done with their sums, and the columns are whole panels or halves. */
static inline bool ls_conv_writes_sums(const ls_conv_gather *g)
{
    const int64_t panel = g->kernels->width, rest = g->width % panel;
    return g->type == LS_F32 && !g->accumulate && !g->bias && !g->pre && g->activation == LS_ACT_NONE && (rest == 0 || rest == panel / 2);
}

static inline const char *ls_conv_at(const void *base, ls_type type, int64_t element)
{
    return (const char *)base + element * (int64_t)ls_type_size(type);
}

/* ---- conv_gather.c ---- */

/* to = x[element, element + count) as the kernels read numbers; element < 0: zeros. */
void ls_conv_take(const ls_conv_gather *g, const void *x, int64_t element, int64_t count, void *to);
/* Number of the source position that `tap` sees from `from`; -1: outside. */
int64_t ls_conv_seen(const int64_t source[3], const ls_conv_pass *p, const ls_conv_place *from, const ls_conv_tap *tap);
/* Columns [first, first + count) of A for `rows` positions from `from` on, `pitch` numbers apart. */
void ls_conv_stage(const ls_conv_gather *g, ls_conv_place from, int64_t rows, int64_t first, int64_t count, int64_t pitch, void *a);
ls_conv_tap ls_conv_tap_of(const ls_grid *grid, int64_t number);
/* The runs of its taps, in the order in which they are there. */
void ls_conv_find_runs(ls_conv_pass *p);
/* Forward: positions of the result; all_taps: with the window's taps. */
void ls_conv_forward_pass(const ls_grid *grid, ls_conv_pass *p);
void ls_conv_all_taps(const ls_grid *grid, ls_conv_pass *p);
/* The sums of n channels of one position, from element of the result and channel `first` on: what is there, bias,
 * rounding, activation, as finish_row of matmul.c. Without a bias n may run over several positions. */
void ls_conv_finish(const ls_conv_gather *g, int64_t element, int64_t first, int64_t n, float *sum);

/* ---- conv_padded.c ---- */

/* Stride 1, result as large as the source, one group, and not so few positions a row that padding costs more than
 * staging. */
bool ls_conv_padded_fits(const ls_conv_gather *g);
/* The pass; panels are packed. */
ls_status ls_conv_padded(const ls_conv_gather *g, ls_arena *scratch);
/* dw [width, k] += the gradient in w; g has geometry and x alone. */
ls_status ls_conv_padded_weight(const ls_conv_gather *g, const void *dy, float *dw, ls_arena *scratch);

/* ---- conv_weight.c ---- */

/* dw += the gradient in w of f32, bf16 or f16, gathered or by conv_padded.c. */
ls_status ls_conv_direct_weight(ls_device *device, const ls_grid *grid, const void *x, const void *dy, float *dw, ls_arena *scratch);
