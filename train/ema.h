/* Exponential moving average of the weights (Polyak & Juditsky 1992), fp32, of this rank's slice:
 *
 *     a <- a + (1 - d) (w - a)            after every `every`-th optimiser step, d = decay
 *     d_n = min(decay, (1 + n) / (10 + n))  with `warmup`, n the number of the update from 1 (TensorFlow's num_updates)
 *
 * a begins as the initial weights. d_n is a function of the step, so the average itself is the whole state: "ema/NAME".
 * An element depends on that element's weights alone, so neither rank count nor schedule can show.
 *
 * Running statistics (batch norm) are averaged as weights are, not copied: that is what timm (ModelEmaV3 without
 * exclude_buffers), Lightning (WeightAveraging, use_buffers) and TensorFlow's image models do, and it lets statistics
 * lag behind by as much as the weights that produced the activations. Frozen parameters have no average: they are their
 * own.
 *
 * Cost: 4 bytes a parameter over the ranks, and one more pass over the slice (reads 8, writes 4 bytes an element). */
#pragma once
#include "train/internal.h"

/* Allocates and fills nothing: ls_ema_begin or a checkpoint does. ema.decay 0: the average is off, and all others do
 * nothing. Close also after a failure. */
ls_status ls_ema_open(ls_ema *ema, const ls_ema_options *options, ls_flat *flat);
void ls_ema_close(ls_ema *ema);
bool ls_ema_is_evaluated(const ls_ema *ema);
/* The average is the weights. */
void ls_ema_begin(ls_ema *ema);
/* After optimiser step `step`, counted from 1. false: nothing was due. */
bool ls_ema_update(ls_ema *ema, int64_t step);
/* The decay of update n. */
double ls_ema_decay(const ls_ema_options *options, int64_t n);
/* Averaged weights and weights change places, and every rank gets the working copy: forward then uses the average. A
 * second call puts everything back to the bit. Collective. */
ls_status ls_ema_exchange(ls_ema *ema, ls_reducer *reducer, ls_world *world);
/* Registers "ema/NAME". */
ls_status ls_ema_state(ls_ema *ema, ls_state_tree *tree);
size_t ls_ema_bytes(const ls_ema_options *options, int64_t elements, int ranks); /* a rank needs, for the estimate */
