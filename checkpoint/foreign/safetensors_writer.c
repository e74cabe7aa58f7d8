/* See safetensors_writer.h. */
#include "checkpoint/foreign/safetensors_writer.h"

#include "base/half.h"
#include "checkpoint/disk.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIECE = 1 << 16 }; /* numbers converted at a time */

struct ls_safetensors_writer {
    int fd;
    char *path;
    const ls_foreign_tensor *tensors; /* the caller's */
    int count, at;                    /* the tensor at hand */
    int64_t put;                      /* numbers of it that are written */
    int64_t offset;                   /* of the file */
    uint16_t *halves;                 /* [PIECE] */
};

static json_t *describe(const ls_foreign_tensor *t, int64_t begin, int64_t end)
{
    json_t *shape = json_array();
    for (int d = 0; d < t->ndim; d++)
        json_array_append_new(shape, json_integer(t->shape[d]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", ls_foreign_type_name(t->type), "shape", shape, "data_offsets",
                     (json_int_t)begin, (json_int_t)end);
}

/* The header as text, malloc'ed, blanks behind it up to a multiple of 8: what is behind it is aligned. transformers
 * asks for the metadata. */
static char *header_text(const ls_foreign_tensor *tensors, int count)
{
    json_t *root = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    int64_t begin = 0;
    int failed = !root;
    for (int i = 0; i < count && !failed; i++) {
        const int64_t end = begin + tensors[i].count * (int64_t)ls_foreign_type_size(tensors[i].type);
        failed = json_object_set_new(root, tensors[i].name, describe(&tensors[i], begin, end));
        begin = end;
    }
    char *text = failed ? NULL : json_dumps(root, JSON_COMPACT), *padded = NULL;
    json_decref(root);
    if (text) {
        const size_t length = strlen(text), whole = (length + 7) / 8 * 8;
        padded = realloc(text, whole + 1);
        if (padded)
            memset(padded + length, ' ', whole - length), padded[whole] = '\0';
        else
            free(text);
    }
    return padded;
}

static ls_status write_header(ls_safetensors_writer *w)
{
    char *text = header_text(w->tensors, w->count);
    if (!text)
        return ls_fail(LS_EMEM, "%s: no memory for its header, or a tensor's name is not UTF-8", w->path);
    const uint64_t bytes = strlen(text);
    ls_status status = ls_disk_write(w->fd, w->path, &bytes, sizeof bytes, 0);
    if (status == LS_OK)
        status = ls_disk_write(w->fd, w->path, text, bytes, sizeof bytes);
    w->offset = (int64_t)(bytes + sizeof bytes);
    free(text);
    return status;
}

ls_status ls_safetensors_begin(ls_safetensors_writer **out, const char *path, const ls_foreign_tensor *tensors,
                               int count)
{
    *out = NULL;
    for (int i = 0; i < count; i++)
        if (tensors[i].type != LS_FOREIGN_F32 && tensors[i].type != LS_FOREIGN_F16 &&
            tensors[i].type != LS_FOREIGN_BF16)
            return ls_fail(LS_EARG, "%s: %s cannot be written as %s, only as F32, F16 or BF16", path, tensors[i].name,
                           ls_foreign_type_name(tensors[i].type));
    ls_safetensors_writer *w = calloc(1, sizeof *w);
    if (!w)
        return ls_fail(LS_EMEM, "%s: no memory to write it", path);
    *w = (ls_safetensors_writer){.fd = -1, .path = strdup(path), .tensors = tensors, .count = count};
    w->halves = malloc(PIECE * sizeof *w->halves);
    ls_status status =
        w->path && w->halves ? ls_disk_create(path, &w->fd) : ls_fail(LS_EMEM, "%s: no memory to write it", path);
    if (status == LS_OK)
        status = write_header(w);
    if (status == LS_OK)
        *out = w;
    else
        w->count = 0, ls_safetensors_end(w);
    return status;
}

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* Rounds to nearest, ties to even: adding a little less than half of what is cut off carries as it should. */
static uint16_t to_bf16(float x)
{
    const uint32_t bits = bits_of(x);
    if (isnan(x))
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static bool overflowed(ls_foreign_type type, uint16_t half)
{
    const uint16_t infinity = type == LS_FOREIGN_F16 ? 0x7c00 : 0x7f80;
    return (half & 0x7fff) == infinity;
}

static ls_status convert(const ls_safetensors_writer *w, const float *numbers, int64_t count)
{
    const ls_foreign_tensor *t = &w->tensors[w->at];
    for (int64_t i = 0; i < count; i++) {
        w->halves[i] = t->type == LS_FOREIGN_F16 ? ls_half_narrow(numbers[i]) : to_bf16(numbers[i]);
        if (overflowed(t->type, w->halves[i]) && isfinite(numbers[i]))
            return ls_fail(LS_ENUMERIC, "%s: element %lld of %s is %g, beyond %s; write bf16 or f32", w->path,
                           (long long)(w->put + i), t->name, (double)numbers[i], ls_foreign_type_name(t->type));
    }
    return LS_OK;
}

ls_status ls_safetensors_put(ls_safetensors_writer *w, const float *numbers, int64_t count)
{
    ls_status status = LS_OK;
    while (count > 0) {
        while (w->at < w->count && w->put == w->tensors[w->at].count)
            w->at++, w->put = 0;
        if (w->at == w->count)
            return ls_fail(LS_EARG, "%s: %lld numbers more than its header has place for", w->path, (long long)count);
        const ls_foreign_tensor *t = &w->tensors[w->at];
        int64_t some = t->count - w->put < count ? t->count - w->put : count;
        some = some < PIECE ? some : PIECE;
        const bool whole = t->type == LS_FOREIGN_F32;
        const size_t bytes = (size_t)some * ls_foreign_type_size(t->type);
        if (!whole)
            status = convert(w, numbers, some);
        if (status == LS_OK)
            status = ls_disk_write(w->fd, w->path, whole ? (const void *)numbers : (const void *)w->halves, bytes,
                                   w->offset);
        if (status != LS_OK)
            break;
        w->offset += (int64_t)bytes;
        w->put += some;
        numbers += some;
        count -= some;
    }
    return status;
}

ls_status ls_safetensors_end(ls_safetensors_writer *w)
{
    if (!w)
        return LS_OK;
    ls_status status = LS_OK;
    while (w->at < w->count && w->put == w->tensors[w->at].count)
        w->at++, w->put = 0;
    if (w->at < w->count)
        status = ls_fail(LS_ESTATE, "%s: the numbers of %s are not all written", w->path, w->tensors[w->at].name);
    if (status == LS_OK && w->fd >= 0)
        status = ls_disk_sync(w->fd, w->path);
    if (w->fd >= 0 && close(w->fd) != 0 && status == LS_OK)
        status = ls_disk_fail(w->path, "close");
    free(w->path);
    free(w->halves);
    free(w);
    return status;
}
