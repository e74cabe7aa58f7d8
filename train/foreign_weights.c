/* See foreign_weights.h. */
#include "train/foreign_weights.h"

#include "checkpoint/disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_folder(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

/* `name` in the folder, or beside the file. False: too long a path. */
static bool beside(char to[LS_PATH], const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    if (is_folder(path))
        return snprintf(to, LS_PATH, "%s/%s", path, name) < LS_PATH;
    return snprintf(to, LS_PATH, "%.*s%s", slash ? (int)(slash - path) + 1 : 0, path, name) < LS_PATH;
}

bool ls_foreign_is_model(const char *path)
{
    char config[LS_PATH], recipe[LS_PATH];
    const char *dot = strrchr(path, '.');
    if (!is_folder(path) && !(dot && !strcmp(dot, ".safetensors")))
        return false;
    return beside(config, path, "config.json") && beside(recipe, path, "recipe.yaml") && access(config, F_OK) == 0 &&
           access(recipe, F_OK) != 0;
}

ls_status ls_foreign_options(const char *path, ls_transformer_options *options)
{
    char config[LS_PATH];
    int fd;
    int64_t bytes;
    if (!beside(config, path, "config.json"))
        return ls_fail(LS_EARG, "%.100s...: a path longer than %d bytes", path, LS_PATH - 1);
    ls_status status = ls_disk_open(config, &fd, &bytes);
    if (status != LS_OK)
        return status;
    char *text = malloc((size_t)bytes + 1);
    status =
        text ? ls_disk_read(fd, config, text, (size_t)bytes, 0) : ls_fail(LS_EMEM, "%s: no memory to read it", config);
    close(fd);
    if (status == LS_OK)
        status = ls_hugging_face_read(config, text, (size_t)bytes, options);
    free(text);
    return status;
}

/* The tensor at a place; NULL: not there. */
static const ls_foreign_tensor *find(const ls_foreign *weights, const ls_transformer_options *options,
                                     const ls_weight_place *place)
{
    const ls_foreign_tensor *tensor = ls_foreign_find(weights, place->name);
    const char *shorter = ls_hugging_face_short_name(options, place->name);
    return tensor || !shorter ? tensor : ls_foreign_find(weights, shorter);
}

static ls_status check_tensor(const ls_foreign_tensor *tensor, const ls_weight_place *place)
{
    char text[LS_FOREIGN_DESCRIPTION];
    bool same = tensor->ndim == place->ndim;
    for (int d = 0; same && d < tensor->ndim; d++)
        same = tensor->shape[d] == place->shape[d];
    if (same)
        return ls_foreign_floats(tensor, 0, 0, NULL); /* of a type that can be read? */
    char wanted[64];
    snprintf(wanted, sizeof wanted, place->ndim > 1 ? "[%lld, %lld]" : "[%lld]", (long long)place->shape[0],
             (long long)place->shape[1]);
    return ls_fail(LS_EFORMAT, "%s: tensor \"%s\" is %s, the model needs %s", tensor->file, tensor->name,
                   ls_foreign_describe(tensor, text), wanted);
}

static int by_address(const void *a, const void *b)
{
    const ls_foreign_tensor *const *x = a, *const *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* Each parameter's tensor, checked; used[count], ascending by address, which is by name. */
static ls_status find_all(const ls_foreign *weights, const char *path, const ls_transformer_options *options,
                          const ls_parameter *parameters, int count, const ls_foreign_tensor **used)
{
    for (int i = 0; i < count; i++) {
        ls_weight_place place;
        ls_status status = ls_hugging_face_place(options, &parameters[i], &place);
        if (status != LS_OK)
            return ls_fail_at(status, "%s", path);
        used[i] = find(weights, options, &place);
        if (!used[i])
            return ls_fail(LS_EFORMAT,
                           "%s: no tensor \"%s\" among its %d, which config.json asks for: fetch the whole model", path,
                           place.name, ls_foreign_count(weights));
        status = check_tensor(used[i], &place);
        if (status != LS_OK)
            return status;
    }
    qsort(used, (size_t)count, sizeof *used, by_address);
    return LS_OK;
}

/* A tied head that is stored all the same must be the embedding. */
static ls_status check_tied(const ls_foreign_tensor *head, const ls_foreign *weights,
                            const ls_transformer_options *options)
{
    const ls_parameter embedding = {
        .name = "embedding/token/weight", .ndim = 2, .shape = {options->vocabulary, options->width}};
    ls_weight_place place;
    ls_status status = ls_hugging_face_place(options, &embedding, &place);
    const ls_foreign_tensor *tensor = status == LS_OK ? find(weights, options, &place) : NULL;
    if (tensor && head->type == tensor->type && head->count == tensor->count &&
        !memcmp(head->data, tensor->data, (size_t)head->count * ls_foreign_type_size(head->type)))
        return LS_OK;
    return ls_fail(LS_EFORMAT,
                   "%s: tensor \"%s\" is not the embedding, but config.json says \"tie_word_embeddings\": true; set it "
                   "to false to keep both",
                   head->file, head->name);
}

/* A tensor that nobody asks for would be a feature that is lost without a word. */
static ls_status check_rest(const ls_foreign *weights, const ls_transformer_options *options,
                            const ls_foreign_tensor *const *used, int count)
{
    for (int i = 0; i < ls_foreign_count(weights); i++) {
        const ls_foreign_tensor *tensor = ls_foreign_at(weights, i);
        bool copy;
        if (bsearch(&tensor, used, (size_t)count, sizeof *used, by_address))
            continue;
        if (!ls_hugging_face_ignored(options, tensor->name, &copy))
            return ls_fail(LS_EFORMAT,
                           "%s: tensor \"%.200s\" belongs to no part of the model that config.json describes",
                           tensor->file, tensor->name);
        ls_status status = copy ? check_tied(tensor, weights, options) : LS_OK;
        if (status != LS_OK)
            return status;
    }
    return LS_OK;
}

ls_status ls_foreign_weights_open(ls_foreign **weights, const char *path, const ls_transformer_options *options,
                                  const ls_parameter *parameters, int count)
{
    ls_status status = ls_foreign_open(weights, path);
    if (status != LS_OK)
        return status;
    const ls_foreign_tensor **used = malloc((size_t)(count + 1) * sizeof *used);
    status = used ? find_all(*weights, path, options, parameters, count, used)
                  : ls_fail(LS_EMEM, "%s: no memory to check its tensors", path);
    if (status == LS_OK)
        status = check_rest(*weights, options, used, count);
    free(used);
    if (status != LS_OK) {
        ls_foreign_close(*weights);
        *weights = NULL;
    }
    return status;
}

ls_status ls_foreign_model_open(ls_foreign **weights, const char *path, ls_transformer_options *options)
{
    ls_transformer *model = NULL;
    ls_parameter *parameters;
    *weights = NULL;
    ls_status status = ls_foreign_options(path, options);
    if (status == LS_OK)
        status = ls_fail_at(ls_transformer_create(&model, options), "%s/config.json", path);
    if (status != LS_OK)
        return status;
    *options = *ls_transformer_config(model);
    const int count = ls_transformer_parameters(model, &parameters);
    status = ls_foreign_weights_open(weights, path, options, parameters, count);
    ls_transformer_free(model);
    return status;
}

enum { RUN = 64 }; /* rows taken together where the tensor stands transposed: a run of them is one stretch of memory */

/* Rows [top, top + rows) of a transposed matrix, of which elements [first, past) go to `to`. */
static void take_transposed(const ls_foreign_tensor *tensor, const ls_weight_place *place, int64_t columns, int64_t top,
                            int64_t rows, int64_t first, int64_t past, float *to)
{
    float run[RUN];
    for (int64_t column = 0; column < columns; column++) {
        ls_foreign_floats(tensor, ls_weight_place_index(place, top, column), rows, run);
        for (int64_t r = 0; r < rows; r++) {
            const int64_t element = (top + r) * columns + column;
            if (element >= first && element < past)
                to[element - first] = run[r];
        }
    }
}

ls_status ls_foreign_weights_read(const ls_foreign *weights, const ls_transformer_options *options,
                                  const ls_parameter *p, int64_t first, int64_t count, float *to)
{
    ls_weight_place place;
    ls_status status = ls_hugging_face_place(options, p, &place);
    const ls_foreign_tensor *tensor = status == LS_OK ? find(weights, options, &place) : NULL;
    if (!tensor)
        return status == LS_OK ? ls_fail(LS_ENOTFOUND, "no tensor \"%s\" in these weights", place.name) : status;
    status = check_tensor(tensor, &place);
    if (status != LS_OK)
        return status;
    const int64_t columns = p->ndim > 1 ? p->shape[1] : 1, past = first + count;
    if (!place.transposed && !place.turn)
        return ls_foreign_floats(tensor, place.first * columns + first, count, to);
    for (int64_t row = first / columns; row * columns < past && status == LS_OK;) {
        int64_t rows = (past + columns - 1) / columns - row;
        rows = rows < RUN ? rows : RUN;
        if (place.transposed) {
            take_transposed(tensor, &place, columns, row, rows, first, past, to);
            row += rows;
            continue;
        }
        const int64_t begin = row * columns > first ? row * columns : first,
                      end = (row + 1) * columns < past ? (row + 1) * columns : past;
        status = ls_foreign_floats(tensor, ls_weight_place_index(&place, row, begin - row * columns), end - begin,
                                   to + (begin - first));
        row++;
    }
    return status;
}
