/* See units.h. */
#include "datasets/units.h"

#include "base/hash.h"
#include "base/math.h"
#include "datasets/hdf5.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FORMAT "lockstep-units"
enum { SCHEMA = 1 };

typedef struct {
    char format[32], alpha[32];
    int64_t schema, samples, tokens, units;
    uint64_t data_hash, tokenizer_hash, model_hash, sum, header_sum;
} header;

static const ls_h5_attribute rows[] = {
    {"format", LS_H5_TEXT, offsetof(header, format), 32},
    {"alpha", LS_H5_TEXT, offsetof(header, alpha), 32},
    {"schema", LS_H5_I64, offsetof(header, schema), 8},
    {"samples", LS_H5_I64, offsetof(header, samples), 8},
    {"tokens", LS_H5_I64, offsetof(header, tokens), 8},
    {"units", LS_H5_I64, offsetof(header, units), 8},
    {"data_hash", LS_H5_U64, offsetof(header, data_hash), 8},
    {"tokenizer_hash", LS_H5_U64, offsetof(header, tokenizer_hash), 8},
    {"model_hash", LS_H5_U64, offsetof(header, model_hash), 8},
    {"sum", LS_H5_U64, offsetof(header, sum), 8},
    {"header_sum", LS_H5_U64, offsetof(header, header_sum), 8},
    {0},
};

static uint64_t header_sum(const header *h)
{
    return ls_hash_bytes(h, offsetof(header, header_sum), LS_HASH_SEED);
}

static uint64_t arrays_sum(const ls_units *u)
{
    const size_t n = (size_t)u->samples + 1;
    uint64_t sum = ls_hash_bytes(u->row_ptr, n * sizeof *u->row_ptr, LS_HASH_SEED);
    sum = ls_hash_bytes(u->logp, (size_t)u->tokens * sizeof *u->logp, sum);
    sum = ls_hash_bytes(u->unit_ptr, n * sizeof *u->unit_ptr, sum);
    sum = u->units ? ls_hash_bytes(u->unit_start, (size_t)u->units * sizeof *u->unit_start, sum) : sum;
    return u->units ? ls_hash_bytes(u->unit_len, (size_t)u->units * sizeof *u->unit_len, sum) : sum;
}

int64_t ls_units_identify(const float *logp, int64_t count, double alpha, int32_t *start, int32_t *length)
{
    int64_t units = 0;
    for (int64_t t = 0; t < count;) {
        int64_t end = t;
        while (end < count && !isnan(logp[end]) && ls_math_exp((double)logp[end]) > alpha)
            end++;
        if (end - t >= 2) {
            start[units] = (int32_t)t;
            length[units++] = (int32_t)(end - t);
        }
        t = end > t ? end : t + 1;
    }
    return units;
}

ls_status ls_units_make(ls_units *u, double alpha, int64_t samples, const int64_t *row_ptr, const float *logp)
{
    const int64_t tokens = row_ptr[samples];
    *u = (ls_units){.samples = samples, .tokens = tokens, .alpha = alpha, .row_ptr = row_ptr, .logp = logp};
    int64_t *first = malloc(((size_t)samples + 1) * sizeof *first);
    int32_t *start = malloc(((size_t)tokens / 2 + 1) * sizeof *start),
            *length = malloc(((size_t)tokens / 2 + 1) * sizeof *length);
    u->unit_ptr = first;
    u->unit_start = start;
    u->unit_len = length;
    if (!first || !start || !length) {
        ls_units_unmake(u);
        return ls_fail(LS_EMEM, "no memory for the units of %lld tokens", (long long)tokens);
    }
    first[0] = 0;
    for (int64_t i = 0; i < samples; i++) {
        u->units += ls_units_identify(logp + row_ptr[i], row_ptr[i + 1] - row_ptr[i], alpha, start + u->units,
                                      length + u->units);
        first[i + 1] = u->units;
    }
    return LS_OK;
}

void ls_units_unmake(ls_units *u)
{
    free((void *)(uintptr_t)u->unit_ptr);
    free((void *)(uintptr_t)u->unit_start);
    free((void *)(uintptr_t)u->unit_len);
    *u = (ls_units){0};
}

static ls_status write_partial(const ls_units *u, const char *path)
{
    ls_h5_output file;
    header h = {.schema = SCHEMA,
                .samples = u->samples,
                .tokens = u->tokens,
                .units = u->units,
                .data_hash = u->data_hash,
                .tokenizer_hash = u->tokenizer_hash,
                .model_hash = u->model_hash,
                .sum = arrays_sum(u)};
    snprintf(h.format, sizeof h.format, "%s", FORMAT);
    snprintf(h.alpha, sizeof h.alpha, "%.17g", u->alpha);
    h.header_sum = header_sum(&h);
    ls_status status = ls_h5_create(&file, path);
    if (status != LS_OK)
        return status;
    if ((status = ls_h5_write_header(&file, rows, &h)) != LS_OK ||
        (status = ls_h5_write_array(&file, "row_ptr", H5T_STD_I64LE, u->samples + 1, u->row_ptr)) != LS_OK ||
        (status = ls_h5_write_array(&file, "logp", H5T_IEEE_F32LE, u->tokens, u->logp)) != LS_OK ||
        (status = ls_h5_write_array(&file, "unit_ptr", H5T_STD_I64LE, u->samples + 1, u->unit_ptr)) != LS_OK ||
        (u->units &&
         ((status = ls_h5_write_array(&file, "unit_start", H5T_STD_I32LE, u->units, u->unit_start)) != LS_OK ||
          (status = ls_h5_write_array(&file, "unit_len", H5T_STD_I32LE, u->units, u->unit_len)) != LS_OK))) {
        ls_h5_abandon(&file);
        return status;
    }
    return ls_h5_finish(&file);
}

ls_status ls_units_write(const ls_units *u, const char *path)
{
    char *partial;
    if (asprintf(&partial, "%s.partial", path) < 0)
        return ls_fail(LS_EMEM, "%s: no memory to write it", path);
    ls_status status = write_partial(u, partial);
    if (status == LS_OK && rename(partial, path)) /* until here there is no such file, or the old one */
        status = ls_fail(LS_EIO, "%s: cannot take its name (%s)", path, strerror(errno));
    if (status != LS_OK)
        unlink(partial);
    free(partial);
    return status;
}

struct ls_units_file {
    ls_h5_input input;
    char *path;
};

static ls_status damaged(const char *path, const char *what)
{
    return ls_fail(LS_ECORRUPT, "%s: %s; copy it again, or make it again with `lockstep units`", path, what);
}

static ls_status map_arrays(const ls_h5_input *input, ls_units *u)
{
    const void *row_ptr, *logp, *unit_ptr, *start = NULL, *length = NULL;
    ls_status status;
    if ((status = ls_h5_map_array(input, "row_ptr", H5T_STD_I64LE, u->samples + 1, &row_ptr)) != LS_OK ||
        (status = ls_h5_map_array(input, "logp", H5T_IEEE_F32LE, u->tokens, &logp)) != LS_OK ||
        (status = ls_h5_map_array(input, "unit_ptr", H5T_STD_I64LE, u->samples + 1, &unit_ptr)) != LS_OK ||
        (u->units && ((status = ls_h5_map_array(input, "unit_start", H5T_STD_I32LE, u->units, &start)) != LS_OK ||
                      (status = ls_h5_map_array(input, "unit_len", H5T_STD_I32LE, u->units, &length)) != LS_OK)))
        return status;
    u->row_ptr = row_ptr;
    u->logp = logp;
    u->unit_ptr = unit_ptr;
    u->unit_start = start;
    u->unit_len = length;
    return LS_OK;
}

/* Offsets ascend and end where they must; every unit lies in its sample, behind the one before it. */
static bool fits_together(const ls_units *u)
{
    bool good = u->row_ptr[0] == 0 && u->row_ptr[u->samples] == u->tokens && u->unit_ptr[0] == 0 &&
                u->unit_ptr[u->samples] == u->units;
    for (int64_t i = 0; i < u->samples && good; i++)
        good = u->row_ptr[i] < u->row_ptr[i + 1] && u->unit_ptr[i] <= u->unit_ptr[i + 1];
    for (int64_t i = 0; i < u->samples && good; i++)
        for (int64_t j = u->unit_ptr[i], past = 0; j < u->unit_ptr[i + 1] && good; j++) {
            good = u->unit_start[j] >= past && u->unit_len[j] >= 2 &&
                   u->unit_start[j] + (int64_t)u->unit_len[j] <= u->row_ptr[i + 1] - u->row_ptr[i];
            past = u->unit_start[j] + (int64_t)u->unit_len[j];
        }
    return good;
}

static ls_status read_file(const ls_h5_input *input, ls_units *u)
{
    header h = {0};
    ls_status status = ls_h5_read_header(input, rows, &h);
    if (status != LS_OK)
        return status;
    char *end;
    *u = (ls_units){.samples = h.samples,
                    .tokens = h.tokens,
                    .units = h.units,
                    .alpha = strtod(h.alpha, &end),
                    .data_hash = h.data_hash,
                    .tokenizer_hash = h.tokenizer_hash,
                    .model_hash = h.model_hash};
    if (h.header_sum != header_sum(&h) || end == h.alpha || *end)
        return damaged(input->path, "its header does not have the sum it was written with");
    if (h.samples < 1 || h.tokens < h.samples || h.units < 0 || h.units > h.tokens / 2 || h.tokens > INT64_MAX / 64)
        return damaged(input->path, "such numbers of samples, tokens and units cannot be");
    status = map_arrays(input, u);
    if (status != LS_OK)
        return status;
    if (h.sum != arrays_sum(u))
        return damaged(input->path, "its arrays do not have the sum they were written with");
    return fits_together(u) ? LS_OK : damaged(input->path, "its offsets or units do not fit together");
}

ls_status ls_units_open(ls_units_file **out, const char *path, ls_units *u)
{
    *out = NULL;
    *u = (ls_units){0};
    ls_units_file *file = calloc(1, sizeof *file);
    if (!file || !(file->path = strdup(path))) {
        free(file);
        return ls_fail(LS_EMEM, "%s: no memory to open it", path);
    }
    ls_status status = ls_h5_open(&file->input, file->path, FORMAT, SCHEMA);
    if (status != LS_OK) {
        free(file->path);
        free(file);
        return status;
    }
    status = read_file(&file->input, u);
    ls_h5_close(&file->input);
    if (status == LS_OK) {
        *out = file;
        return LS_OK;
    }
    ls_units_close(file);
    *u = (ls_units){0};
    return status;
}

void ls_units_close(ls_units_file *file)
{
    if (!file)
        return;
    ls_h5_unmap(&file->input);
    free(file->path);
    free(file);
}
