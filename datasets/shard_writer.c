/* Writing a data set: samples gather in memory until a shard is full, then go to the disk as one file.
 * The format and what a reader sees if power fails at each line: the essay at the top of shard.c.
 * Must never write into a folder that carries the data set's name. */
#include "base/hash.h"
#include "datasets/file.h"
#include "datasets/folder.h"
#include "datasets/shard_format.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { DEFAULT_SAMPLES = 65536, MOST_TOKENS = 16 << 20 }; /* 80 MiB; three times that in memory while it is written */

struct ls_shard_writer {
    char *folder, *partial;
    int lock;
    bool replace;
    int64_t samples_per_shard;
    ls_shards_form form;
    ls_dataset_header header;

    /* the shard being filled */
    int32_t *tokens;
    uint8_t *loss_mask;
    int64_t count, room; /* tokens */
    int64_t *offset, *counted;
    float *value;
    int64_t samples, sample_room, unmasked;

    ls_shard_entry *entry; /* [header.shards], the shards written */
    int64_t entry_room;
};

static bool is_digits(const char *text, size_t count)
{
    return strspn(text, "0123456789") == count;
}

/* Names a data set is made of. A tokenizer's file may have any name, but only beside dataset.h5 or as tokenizer.*. */
static bool owns(const char *name)
{
    size_t length = strlen(name);
    if (length > 9 && strncmp(name, "shard-", 6) == 0 && strcmp(name + length - 3, ".h5") == 0)
        return is_digits(name + 6, length - 9);
    return strcmp(name, LS_DATASET_FILE) == 0 || strncmp(name, "tokenizer.", 10) == 0;
}

static bool grow(void **array, int64_t *room, int64_t wanted, size_t size)
{
    if (wanted <= *room)
        return true;
    int64_t more = *room ? *room * 2 : 1024;
    more = more < wanted ? wanted : more;
    void *moved = realloc(*array, (size_t)more * size);
    if (!moved)
        return false;
    *array = moved;
    *room = more;
    return true;
}

static bool grow_tokens(ls_shard_writer *w, int64_t wanted)
{
    int64_t room = w->room;
    return grow((void **)&w->tokens, &room, wanted, sizeof *w->tokens) &&
           grow((void **)&w->loss_mask, &w->room, wanted, sizeof *w->loss_mask);
}

static bool grow_samples(ls_shard_writer *w, int64_t wanted)
{
    int64_t room = w->sample_room, values = w->sample_room;
    return grow((void **)&w->offset, &room, wanted + 1, sizeof *w->offset) &&
           grow((void **)&w->value, &values, wanted + 1, sizeof *w->value) &&
           grow((void **)&w->counted, &w->sample_room, wanted + 1, sizeof *w->counted);
}

static void free_writer(ls_shard_writer *w)
{
    if (w->lock >= 0)
        close(w->lock);
    free(w->tokens);
    free(w->loss_mask);
    free(w->offset);
    free(w->counted);
    free(w->value);
    free(w->entry);
    free(w->folder);
    free(w->partial);
    free(w);
}

static ls_status fill_header(ls_dataset_header *h, ls_shards_form *form, const char *folder, const ls_shard_options *options)
{
    const char *name = options->tokenizer_name ? options->tokenizer_name : "tokenizer.json";
    const ls_status known = ls_shard_form(options->kind, form);
    if (known != LS_OK)
        return ls_fail_at(known, "%s", folder);
    if (options->vocabulary < 1 || options->vocabulary > INT32_MAX)
        return ls_fail(LS_EARG, "%s: a vocabulary of %lld, must be 1 .. %d", folder, (long long)options->vocabulary, INT32_MAX);
    if (options->tokenizer_path && (strlen(name) >= sizeof h->tokenizer || strchr(name, '/') || !owns(name)))
        return ls_fail(LS_EARG, "%s: the tokenizer's name '%s' must be tokenizer.SOMETHING, at most %zu letters", folder, name,
                       sizeof h->tokenizer - 1);
    h->schema = LS_SHARD_SCHEMA;
    h->vocabulary = options->vocabulary;
    h->tokenizer_hash = options->tokenizer_hash;
    snprintf(h->format, sizeof h->format, "%s", LS_DATASET_FORMAT);
    snprintf(h->kind, sizeof h->kind, "%s", options->kind);
    snprintf(h->lockstep, sizeof h->lockstep, "%s", LS_VERSION);
    snprintf(h->template_name, sizeof h->template_name, "%s", options->template_name ? options->template_name : "");
    snprintf(h->source, sizeof h->source, "%s", options->source ? options->source : "");
    if (options->tokenizer_path)
        snprintf(h->tokenizer, sizeof h->tokenizer, "%s", name);
    return LS_OK;
}

static ls_status copy_tokenizer(ls_shard_writer *w, const char *from)
{
    if (!from)
        return LS_OK;
    char *to = ls_path_join(w->partial, w->header.tokenizer);
    ls_status status = to ? ls_data_file_copy(from, to, &w->header.tokenizer_sum) : ls_fail(LS_EMEM, "%s: no memory for a path", w->partial);
    free(to);
    return status;
}

ls_status ls_shard_writer_open(ls_shard_writer **out, const char *folder, const ls_shard_options *options)
{
    *out = NULL;
    ls_shard_writer *w = calloc(1, sizeof *w);
    if (!w)
        return ls_fail(LS_EMEM, "%s: no memory to write it", folder);
    size_t length = strlen(folder);
    while (length > 1 && folder[length - 1] == '/')
        length--;
    w->lock = -1;
    w->replace = options->replace;
    w->samples_per_shard = options->samples_per_shard > 0 ? options->samples_per_shard : DEFAULT_SAMPLES;
    w->folder = strndup(folder, length);
    ls_status status;
    if (!w->folder || asprintf(&w->partial, "%s.partial", w->folder) < 0) {
        w->partial = NULL;
        status = ls_fail(LS_EMEM, "%s: no memory for its path", folder);
    } else if ((status = fill_header(&w->header, &w->form, w->folder, options)) == LS_OK &&
               (status = ls_data_folder_may_commit(w->folder, w->replace, owns)) == LS_OK &&
               (status = ls_data_folder_begin(w->partial, owns, &w->lock)) == LS_OK) {
        status = copy_tokenizer(w, options->tokenizer_path);
        if (status != LS_OK) {
            ls_shard_writer_discard(w);
            return status;
        }
    }
    if (status == LS_OK)
        *out = w;
    else
        free_writer(w);
    return status;
}

/* Asked before any work: so the sentence can say how much is missing. */
static ls_status check_space(const ls_shard_writer *w, int64_t bytes)
{
    struct statvfs disk;
    if (statvfs(w->partial, &disk) != 0)
        return LS_OK;
    double needs = (double)bytes, has = (double)disk.f_bavail * (double)disk.f_frsize;
    if (needs <= has)
        return LS_OK;
    return ls_fail(LS_ESPACE, "%s: no space left (the next shard needs %.1f MB, the disk has %.1f); free some, or choose another disk",
                   w->partial, needs / 1e6, has / 1e6);
}

static void sum_blocks(const ls_shard_writer *w, uint64_t *block_sum)
{
    for (int64_t block = 0; block < ls_shard_blocks(w->count); block++) {
        int64_t begin = block * LS_SHARD_BLOCK, rest = w->count - begin;
        block_sum[block] = ls_shard_block_sum(w->tokens + begin, w->loss_mask + begin, rest < LS_SHARD_BLOCK ? rest : LS_SHARD_BLOCK, block);
    }
}

static ls_status write_file(ls_shard_writer *w, const char *path, const ls_shard_header *header, const uint64_t *block_sum)
{
    ls_h5_output file;
    ls_status status = ls_h5_create(&file, path);
    if (status != LS_OK)
        return status;
    if ((status = ls_h5_write_header(&file, ls_shard_header_rows, header)) != LS_OK ||
        (status = ls_h5_write_array(&file, "tokens", H5T_STD_I32LE, w->count, w->tokens)) != LS_OK ||
        (status = ls_h5_write_array(&file, "loss_mask", H5T_STD_U8LE, w->count, w->loss_mask)) != LS_OK ||
        (status = ls_h5_write_array(&file, "offset", H5T_STD_I64LE, w->samples + 1, w->offset)) != LS_OK ||
        (status = ls_h5_write_array(&file, "counted", H5T_STD_I64LE, w->samples, w->counted)) != LS_OK ||
        (status = ls_h5_write_array(&file, "block_sum", H5T_STD_U64LE, ls_shard_blocks(w->count), block_sum)) != LS_OK ||
        (w->form != LS_SHARDS_TEXT && (status = ls_h5_write_array(&file, "value", H5T_IEEE_F32LE, w->samples, w->value)) != LS_OK)) {
        ls_h5_abandon(&file);
        return status;
    }
    return ls_h5_finish(&file);
}

/* Adds the file just written to the list. */
static ls_status list_shard(ls_shard_writer *w, const char *path, const ls_shard_header *header)
{
    uint64_t bytes = 0;
    FILE *file = fopen(path, "rb");
    if (!file || fseeko(file, 0, SEEK_END) != 0 || ftello(file) < 0) {
        ls_status status = ls_fail(LS_EIO, "%s: cannot read back its size (%s)", path, strerror(errno));
        if (file)
            fclose(file);
        return status;
    }
    bytes = (uint64_t)ftello(file);
    fclose(file);
    if (!grow((void **)&w->entry, &w->entry_room, w->header.shards + 1, sizeof *w->entry))
        return ls_fail(LS_EMEM, "%s: no memory for the list of shards", w->partial);
    w->entry[w->header.shards++] = (ls_shard_entry){w->samples, w->count, (int64_t)bytes, header->header_sum};
    w->header.samples += w->samples;
    w->header.tokens += w->count;
    w->header.unmasked += w->unmasked;
    return LS_OK;
}

static ls_status write_shard(ls_shard_writer *w)
{
    ls_shard_header header = {.schema = LS_SHARD_SCHEMA, .number = w->header.shards, .samples = w->samples, .tokens = w->count,
                              .unmasked = w->unmasked, .vocabulary = w->header.vocabulary, .tokenizer_hash = w->header.tokenizer_hash};
    int64_t blocks = ls_shard_blocks(w->count);
    uint64_t *block_sum = calloc((size_t)blocks, sizeof *block_sum);
    char *path = ls_shard_path(w->partial, header.number);
    ls_status status = block_sum && path ? check_space(w, w->count * 5 + w->samples * 20 + blocks * 8 + 16384)
                                         : ls_fail(LS_EMEM, "%s: no memory for a shard's sums", w->partial);
    if (status == LS_OK) {
        snprintf(header.format, sizeof header.format, "%s", LS_SHARD_FORMAT);
        memcpy(header.kind, w->header.kind, sizeof header.kind);
        w->offset[w->samples] = w->count;
        sum_blocks(w, block_sum);
        header.index_sum = ls_shard_index_sum(w->offset, w->counted, w->samples, block_sum, blocks);
        if (w->form != LS_SHARDS_TEXT)
            header.index_sum = ls_shard_valued_sum(header.index_sum, w->value, w->samples);
        header.header_sum = ls_shard_header_sum(&header);
        status = write_file(w, path, &header, block_sum);
    }
    if (status == LS_OK)
        status = list_shard(w, path, &header);
    w->count = w->samples = w->unmasked = 0;
    free(block_sum);
    free(path);
    return status;
}

ls_status ls_shard_writer_add_text(ls_shard_writer *w, const int32_t *tokens, const uint8_t *loss_mask, int64_t count)
{
    return ls_shard_writer_add_valued(w, tokens, loss_mask, count, 0);
}

ls_status ls_shard_writer_add_valued(ls_shard_writer *w, const int32_t *tokens, const uint8_t *loss_mask, int64_t count, float value)
{
    int64_t sample = w->header.samples + w->samples;
    if (!ls_shard_value_fits(w->form, sample, value))
        return ls_fail(LS_EARG, "%s: sample %lld has the value %g, which a set of kind '%s' does not have there", w->folder, (long long)sample,
                       (double)value, w->header.kind);
    if (count < 1)
        return ls_fail(LS_EARG, "%s: sample %lld has no tokens", w->folder, (long long)sample);
    for (int64_t i = 0; i < count; i++)
        if (tokens[i] < 0 || tokens[i] >= w->header.vocabulary)
            return ls_fail(LS_EARG, "%s: token %lld of sample %lld is id %d, the vocabulary has %lld", w->folder, (long long)i,
                           (long long)sample, (int)tokens[i], (long long)w->header.vocabulary);
    if (w->samples == w->samples_per_shard || (w->samples && w->count + count > MOST_TOKENS)) {
        ls_status status = write_shard(w);
        if (status != LS_OK)
            return status;
    }
    if (!grow_tokens(w, w->count + count) || !grow_samples(w, w->samples + 1))
        return ls_fail(LS_EMEM, "%s: no memory for %lld tokens of one shard", w->folder, (long long)(w->count + count));
    memcpy(w->tokens + w->count, tokens, (size_t)count * sizeof *tokens);
    int64_t unmasked = 0;
    for (int64_t i = 0; i < count; i++)
        unmasked += w->loss_mask[w->count + i] = loss_mask[i] != 0;
    w->offset[w->samples] = w->count;
    w->value[w->samples] = value;
    w->counted[w->samples] = unmasked - w->loss_mask[w->count];
    w->unmasked += unmasked;
    w->count += count;
    w->samples++;
    return LS_OK;
}

static ls_status write_list(ls_h5_output *file, const ls_shard_writer *w, int64_t *column)
{
    static const struct {
        const char *name;
        size_t offset;
    } columns[] = {{"shard_samples", offsetof(ls_shard_entry, samples)},
                   {"shard_tokens", offsetof(ls_shard_entry, tokens)},
                   {"shard_bytes", offsetof(ls_shard_entry, bytes)},
                   {"shard_sum", offsetof(ls_shard_entry, sum)}};
    ls_status status = LS_OK;
    for (int c = 0; c < 4 && status == LS_OK; c++) {
        for (int64_t i = 0; i < w->header.shards; i++)
            memcpy(&column[i], (const char *)&w->entry[i] + columns[c].offset, sizeof *column);
        status = ls_h5_write_array(file, columns[c].name, c == 3 ? H5T_STD_U64LE : H5T_STD_I64LE, w->header.shards, column);
    }
    return status;
}

/* The last file: from here on the folder describes itself, and only lacks its name. */
static ls_status write_dataset_file(ls_shard_writer *w)
{
    w->header.list_sum = ls_shard_list_sum(w->entry, w->header.shards);
    w->header.header_sum = ls_dataset_header_sum(&w->header);
    char *path = ls_path_join(w->partial, LS_DATASET_FILE);
    int64_t *column = calloc((size_t)w->header.shards, sizeof *column);
    ls_h5_output file;
    ls_status status = path && column ? ls_h5_create(&file, path) : ls_fail(LS_EMEM, "%s: no memory for its list", w->partial);
    if (status == LS_OK) {
        if ((status = ls_h5_write_header(&file, ls_dataset_header_rows, &w->header)) != LS_OK ||
            (status = write_list(&file, w, column)) != LS_OK)
            ls_h5_abandon(&file);
        else
            status = ls_h5_finish(&file);
    }
    free(column);
    free(path);
    return status;
}

ls_status ls_shard_writer_commit(ls_shard_writer *w)
{
    ls_status status = LS_OK;
    if (w->header.samples + w->samples == 0)
        status = ls_fail(LS_EARG, "%s: no samples, so there is no data set to write", w->folder);
    if (status == LS_OK && w->form == LS_SHARDS_PAIRS && (w->header.samples + w->samples) % 2)
        status = ls_fail(LS_EARG, "%s: %lld samples, but pairs are two each", w->folder, (long long)(w->header.samples + w->samples));
    if (status == LS_OK && w->samples)
        status = write_shard(w);
    if (status == LS_OK && (status = write_dataset_file(w)) == LS_OK)
        status = ls_data_folder_commit(w->partial, w->folder, w->replace, owns);
    if (status == LS_OK)
        free_writer(w);
    else
        ls_shard_writer_discard(w);
    return status;
}

void ls_shard_writer_discard(ls_shard_writer *w)
{
    if (!w)
        return;
    char sentence[2048]; /* why it is discarded is worth more than why the leftovers could not be removed */
    snprintf(sentence, sizeof sentence, "%s", ls_fail_sentence());
    ls_data_folder_remove(w->partial, owns);
    ls_fail_copy(LS_EARG, sentence);
    free_writer(w);
}
