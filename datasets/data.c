/* Data of a run: sources opened, rows planned, positions turned into filled grains. See loader.h.
 * After ls_data_open nothing here is written (but the sampler, when a task asks), so any thread may fill. */
#include "base/hash.h"
#include "datasets/image_format.h"
#include "datasets/source.h"

#include <stdlib.h>
#include <string.h>

struct ls_data {
    ls_data_options options;
    int sources;
    ls_source source[LS_MAX_SOURCES];
    ls_sampler *sampler;
    int64_t samples;
    uint64_t hash;
};

static const ls_source_kind *const kinds[] = {&ls_source_text, &ls_source_pairs, &ls_source_outcomes, &ls_source_images};

static ls_status find_kind(ls_source *source)
{
    char kind[16];
    const ls_status status = ls_data_set_kind(source->path, kind);
    if (status != LS_OK)
        return status;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i]->kind, kind) == 0)
            source->kind = kinds[i];
    return source->kind ? LS_OK : ls_fail(LS_EFORMAT, "%s: holds samples of kind '%s', this lockstep knows text, pairs, outcomes and image", source->path, kind);
}

static ls_status open_source(ls_data *data, int k)
{
    ls_source *source = &data->source[k];
    source->path = data->options.sources.source[k].path;
    ls_status status = find_kind(source);
    if (status == LS_OK && source->kind != data->source[0].kind)
        status = ls_fail(LS_ERECIPE, "%s holds %s, %s holds %s; one run reads one kind", data->source[0].path, data->source[0].kind->kind, source->path,
                         source->kind->kind);
    if (status == LS_OK)
        status = source->kind->open(source, &data->options);
    if (status == LS_OK && k)
        status = source->kind->fits(source, &data->source[0]);
    if (status != LS_OK)
        return status;
    source->first_sample = data->samples;
    data->samples += source->samples;
    data->hash = ls_hash_bytes(&source->hash, sizeof source->hash, data->hash);
    return LS_OK;
}

static ls_status make_sampler(ls_data *data)
{
    int64_t rows[LS_MAX_SOURCES];
    double weights[LS_MAX_SOURCES];
    for (int k = 0; k < data->sources; k++) {
        rows[k] = data->source[k].rows;
        weights[k] = data->sources > 1 ? data->options.sources.source[k].weight : 1;
    }
    return ls_sampler_create(&data->sampler, &(ls_sampler_options){.sources = data->sources, .rows = rows, .weights = weights,
                                                                   .shuffle = data->options.shuffle, .seed = data->options.seed});
}

ls_status ls_data_open(ls_data **out, const ls_data_options *options)
{
    *out = NULL;
    if (options->sources.count < 1 || options->sources.count > LS_MAX_SOURCES)
        return ls_fail(LS_ERECIPE, "%d data sets are named, must be 1 .. %d", options->sources.count, LS_MAX_SOURCES);
    ls_data *data = calloc(1, sizeof *data);
    if (!data)
        return ls_fail(LS_EMEM, "no memory to open the data");
    data->options = *options;
    data->hash = LS_HASH_SEED;
    ls_status status = LS_OK;
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
    for (int k = 0; k < data->sources; k++)
        if (data->source[k].kind)
            data->source[k].kind->close(&data->source[k]);
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
    return data->source[0].shards ? ls_shards_vocabulary(data->source[0].shards) : 0;
}

ls_shards_form ls_data_form(const ls_data *data)
{
    return data->source[0].shards ? ls_shards_form_of(data->source[0].shards) : LS_SHARDS_TEXT;
}

double ls_data_fill(const ls_data *data)
{
    int64_t placed = 0, positions = 0;
    for (int k = 0; k < data->sources; k++) {
        placed += data->source[k].placed;
        positions += data->source[k].positions;
    }
    return (double)placed / (double)positions;
}

uint64_t ls_data_hash(const ls_data *data)
{
    return data->hash;
}

uint64_t ls_data_tokenizer_hash(const ls_data *data)
{
    return data->source[0].shards ? ls_shards_tokenizer_hash(data->source[0].shards) : 0;
}

const char *ls_data_tokenizer_path(const ls_data *data)
{
    return data->source[0].shards ? ls_shards_tokenizer_path(data->source[0].shards) : NULL;
}

const char *ls_data_template(const ls_data *data)
{
    return data->source[0].shards ? ls_shards_template(data->source[0].shards) : "";
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
        const ls_source *source = &data->source[draw.source];
        int64_t one;
        ls_status status = source->kind->counted(source, draw.row, &one);
        if (status != LS_OK)
            return status;
        *counted += one;
    }
    return LS_OK;
}

/* The next `bytes` of a block that begins at `base`, at a multiple of 64; with base NULL only counts them. */
static void *part(char *base, size_t *at, size_t bytes)
{
    char *begin = base ? base + *at : NULL;
    *at += (bytes + 63) / 64 * 64;
    return begin;
}

/* Lays the arrays that a model reads into a block; its bytes. */
static size_t lay_out(ls_grain_memory *m, const ls_data *data, char *base)
{
    const size_t rows = (size_t)data->options.grain, cells = rows * (size_t)ls_data_tokens(data);
    const ls_images *images = ls_data_images(data);
    size_t at = 0;
    m->labels = part(base, &at, cells * sizeof *m->labels);
    if (images) {
        m->pixels = part(base, &at, rows * (size_t)ls_image_bytes(ls_images_shape(images)) * sizeof *m->pixels);
        if (data->options.augment.mixup > 0) {
            m->mixed_labels = part(base, &at, rows * sizeof *m->mixed_labels);
            m->share = part(base, &at, rows * sizeof *m->share);
        }
        return at;
    }
    m->ids = part(base, &at, cells * sizeof *m->ids);
    m->positions = part(base, &at, cells * sizeof *m->positions);
    m->segments = part(base, &at, cells * sizeof *m->segments);
    if (ls_data_form(data) != LS_SHARDS_TEXT)
        m->values = part(base, &at, cells * sizeof *m->values);
    return at;
}

ls_status ls_grain_memory_stage(ls_grain_memory *m, const ls_data *data, const ls_grain_staging *staging)
{
    const size_t rows = (size_t)data->options.grain;
    const ls_images *images = ls_data_images(data);
    *m = (ls_grain_memory){.samples = calloc(rows, sizeof *m->samples), .staging = staging};
    const bool mixed = images && data->options.augment.mixup > 0;
    if (mixed)
        m->one_row = calloc((size_t)ls_image_bytes(ls_images_shape(images)), sizeof *m->one_row);
    m->bytes = lay_out(m, data, NULL);
    void *block = NULL;
    const ls_status status = staging ? staging->allocate(staging->context, m->bytes, &block) : LS_OK;
    if (status != LS_OK)
        return status;
    m->block = staging ? block : calloc(1, m->bytes);
    if (!m->block || !m->samples || (mixed && !m->one_row))
        return ls_fail(LS_EMEM, "no memory for a grain of %zu rows; lower batch.grain", rows);
    lay_out(m, data, m->block);
    return LS_OK;
}

ls_status ls_grain_memory_make(ls_grain_memory *m, const ls_data *data)
{
    return ls_grain_memory_stage(m, data, NULL);
}

void ls_grain_memory_free(ls_grain_memory *m)
{
    if (m->staging && m->block)
        m->staging->release(m->staging->context, m->block, m->bytes);
    else
        free(m->block);
    free(m->samples);
    free(m->one_row);
    *m = (ls_grain_memory){0};
}

static void describe(const ls_data *data, const ls_grain_request *request, const ls_grain_memory *m, ls_grain *grain)
{
    *grain = (ls_grain){.step = request->step, .number = request->number, .block = m->staging ? m->block : NULL, .rows = request->rows, .tokens = ls_data_tokens(data),
                        .slot = request->slot, .ids = m->ids, .labels = m->labels, .positions = m->positions, .segments = m->segments,
                        .samples = m->samples, .values = m->values, .pixels = m->pixels, .mixed_labels = m->mixed_labels, .share = m->share};
    if (!m->pixels)
        return;
    const ls_image_shape *shape = ls_images_shape(ls_data_images(data));
    grain->height = shape->height;
    grain->width = shape->width;
    grain->channels = shape->channels;
}

ls_status ls_data_fill_grain(const ls_data *data, const ls_grain_request *request, ls_grain_memory *memory, ls_grain *grain)
{
    if (request->rows < 1 || request->rows > data->options.grain)
        return ls_fail(LS_EARG, "a grain of %lld rows is asked for, it has 1 .. %lld", (long long)request->rows, (long long)data->options.grain);
    describe(data, request, memory, grain);
    const ls_random first = {.seed = data->options.seed, .slot = request->slot, .step = (uint32_t)request->step, .purpose = LS_RANDOM_AUGMENT};
    ls_random stream = first;
    for (int64_t i = 0; i < request->rows; i++) {
        const ls_draw draw = ls_sampler_draw(data->sampler, request->position + i);
        const ls_source *source = &data->source[draw.source];
        int64_t one;
        stream.slot = first.slot + (uint32_t)i;
        const ls_status status = source->kind->fill(source, draw.row, i, &stream, memory, &one);
        if (status != LS_OK)
            return status;
        memory->samples[i] += source->first_sample;
        grain->counted += one;
    }
    if (memory->share)
        ls_mixup_grain(data->options.augment.mixup, &first, request->rows, grain->height * grain->width * grain->channels, memory->pixels,
                       memory->labels, memory->mixed_labels, memory->share, memory->one_row);
    return LS_OK;
}

const ls_images *ls_data_images(const ls_data *data)
{
    return data->source[0].images;
}

int64_t ls_data_tokens(const ls_data *data)
{
    return data->source[0].images ? 1 : data->options.tokens;
}

int64_t ls_data_grain_rows(const ls_data *data)
{
    return data->options.grain;
}
