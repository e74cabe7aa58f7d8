/* Rows of text sets: samples packed, streamed, or one each (rows.h); of pairs and outcomes the same way. */
#include "datasets/source.h"

static ls_status open_text(ls_source *source, const ls_data_options *options)
{
    if (options->tokens < 2 || options->tokens > INT32_MAX)
        return ls_fail(LS_ERECIPE, "rows of %lld tokens (batch.tokens), must be 2 .. %d", (long long)options->tokens, INT32_MAX);
    if (ls_augment_any(&options->augment))
        return ls_fail(LS_ERECIPE, "%s holds text: section augment is for images, leave it out", source->path);
    ls_status status = ls_shards_open(&source->shards, source->path, false);
    if (status == LS_OK)
        status = ls_row_plan_make(&source->plan, source->shards, options);
    if (status != LS_OK)
        return status;
    source->rows = source->plan.rows;
    source->samples = ls_shards_samples(source->shards);
    source->positions = source->plan.rows * source->plan.tokens;
    source->placed = source->plan.placed;
    source->hash = ls_shards_hash(source->shards);
    return LS_OK;
}

static void close_text(ls_source *source)
{
    ls_row_plan_free(&source->plan);
    ls_shards_free(source->shards);
}

static ls_status text_fits(ls_source *source, const ls_source *first)
{
    const ls_shards *a = first->shards, *b = source->shards;
    if (ls_shards_tokenizer_hash(a) == ls_shards_tokenizer_hash(b) && ls_shards_vocabulary(a) == ls_shards_vocabulary(b))
        return LS_OK;
    return ls_fail(LS_ERECIPE, "%s and %s were packed with different tokenizers (vocabularies of %lld and %lld); pack both with one", first->path,
                   source->path, (long long)ls_shards_vocabulary(a), (long long)ls_shards_vocabulary(b));
}

static ls_status count_text(const ls_source *source, int64_t row, int64_t *counted)
{
    return ls_row_counted(&source->plan, source->shards, row, counted);
}

static ls_status fill_text(const ls_source *source, int64_t row, int64_t at, const ls_random *stream, ls_grain_memory *m,
                           int64_t *counted)
{
    (void)stream;
    const int64_t cell = at * source->plan.tokens;
    const ls_row_cells cells = {m->ids + cell, m->labels + cell, m->positions + cell, m->segments + cell, m->values ? m->values + cell : NULL};
    return ls_row_fill(&source->plan, source->shards, row, &cells, &m->samples[at], counted);
}

const ls_source_kind ls_source_text = {"text", open_text, close_text, text_fits, count_text, fill_text};
const ls_source_kind ls_source_pairs = {"pairs", open_text, close_text, text_fits, count_text, fill_text};
const ls_source_kind ls_source_outcomes = {"outcomes", open_text, close_text, text_fits, count_text, fill_text};
