/* Convolutions of 3 x 3 with stride 1 as minimal filtering, F(2 x 2, 3 x 3) of Winograd as Lavin & Gray 2016 write it: 16
 * products make what 36 made.
 *
 *     d  a patch of 4 x 4 positions of x, two apart on both axes      y = A^T [(G w G^T) o (B^T d B)] A
 *     y  the 2 x 2 positions of the result in its midst               dw = G^T [(A dy A^T) o (B^T d B)] G, summed over patches
 *
 * For each of the 16 places the products over channels (in dw: over patches) are one matrix product by the kernels of product.h.
 * Transforms are sums of up to four numbers, halves in G alone, and written without fused multiply-adds: every level has their bits.
 * An infinite or missing number of x reaches all four results of its patches, where it would reach those that see it. */
#pragma once
#include "tensor/cpu/conv_gather.h"

enum { LS_WINOGRAD_PLACES = 16, LS_WINOGRAD_CHANNELS = 16 /* what counts of channels are multiples of */ };

/* Transforms of channels side by side; place e of the result, or of what is read, is `distance` floats from place e - 1. */
typedef struct {
    /* v = B^T d B */
    void (*patch)(int64_t channels, const float *const d[16], float *v, int64_t distance);
    /* y = A^T m A */
    void (*result)(int64_t channels, const float *m, int64_t distance, float *const y[4]);
    /* z = A dy A^T */
    void (*gradient)(int64_t channels, const float *const dy[4], float *z, int64_t distance);
    /* u = G w G^T */
    void (*weight)(int64_t channels, const float *const w[9], float *u, int64_t distance);
    /* dw += G^T p G */
    void (*weight_gradient)(int64_t channels, const float *p, int64_t distance, float *const dw[9]);
} ls_winograd_kernels;
const ls_winograd_kernels *ls_winograd_kernels_of(ls_numerics level);

/* f32 on two axes, one group, padding 1, channels in whole vectors, and enough patches to repay the weights' transform. */
bool ls_winograd_fits(const ls_grid *grid);
/* g: x and y, their channels and what is to be done with sums. w [outputs, 9, channels] of the forward convolution; `backward`: x is dy,
 * y its gradient in x. */
ls_status ls_winograd(const ls_conv_gather *g, const ls_grid *grid, const float *w, bool backward, ls_arena *scratch);
/* dw += the gradient in w */
ls_status ls_winograd_weight(ls_device *device, const ls_grid *grid, const float *x, const float *dy, float *dw, ls_arena *scratch);
