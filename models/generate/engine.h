/* The generation engine: continuous batching over a paged key/value cache.
 *
 *     waiting rows  ->  slots (decoded together, one token a step)  ->  finished; the next waiting row takes the slot
 *
 * Prompts are read beside the decoding rows, at most `prompt_tokens` positions a step. Several samples of one prompt read
 * it once and share its pages. The model's weights are used where they lie.
 *
 * Nothing of the schedule shows in the text: an element of a matrix product is one chain of multiply-adds whatever else
 * is in the call (tensor/cpu/product.h), a row's attention walks its own pages, and draws come from {seed, row id,
 * position}. So rows may be dealt to slots, batches and ranks anyhow, and padding to a fixed shape is not needed:
 * tests/models/test_engine.c shuffles them and compares bits. */
#pragma once
#include "models/generate/generate.h"

typedef struct ls_engine ls_engine;

typedef struct {
    int64_t slots;         /* rows decoded together */
    int64_t pages;         /* of LS_PAGE positions in all; 0: enough for every slot at the model's context */
    int64_t prompt_tokens; /* positions of prompts read in one step; 0: 512 */
    bool weights_stay;     /* no weights on the device change while the engine is open: a few rows that draw many tokens then hold them (ls_hold_for_decoding) */
} ls_engine_options;

/* Row p * samples + s is sample s of prompt p. */
typedef struct {
    int64_t prompts, samples;
    const int32_t *ids;
    const int64_t *offsets; /* [prompts + 1] */
    const int64_t *row_ids; /* [rows], feed the RNG; NULL: 0.. */
    int32_t *out;           /* [rows, max_tokens] */
    int64_t *lengths;       /* [rows]; the stop token is not counted */
    uint8_t *ends;          /* [rows] ls_generate_end, or NULL */
} ls_generate_rows;

/* What the engine has done since it was opened. */
typedef struct {
    int64_t steps, prompt_tokens, new_tokens;
    int64_t shared_tokens; /* positions of prompts that were not read again */
} ls_engine_work;

/* The model and the device must outlive it; the model's weights may change between runs, unless they were said to stay. LS_EMEM. */
ls_status ls_engine_open(ls_engine **engine, ls_transformer *model, ls_device *device, const ls_engine_options *options);
void ls_engine_close(ls_engine *engine);
/* Draws all rows. After the first run with as many rows takes nothing from the heap. `token` [may be NULL] is called for each
 * row's tokens in order, the rows interleaved. LS_EARG: an empty prompt, one longer than the context, or one that needs more
 * pages than there are. */
ls_status ls_engine_run(ls_engine *engine, const ls_generate_options *how, const ls_generate_rows *rows, ls_generate_token token, void *context);
const ls_engine_work *ls_engine_done(const ls_engine *engine);
