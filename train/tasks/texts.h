/* The texts of a grain: which cells of its rows belong together, and where each ends. What tasks need that judge a text
 * as a whole (reward, dpo), where sft needs labels alone. Texts are numbered through the rows of the grain, in order.
 */
#pragma once
#include "train/run.h"

typedef struct {
    int64_t count;
    const int32_t *last; /* [count] cell (row * T + position) of its last token */
    const int32_t *of;   /* [B*T] number of the text that a cell belongs to; -1: padding */
    const float *value;  /* [count] (datasets/shard.h); zeros where the grain has none */
} ls_texts;

/* In the tape's arena, until the reset. On an error (LS_EMEM, sticky) count is 0. */
ls_texts ls_texts_of(ls_tape *tape, const ls_grain *grain);
/* LS_ERECIPE unless the run's data, training and held out, has one of the forms in `forms` (bits 1 << ls_shards_form).
 */
ls_status ls_texts_check_data(ls_run *run, unsigned forms);
