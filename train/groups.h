/* Groups of parameters: who learns how fast, who decays, who stays as it is.
 *
 *     optimizer:
 *       layer_decay: 0.75
 *       groups:
 *         - {match: "embedding*", frozen: true}
 *         - {match: "blocks/[0-3]/attention*", lr_scale: 0.1, decay_scale: 0}
 *
 * A pattern is fnmatch's (* any letters, slashes too; ? one; [0-3] one of these) over whole names, as `lockstep ckpt
 * info` prints them behind "model/". The first group that matches a parameter has it; a group that gets none is
 * refused, since a typing error there would only show in the result.
 *
 * Layer-wise decay (Clark et al. 2020, ELECTRA; Bao et al. 2022, BEiT): with L blocks, the learning rate of a parameter
 * is multiplied by layer_decay^(L + 1 - l), where l is 0 below the blocks, i + 1 in "blocks/i/", and L + 1 behind them
 * (final norm, head). What lies below and behind is told by the order in which the model lists its parameters; a head
 * that is tied to the embedding is an embedding. Group and layer multiply. */
#pragma once
#include "train/run.h"

#include <stdio.h>

typedef struct {
    int count;            /* of the recipe's groups */
    int *of;              /* [parameters] number of its group, -1: none */
    double *weight_decay; /* [parameters] */
} ls_groups;

/* Sets lr_scale and frozen of the parameters; before they are laid out. LS_ERECIPE: a pattern that gets no parameter,
 * with the nearest names; nothing left to train; layer_decay of a model without blocks. Close also after a failure. */
ls_status ls_groups_open(ls_groups *groups, const ls_optimizer_options *options, ls_parameter *parameters, int count);
void ls_groups_close(ls_groups *groups);
/* A line a group, for --dry-run; nothing where there are none. */
void ls_groups_print(const ls_groups *groups, const ls_optimizer_options *options, const ls_parameter *parameters,
                     int count, FILE *out);
