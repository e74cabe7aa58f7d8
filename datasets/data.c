/* Data of a run: sources opened, rows planned, positions turned into filled grains. See loader.h.
 * After ls_data_open nothing here is written (but the sampler, when a task asks), so any thread may fill. */
#include "base/hash.h"
#include "datasets/rows.h"

#include <stdlib.h>

typedef struct {
    ls_shards *shards;
    ls_row_plan plan;
    int64_t first_sample; /* samples are numbered through all sources */
} data_source;

struct ls_data {
    ls_data_options options;
    int sources;
    data_source source[LS_MAX_SOURCES];
    ls_sampler *sampler;
    int64_t samples;
    uint64_t hash;
};

static ls_status check_options(const ls_data_options *options)
{
    if (options->sources.count < 1 || options->sources.count > LS_MAX_SOURCES)
        return ls_fail(LS_ERECIPE, "%d data sets are named, must be 1 .. %d", options->sources.count, LS_MAX_SOURCES);
    if (options->tokens < 2 || options->tokens > INT32_MAX)
        return ls_fail(LS_ERECIPE, "rows of %lld tokens (batch.tokens), must be 2 .. %d", (long long)options->tokens, INT32_MAX);
    return LS_OK;
}

static ls_status open_source(ls_data *data, int k)
{
    data_source *source = &data->source[k];
    ls_status status = ls_shards_open(&source->shards, data->options.sources.source[k].path, false);
    if (status != LS_OK)
        return status;
    const ls_shards *first = data->source[0].shards, *this = source->shards;
    if (ls_shards_tokenizer_hash(this) != ls_shards_tokenizer_hash(first) || ls_shards_vocabulary(this) != ls_shards_vocabulary(first))
        return ls_fail(LS_ERECIPE, "%s and %s were packed with different tokenizers (vocabularies of %lld and %lld); pack both with one",
                       ls_shards_folder(first), ls_shards_folder(this), (long long)ls_shards_vocabulary(first),
                       (long long)ls_shards_vocabulary(this));
    source->first_sample = data->samples;
    data->samples += ls_shards_samples(this);
    const uint64_t sum = ls_shards_hash(this);
    data->hash = ls_hash_bytes(&sum, sizeof sum, data->hash);
    return ls_row_plan_make(&source->plan, this, &data->options);
}

static ls_status make_sampler(ls_data *data)
{
    int64_t rows[LS_MAX_SOURCES];
    double weights[LS_MAX_SOURCES];
    for (int k = 0; k < data->sources; k++) {
        rows[k] = data->source[k].plan.rows;
        weights[k] = data->sources > 1 ? data->options.sources.source[k].weight : 1;
    }
    return ls_sampler_create(&data->sampler, &(ls_sampler_options){.sources = data->sources, .rows = rows, .weights = weights,
                                                                   .shuffle = data->options.shuffle, .seed = data->options.seed});
}

ls_status ls_data_open(ls_data **out, const ls_data_options *options)
{
    *out = NULL;
    ls_status status = check_options(options);
    if (status != LS_OK)
        return status;
    ls_data *data = calloc(1, sizeof *data);
    if (!data)
        return ls_fail(LS_EMEM, "no memory to open the data");
    data->options = *options;
    data->hash = LS_HASH_SEED;
    while (data->sources < options->sources.count && status == LS_OK)
        status = open_source(data, data->sources++);
    if (status == LS_OK)
        status = make_sampler(data);
    if (status == LS_OK)
        *out = data;
    else
        ls_data_free(data);
    return status;
}

void ls_data_free(ls_data *data)
{
    if (!data)
        return;
    for (int k = 0; k < data->sources; k++) {
        ls_row_plan_free(&data->source[k].plan);
        ls_shards_free(data->source[k].shards);
    }
    ls_sampler_free(data->sampler);
    free(data);
}

int64_t ls_data_rows(const ls_data *data)
{
    return ls_sampler_epoch_rows(data->sampler);
}

int64_t ls_data_samples(const ls_data *data)
{
    return data->samples;
}

int64_t ls_data_vocabulary(const ls_data *data)
{
    return ls_shards_vocabulary(data->source[0].shards);
}

double ls_data_fill(const ls_data *data)
{
    int64_t placed = 0, positions = 0;
    for (int k = 0; k < data->sources; k++) {
        placed += data->source[k].plan.placed;
        positions += data->source[k].plan.rows * data->source[k].plan.tokens;
    }
    return (double)placed / (double)positions;
}

uint64_t ls_data_hash(const ls_data *data)
{
    return data->hash;
}

uint64_t ls_data_tokenizer_hash(const ls_data *data)
{
    return ls_shards_tokenizer_hash(data->source[0].shards);
}

const char *ls_data_tokenizer_path(const ls_data *data)
{
    return ls_shards_tokenizer_path(data->source[0].shards);
}

const char *ls_data_template(const ls_data *data)
{
    return ls_shards_template(data->source[0].shards);
}

int64_t ls_data_skipped(const ls_data *data)
{
    int64_t skipped = 0;
    for (int k = 0; k < data->sources; k++)
        skipped += data->source[k].plan.skipped;
    return skipped;
}

int64_t ls_data_truncated(const ls_data *data)
{
    int64_t truncated = 0;
    for (int k = 0; k < data->sources; k++)
        truncated += data->source[k].plan.truncated;
    return truncated;
}

ls_sampler *ls_data_sampler(ls_data *data)
{
    return data->sampler;
}

int64_t ls_data_step_rows(const ls_data *data, int64_t rows_per_step, int64_t position)
{
    if (data->options.epochs == 0)
        return rows_per_step;
    int64_t left = data->options.epochs * ls_data_rows(data) - position;
    left = left < 0 ? 0 : left;
    return left < rows_per_step ? left : rows_per_step;
}

ls_status ls_data_counted(const ls_data *data, int64_t position, int64_t rows, int64_t *counted)
{
    *counted = 0;
    for (int64_t i = 0; i < rows; i++) {
        const ls_draw draw = ls_sampler_draw(data->sampler, position + i);
        const data_source *source = &data->source[draw.source];
        int64_t one;
        ls_status status = ls_row_counted(&source->plan, source->shards, draw.row, &one);
        if (status != LS_OK)
            return status;
        *counted += one;
    }
    return LS_OK;
}

ls_status ls_data_fill_grain(const ls_data *data, int64_t position, int64_t rows, int32_t *ids, int32_t *labels, int32_t *positions,
                             int32_t *segments, int64_t *samples, int64_t *counted)
{
    *counted = 0;
    for (int64_t i = 0; i < rows; i++) {
        const ls_draw draw = ls_sampler_draw(data->sampler, position + i);
        const data_source *source = &data->source[draw.source];
        const int64_t at = i * data->options.tokens;
        int64_t one;
        ls_status status = ls_row_fill(&source->plan, source->shards, draw.row, ids + at, labels + at, positions + at, segments + at,
                                       &samples[i], &one);
        if (status != LS_OK)
            return status;
        samples[i] += source->first_sample;
        *counted += one;
    }
    return LS_OK;
}

int64_t ls_data_tokens(const ls_data *data)
{
    return data->options.tokens;
}

int64_t ls_data_grain_rows(const ls_data *data)
{
    return data->options.grain;
}
