/* safetensors, Hugging Face's format for weights, and folders of several such files.
 *
 *     offset   bytes
 *     0        8      N, little-endian: bytes of the header; at most 100,000,000
 *     8        N      JSON: {"NAME": {"dtype": "F32", "shape": [512, 64], "data_offsets": [BEGIN, END]}, ...,
 *                            "__metadata__": {"KEY": "text", ...}}, blanks behind it
 *     8 + N           data: tensors in row-major order, little-endian, offsets counted from here
 * Tensors cover the data without a gap and without an overlap, to its last byte. model.safetensors.index.json holds
 * {"weight_map": {"NAME": "FILE", ...}}, each file beside it.
 * Format: huggingface/safetensors, README.md, "Format". */
#include "checkpoint/foreign/parts.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_MOST = 100000000 };

/* A tensor's place while the header is read. */
typedef struct {
    const char *name;
    int64_t begin, end;
} span;

typedef struct {
    ls_foreign *set;
    const char *path;
    const char *data;
    int64_t data_bytes;
    span *spans;
    int count;
} reading;

#define HINT "the file is damaged, or not safetensors: fetch it again"

static bool find_type(const char *name, ls_foreign_type *type)
{
    for (int t = 0; name && t < LS_FOREIGN_TYPE_COUNT; t++)
        if (!strcmp(name, ls_foreign_type_name((ls_foreign_type)t))) {
            *type = (ls_foreign_type)t;
            return true;
        }
    return false;
}

static ls_status read_shape(const reading *r, const char *name, const json_t *shape, ls_foreign_tensor *tensor)
{
    if (!json_is_array(shape))
        return ls_fail(LS_EFORMAT, "%s: tensor \"%.200s\" has no \"shape\" that is a list; " HINT, r->path, name);
    if (json_array_size(shape) > LS_MAX_DIMS)
        return ls_fail(LS_EFORMAT, "%s: tensor \"%.200s\" has %zu axes, lockstep reads up to %d", r->path, name,
                       json_array_size(shape), LS_MAX_DIMS);
    tensor->ndim = (int)json_array_size(shape);
    for (int d = 0; d < tensor->ndim; d++) {
        const json_t *size = json_array_get(shape, (size_t)d);
        if (!json_is_integer(size) || json_integer_value(size) < 0)
            return ls_fail(LS_EFORMAT, "%s: tensor \"%.200s\": axis %d of its shape is not a size; " HINT, r->path,
                           name, d);
        tensor->shape[d] = json_integer_value(size);
    }
    return LS_OK;
}

static ls_status read_offsets(const reading *r, const char *name, const json_t *offsets, span *at)
{
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end))
        return ls_fail(LS_EFORMAT, "%s: tensor \"%.200s\" has no \"data_offsets\" [begin, end]; " HINT, r->path, name);
    *at = (span){name, json_integer_value(begin), json_integer_value(end)};
    if (at->begin < 0 || at->end < at->begin || at->end > r->data_bytes)
        return ls_fail(LS_EFORMAT,
                       "%s: tensor \"%.200s\": data_offsets [%lld, %lld] are not inside the file's %lld bytes of data; "
                       "the file is cut short or damaged: fetch it again",
                       r->path, name, (long long)at->begin, (long long)at->end, (long long)r->data_bytes);
    return LS_OK;
}

static ls_status read_tensor(reading *r, const char *name, const json_t *entry)
{
    ls_foreign_tensor tensor = {.name = name};
    span at;
    int64_t bytes;
    const char *type = json_string_value(json_object_get(entry, "dtype"));
    if (!find_type(type, &tensor.type))
        return ls_fail(LS_EFORMAT,
                       "%s: tensor \"%.200s\": dtype %.40s is not known here; convert the file to F32, F16 or BF16",
                       r->path, name, type ? type : "(none)");
    ls_status status = read_shape(r, name, json_object_get(entry, "shape"), &tensor);
    if (status == LS_OK)
        status = read_offsets(r, name, json_object_get(entry, "data_offsets"), &at);
    if (status != LS_OK)
        return status;
    char text[LS_FOREIGN_DESCRIPTION];
    if (!ls_foreign_measure(&tensor, &bytes) || bytes != at.end - at.begin)
        return ls_fail(LS_EFORMAT,
                       "%s: tensor \"%.200s\" is %s, which is not the %lld bytes of its data_offsets; " HINT, r->path,
                       name, ls_foreign_describe(&tensor, text), (long long)(at.end - at.begin));
    tensor.data = r->data + at.begin;
    r->spans[r->count++] = at;
    return ls_foreign_add(r->set, &tensor);
}

static int by_begin(const void *a, const void *b)
{
    const span *x = a, *y = b;
    return x->begin != y->begin ? (x->begin < y->begin ? -1 : 1) : x->end != y->end ? (x->end < y->end ? -1 : 1) : 0;
}

/* Whoever leaves a gap could hide something in it, and whoever overlaps means another file than we read. */
static ls_status check_cover(reading *r)
{
    int64_t reached = 0;
    if (r->count)
        qsort(r->spans, (size_t)r->count, sizeof *r->spans, by_begin);
    for (int i = 0; i < r->count; i++) {
        const span *at = &r->spans[i];
        if (at->begin < reached)
            return ls_fail(
                LS_EFORMAT,
                "%s: tensor \"%.200s\" begins at byte %lld of the data, inside \"%.200s\", which ends at %lld; " HINT,
                r->path, at->name, (long long)at->begin, r->spans[i - 1].name, (long long)reached);
        if (at->begin > reached)
            return ls_fail(LS_EFORMAT,
                           "%s: bytes %lld to %lld of the data, before tensor \"%.200s\", belong to no tensor; " HINT,
                           r->path, (long long)reached, (long long)at->begin, at->name);
        reached = at->end;
    }
    if (reached != r->data_bytes)
        return ls_fail(LS_EFORMAT, "%s: its tensors end at byte %lld of the data, the file at %lld; " HINT, r->path,
                       (long long)reached, (long long)r->data_bytes);
    return LS_OK;
}

static ls_status read_entries(reading *r, json_t *header)
{
    const char *name;
    json_t *entry;
    ls_status status = LS_OK;
    r->spans = malloc((json_object_size(header) + 1) * sizeof *r->spans);
    if (!r->spans)
        return ls_fail(LS_EMEM, "%s: no memory for the list of its tensors", r->path);
    json_object_foreach(header, name, entry)
    {
        if (status != LS_OK)
            break;
        if (!strcmp(name, "__metadata__"))
            continue;
        if (!*name || !json_is_object(entry))
            return ls_fail(LS_EFORMAT, "%s: \"%.200s\" of its header describes no tensor; " HINT, r->path, name);
        status = read_tensor(r, name, entry);
    }
    return status == LS_OK ? check_cover(r) : status;
}

ls_status ls_safetensors_parse(ls_foreign *set)
{
    const ls_foreign_file *file = &set->file[set->files - 1];
    uint64_t header_bytes;
    if (file->size < sizeof header_bytes)
        return ls_fail(LS_EFORMAT, "%s: %zu bytes, too short for safetensors; " HINT, file->path, file->size);
    memcpy(&header_bytes, file->bytes, sizeof header_bytes);
    if (header_bytes > HEADER_MOST || header_bytes > file->size - sizeof header_bytes)
        return ls_fail(LS_EFORMAT,
                       "%s: begins with a header of %llu bytes, but the file has %zu and the limit is %d; " HINT,
                       file->path, (unsigned long long)header_bytes, file->size, HEADER_MOST);
    const char *text = (const char *)file->bytes + sizeof header_bytes;
    json_error_t error;
    json_t *header = json_loadb(text, header_bytes, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(header)) {
        json_decref(header);
        return ls_fail(LS_EFORMAT, "%s: its header is not a JSON object (%s, at byte %d); " HINT, file->path,
                       header ? "another value" : error.text, header ? 0 : error.position);
    }
    reading r = {.set = set,
                 .path = file->path,
                 .data = text + header_bytes,
                 .data_bytes = (int64_t)(file->size - sizeof header_bytes - header_bytes)};
    ls_status status = read_entries(&r, header);
    free(r.spans);
    json_decref(header);
    return status;
}

/* ---- a folder ---- */

static ls_status join(char path[LS_PATH], const char *folder, const char *name)
{
    return snprintf(path, LS_PATH, "%s/%s", folder, name) < LS_PATH
               ? LS_OK
               : ls_fail(LS_EARG, "%s/%.100s: a path longer than %d bytes", folder, name, LS_PATH - 1);
}

static bool is_open(const ls_foreign *set, const char *path)
{
    for (int i = 0; i < set->files; i++)
        if (!strcmp(set->file[i].path, path))
            return true;
    return false;
}

static ls_status open_shard(ls_foreign *set, const char *index, const char *folder, const char *tensor,
                            const json_t *value, char path[LS_PATH])
{
    const char *name = json_string_value(value);
    if (!name || !*name || strchr(name, '/') || *name == '.')
        return ls_fail(LS_EFORMAT, "%s: tensor \"%.200s\" is not given to a file beside the index, but to \"%.200s\"",
                       index, tensor, name ? name : "(no text)");
    ls_status status = join(path, folder, name);
    if (status != LS_OK || is_open(set, path))
        return status;
    status = ls_foreign_map(set, path);
    if (status != LS_OK)
        return ls_fail_at(status, "%s: tensor \"%.200s\"", index, tensor);
    return ls_safetensors_parse(set);
}

/* The index and the files must tell the same. */
static ls_status check_place(const ls_foreign *set, const char *index, const char *folder, const char *name,
                             const char *file)
{
    char path[LS_PATH];
    const ls_foreign_tensor *tensor = ls_foreign_find(set, name);
    ls_status status = join(path, folder, file);
    if (status == LS_OK && (!tensor || strcmp(tensor->file, path)))
        status = ls_fail(LS_EFORMAT, "%s: tensor \"%.200s\" should be in %s and is not; fetch the files of one model",
                         index, name, path);
    return status;
}

static ls_status open_index(ls_foreign *set, const char *index, const char *folder)
{
    json_error_t error;
    json_t *root = json_load_file(index, JSON_REJECT_DUPLICATES, &error);
    json_t *map = json_object_get(root, "weight_map"), *value;
    const char *name;
    char path[LS_PATH];
    ls_status status = LS_OK;
    if (!root)
        status = ls_fail(LS_EFORMAT, "%s:%d: %s", index, error.line, error.text);
    else if (!json_is_object(map) || !json_object_size(map))
        status = ls_fail(LS_EFORMAT, "%s: no \"weight_map\" with a file for each tensor in it; fetch it again", index);
    json_object_foreach(map, name, value) if (status == LS_OK) status =
        open_shard(set, index, folder, name, value, path);
    if (status == LS_OK)
        status = ls_foreign_settle(set);
    json_object_foreach(map, name, value) if (status == LS_OK) status =
        check_place(set, index, folder, name, json_string_value(value));
    json_decref(root);
    return status;
}

ls_status ls_safetensors_open_folder(ls_foreign *set, const char *folder)
{
    char path[LS_PATH];
    ls_status status = join(path, folder, "model.safetensors");
    if (status == LS_OK && ls_disk_exists(path)) {
        status = ls_foreign_map(set, path);
        return status == LS_OK ? ls_safetensors_parse(set) : status;
    }
    if (status == LS_OK)
        status = join(path, folder, "model.safetensors.index.json");
    if (status == LS_OK && ls_disk_exists(path))
        return open_index(set, path, folder);
    if (status == LS_OK)
        status = join(path, folder, "pytorch_model.bin"); /* of models from before 2023 */
    if (status == LS_OK && ls_disk_exists(path)) {
        status = ls_foreign_map(set, path);
        return status == LS_OK ? ls_foreign_parse(set) : status;
    }
    return status == LS_OK ? ls_fail(LS_ENOTFOUND,
                                     "%s: neither model.safetensors nor model.safetensors.index.json nor "
                                     "pytorch_model.bin in it",
                                     folder)
                           : status;
}
