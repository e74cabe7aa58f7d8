/* Operators on images and other grids, channels last: x [N, L1, .., Ld, C] with d = 1, 2 or 3 grid axes (in text: length;
 * height, width; time, height, width). Channels last because a position's channels are then one run of memory: products,
 * norms and pooling all go along it. Weights of files in PyTorch's order [O, I, ...] are permuted on import.
 * Errors as in ops.h. */
#pragma once
#include "tensor/ops.h"

/* One entry a grid axis; 0 in stride, dilation or groups means 1. */
typedef struct {
    int64_t stride[3], padding[3], dilation[3], groups;
} ls_conv_options;

/* act(x * w + bias), cross-correlation as in PyTorch: w [O, K1, .., Kd, C / groups], bias [O] or NULL. groups = C:
 * depthwise. Result [N, (L + 2 padding - dilation (K - 1) - 1) / stride + 1, .., O]. options NULL: all defaults. */
ls_tensor *ls_conv(ls_tape *tape, ls_tensor *x, ls_tensor *w, ls_tensor *bias, const ls_conv_options *options, ls_activation act);
/* Its transpose (the gradient of ls_conv in x): w [C, K1, .., Kd, O / groups]. Result
 * [N, (L - 1) stride - 2 padding + dilation (K - 1) + output_padding + 1, .., O]; output_padding NULL: 0. */
ls_tensor *ls_conv_transpose(ls_tape *tape, ls_tensor *x, ls_tensor *w, ls_tensor *bias, const ls_conv_options *options, const int64_t *output_padding);

/* LS_POOL_MAX: padding never wins; gradient to the first greatest. LS_POOL_AVERAGE: over the positions that exist.
 * LS_POOL_AVERAGE_PADDED: padding counts as zeros (PyTorch's count_include_pad). */
ls_tensor *ls_pooling(ls_tape *tape, ls_tensor *x, ls_pooling_kind kind, const int64_t *window, const int64_t *stride, const int64_t *padding); /* stride NULL: window; padding NULL: 0 */
ls_tensor *ls_global_pooling(ls_tape *tape, ls_tensor *x, ls_pooling_kind kind); /* [N, ..., C] -> [N, C] */

/* To `size` positions on each grid axis, more or fewer: PyTorch's interpolate(size=...). LS_UPSAMPLE_NEAREST: mode nearest.
 * LS_UPSAMPLE_BILINEAR: mode bilinear (linear along one axis, trilinear along three), align_corners=False;
 * LS_UPSAMPLE_BILINEAR_CORNERS: align_corners=True. Formulas: tensor/cpu/upsampling.c. */
ls_tensor *ls_upsampling(ls_tape *tape, ls_tensor *x, ls_upsampling_kind kind, const int64_t *size);

/* Batch norm over all axes but the last (Ioffe & Szegedy 2015). While recording: statistics of this grain, and the grain's
 * contribution to the running ones goes to `ready` with the gradients (ls_tape_fold). In a no-grad scope: the running
 * statistics. running_mean, running_variance [C]: uses of parameters with `statistic` set, or both NULL: always the
 * grain's own statistics, none kept. The running variance is the unbiased one (PyTorch). */
ls_tensor *ls_batch_norm(ls_tape *tape, ls_tensor *x, ls_tensor *gain, ls_tensor *bias, ls_tensor *running_mean, ls_tensor *running_variance, double eps);
/* Group norm (Wu & He 2018): statistics over the grid and the C / groups channels of a group, each sample alone. */
ls_tensor *ls_group_norm(ls_tape *tape, ls_tensor *x, int64_t groups, ls_tensor *gain, ls_tensor *bias, double eps);
