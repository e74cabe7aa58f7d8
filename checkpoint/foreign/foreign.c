/* A set of tensors over mapped files. See foreign.h. */
#include "checkpoint/foreign/parts.h"

#include "base/half.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
    const char *name;
    size_t size;
} types[] = {
#define X(name, bytes) {#name, bytes},
    LS_FOREIGN_TYPES(X)
#undef X
};

const char *ls_foreign_type_name(ls_foreign_type type)
{
    return types[type].name;
}

size_t ls_foreign_type_size(ls_foreign_type type)
{
    return types[type].size;
}

bool ls_foreign_measure(ls_foreign_tensor *tensor, int64_t *bytes)
{
    int64_t count = 1;
    for (int d = 0; d < tensor->ndim; d++)
        if (tensor->shape[d] < 0 || __builtin_mul_overflow(count, tensor->shape[d], &count))
            return false;
    tensor->count = count;
    return !__builtin_mul_overflow(count, (int64_t)types[tensor->type].size, bytes) && *bytes <= INT64_MAX / 2;
}

const char *ls_foreign_describe(const ls_foreign_tensor *tensor, char text[LS_FOREIGN_DESCRIPTION])
{
    int length = snprintf(text, LS_FOREIGN_DESCRIPTION, "%s [", types[tensor->type].name);
    for (int d = 0; d < tensor->ndim; d++)
        length += snprintf(text + length, LS_FOREIGN_DESCRIPTION - (size_t)length, "%s%lld", d ? ", " : "",
                           (long long)tensor->shape[d]);
    snprintf(text + length, LS_FOREIGN_DESCRIPTION - (size_t)length, "]");
    return text;
}

ls_status ls_foreign_parse(ls_foreign *set)
{
    const ls_foreign_file *file = &set->file[set->files - 1];
    const bool zip = file->size >= 4 && !memcmp(file->bytes, "PK\x03\x04", 4);
    return zip ? ls_zip_parse(set) : ls_safetensors_parse(set);
}

/* ---- files ---- */

static ls_status add_file(ls_foreign *set, const ls_foreign_file *file, const char *path)
{
    if (set->files == set->files_room) {
        int room = set->files_room ? 2 * set->files_room : 4;
        ls_foreign_file *grown = realloc(set->file, (size_t)room * sizeof *grown);
        if (!grown)
            return ls_fail(LS_EMEM, "%s: no memory to read it", path);
        set->file = grown;
        set->files_room = room;
    }
    char *copy = strdup(path);
    if (!copy)
        return ls_fail(LS_EMEM, "%s: no memory to read it", path);
    set->file[set->files] = *file;
    set->file[set->files++].path = copy;
    return LS_OK;
}

ls_status ls_foreign_lend(ls_foreign *set, const char *name, const void *bytes, size_t size)
{
    return add_file(set, &(ls_foreign_file){.bytes = bytes, .size = size}, name);
}

ls_status ls_foreign_map(ls_foreign *set, const char *path)
{
    int fd;
    int64_t bytes;
    ls_status status = ls_disk_open(path, &fd, &bytes);
    if (status != LS_OK)
        return status;
    ls_foreign_file file = {.bytes = "", .size = (size_t)bytes, .mapped = bytes > 0};
    if (bytes > 0) /* nothing cannot be mapped, and the reader refuses it by its size */
        file.bytes = mmap(NULL, (size_t)bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (file.bytes == MAP_FAILED)
        status = ls_disk_fail(path, "map into memory");
    close(fd);
    if (status == LS_OK)
        status = add_file(set, &file, path);
    if (status != LS_OK && file.mapped && file.bytes != MAP_FAILED)
        munmap((void *)file.bytes, file.size);
    return status;
}

/* ---- tensors ---- */

ls_status ls_foreign_add(ls_foreign *set, const ls_foreign_tensor *tensor)
{
    const char *path = set->file[set->files - 1].path;
    if (set->count == set->room) {
        int room = set->room ? 2 * set->room : 64;
        ls_foreign_tensor *grown = realloc(set->tensor, (size_t)room * sizeof *grown);
        if (!grown)
            return ls_fail(LS_EMEM, "%s: no memory for the list of its tensors", path);
        set->tensor = grown;
        set->room = room;
    }
    char *name = strdup(tensor->name);
    if (!name)
        return ls_fail(LS_EMEM, "%s: no memory for the list of its tensors", path);
    set->tensor[set->count] = *tensor;
    set->tensor[set->count].file = path;
    set->tensor[set->count++].name = name;
    return LS_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const ls_foreign_tensor *)a)->name, ((const ls_foreign_tensor *)b)->name);
}

ls_status ls_foreign_settle(ls_foreign *set)
{
    if (set->count)
        qsort(set->tensor, (size_t)set->count, sizeof *set->tensor, by_name);
    for (int i = 1; i < set->count; i++)
        if (!strcmp(set->tensor[i - 1].name, set->tensor[i].name))
            return ls_fail(LS_EFORMAT, "%s: tensor \"%.200s\" stands in %s as well; remove one of the two files",
                           set->tensor[i].file, set->tensor[i].name, set->tensor[i - 1].file);
    return LS_OK;
}

static bool is_folder(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

/* *set from what `fill` adds to it. */
static ls_status finish(ls_foreign **set, ls_foreign *filled, ls_status status)
{
    if (status == LS_OK)
        status = ls_foreign_settle(filled);
    if (status == LS_OK)
        *set = filled;
    else
        ls_foreign_close(filled);
    return status;
}

ls_status ls_foreign_open(ls_foreign **set, const char *path)
{
    *set = NULL;
    ls_foreign *filled = calloc(1, sizeof *filled);
    if (!filled)
        return ls_fail(LS_EMEM, "%s: no memory to read it", path);
    ls_status status = is_folder(path) ? ls_safetensors_open_folder(filled, path) : ls_foreign_map(filled, path);
    if (status == LS_OK && !is_folder(path))
        status = ls_foreign_parse(filled);
    return finish(set, filled, status);
}

ls_status ls_foreign_open_bytes(ls_foreign **set, const char *name, const void *bytes, size_t size)
{
    *set = NULL;
    ls_foreign *filled = calloc(1, sizeof *filled);
    if (!filled)
        return ls_fail(LS_EMEM, "%s: no memory to read it", name);
    ls_status status = ls_foreign_lend(filled, name, bytes, size);
    if (status == LS_OK)
        status = ls_foreign_parse(filled);
    return finish(set, filled, status);
}

void ls_foreign_close(ls_foreign *set)
{
    if (!set)
        return;
    for (int i = 0; i < set->count; i++)
        free((void *)set->tensor[i].name);
    for (int i = 0; i < set->files; i++) {
        if (set->file[i].mapped)
            munmap((void *)set->file[i].bytes, set->file[i].size);
        free(set->file[i].path);
    }
    free(set->tensor);
    free(set->file);
    free(set);
}

int ls_foreign_count(const ls_foreign *set)
{
    return set->count;
}

const ls_foreign_tensor *ls_foreign_at(const ls_foreign *set, int index)
{
    return &set->tensor[index];
}

const ls_foreign_tensor *ls_foreign_find(const ls_foreign *set, const char *name)
{
    const ls_foreign_tensor key = {.name = name};
    return set->count ? bsearch(&key, set->tensor, (size_t)set->count, sizeof key, by_name) : NULL;
}

/* ---- numbers ---- */

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

ls_status ls_foreign_floats(const ls_foreign_tensor *tensor, int64_t first, int64_t count, float *to)
{
    const char *from = (const char *)tensor->data + (size_t)first * types[tensor->type].size;
    if (tensor->type == LS_FOREIGN_F32) {
        if (count > 0)
            memcpy(to, from, (size_t)count * sizeof *to);
        return LS_OK;
    }
    if (tensor->type != LS_FOREIGN_F16 && tensor->type != LS_FOREIGN_BF16)
        return ls_fail(LS_EFORMAT,
                       "%s: tensor \"%.200s\" is %s; weights are read from F32, F16 and BF16: convert the file to one "
                       "of them",
                       tensor->file, tensor->name, types[tensor->type].name);
    for (int64_t i = 0; i < count; i++) {
        uint16_t x;
        memcpy(&x, from + 2 * i, sizeof x);
        to[i] = tensor->type == LS_FOREIGN_F16 ? ls_half_widen(x) : float_of((uint32_t)x << 16);
    }
    return LS_OK;
}
