/* See import.h. */
#include "launch/ckpt/import.h"

#include "base/arena.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/disk.h"
#include "datasets/tokenizer.h"
#include "launch/recipe/schema.h"
#include "models/llama2c.h"
#include "models/parameters.h"
#include "train/foreign_weights.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RECIPE_ARENA = 1 << 20 };

typedef struct {
    char partial[LS_PATH];
    ls_transformer_options options;
    ls_transformer *model;
    ls_parameter *parameters;
    int count;
    float *weights;
    bool foreign, folder_of_tokenizer; /* Hugging Face's; the tokenizer is the model's own folder */
    ls_arena *arena;
    char *recipe; /* in the arena */
} import;

/* The model of i->options, with memory for its weights. */
static ls_status make_model(import *i, const char *path)
{
    ls_status status = ls_transformer_create(&i->model, &i->options);
    if (status != LS_OK)
        return ls_fail_at(status, "%s", path);
    i->options = *ls_transformer_config(i->model);
    i->count = ls_transformer_parameters(i->model, &i->parameters);
    int64_t elements = ls_parameters_layout(i->parameters, i->count);
    i->weights = calloc((size_t)elements, sizeof *i->weights);
    return i->weights ? LS_OK : ls_fail(LS_EMEM, "%s: no memory for its %lld weights", path, (long long)elements);
}

static ls_status read_llama2c(import *i, const char *path)
{
    ls_llama2c *file;
    ls_status status = ls_llama2c_open(&file, path, &i->options);
    if (status != LS_OK)
        return status;
    status = make_model(i, path);
    if (status == LS_OK)
        status = ls_llama2c_read(file, i->parameters, i->count, i->weights);
    ls_llama2c_close(file);
    return status;
}

static ls_status read_foreign(import *i, const char *path)
{
    ls_foreign *weights = NULL;
    ls_status status = ls_foreign_options(path, &i->options);
    if (status == LS_OK)
        status = make_model(i, path);
    if (status == LS_OK)
        status = ls_foreign_weights_open(&weights, path, &i->options, i->parameters, i->count);
    for (int p = 0; p < i->count && status == LS_OK; p++)
        status = ls_foreign_weights_read(weights, &i->options, &i->parameters[p], 0, i->parameters[p].count,
                                         i->weights + i->parameters[p].offset);
    ls_foreign_close(weights);
    return status;
}

static ls_status check_tokenizer(const import *i, const char *path)
{
    ls_tokenizer *tokenizer;
    ls_status status = ls_tokenizer_open(&tokenizer, path);
    if (status != LS_OK)
        return status;
    int64_t tokens = ls_tokenizer_size(tokenizer);
    ls_tokenizer_free(tokenizer);
    bool fits = i->foreign ? tokens <= i->options.vocabulary : tokens == i->options.vocabulary; /* there are padded ones */
    return fits
               ? LS_OK
               : ls_fail(LS_ESTATE, "%s: %lld tokens, the model has %lld: give the tokenizer it was trained with", path,
                         (long long)tokens, (long long)i->options.vocabulary);
}

/* A new file on the disk, synced. */
static ls_status put(const char *path, const void *bytes, size_t size)
{
    int fd;
    ls_status status = ls_disk_create(path, &fd);
    if (status != LS_OK)
        return status;
    status = ls_disk_write(fd, path, bytes, size, 0);
    if (status == LS_OK)
        status = ls_disk_sync(fd, path);
    if (close(fd) != 0 && status == LS_OK)
        status = ls_disk_fail(path, "close");
    return status;
}

static ls_status copy_file(const import *i, const char *from)
{
    const char *slash = strrchr(from, '/');
    char folder[LS_PATH + 16], to[3 * LS_PATH];
    int fd;
    int64_t bytes;
    snprintf(folder, sizeof folder, "%s/tokenizer", i->partial);
    snprintf(to, sizeof to, "%s/%s", folder, slash ? slash + 1 : from);
    ls_status status = ls_disk_open(from, &fd, &bytes);
    if (status != LS_OK)
        return status;
    void *all = malloc((size_t)bytes + 1);
    status = all ? ls_disk_read(fd, from, all, (size_t)bytes, 0) : ls_fail(LS_EMEM, "%s: no memory to copy it", from);
    close(fd);
    if (status == LS_OK)
        status = ls_disk_make_folder(folder);
    if (status == LS_OK)
        status = put(to, all, (size_t)bytes);
    if (status == LS_OK)
        status = ls_disk_sync_folder(folder);
    free(all);
    return status;
}

/* A file, or those of a folder that belong to a tokenizer. */
static ls_status copy_tokenizer(const import *i, const char *from)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "merges.txt",
                                        "special_tokens_map.json", "chat_template.jinja"};
    if (!i->folder_of_tokenizer)
        return copy_file(i, from);
    ls_status status = LS_OK;
    for (size_t n = 0; n < sizeof names / sizeof *names && status == LS_OK; n++) {
        char path[LS_PATH + 32];
        snprintf(path, sizeof path, "%.4095s/%s", from, names[n]);
        if (ls_disk_exists(path))
            status = copy_file(i, path);
    }
    return status;
}

static ls_status put_recipe(import *i)
{
    ls_status status = ls_arena_create(&i->arena, "recipe", RECIPE_ARENA);
    if (status != LS_OK)
        return status;
    char path[LS_PATH + 16];
    snprintf(path, sizeof path, "%s/recipe.yaml", i->partial);
    ls_schema schema = {.file = path, .arena = i->arena};
    ls_schema_add(&schema, "model", ls_transformer_option_rows, &i->options);
    i->recipe = ls_schema_write(&schema, LS_SCHEMA_ALL);
    return i->recipe ? put(path, i->recipe, strlen(i->recipe)) : ls_fail(LS_EMEM, "%s: no memory for the recipe", path);
}

static ls_status add_parameters(const import *i, ls_state_tree *tree)
{
    ls_status status = LS_OK;
    for (int p = 0; status == LS_OK && p < i->count; p++) {
        const ls_parameter *parameter = &i->parameters[p];
        char name[256];
        snprintf(name, sizeof name, "model/%s", parameter->name);
        ls_state_entry entry = {.name = name,
                                .kind = LS_STATE_PARAMETER,
                                .type = LS_F32,
                                .ndim = parameter->ndim,
                                .held = parameter->count,
                                .data = i->weights + parameter->offset};
        memcpy(entry.shape, parameter->shape, (size_t)parameter->ndim * sizeof *entry.shape);
        status = ls_state_add(tree, &entry);
    }
    return status;
}

ls_status ls_ckpt_save(ls_state_tree *tree, const char *folder, const char *recipe)
{
    ls_world *world;
    ls_status status = ls_world_open(&world, NULL);
    if (status != LS_OK)
        return status;
    ls_checkpoint_options options = {.keep = 1, .numerics = "imported", .recipe = recipe};
    if (ls_world_ranks(world) > 1)
        status = ls_fail(LS_EARG, "run it alone, not under mpirun or srun with %d ranks", ls_world_ranks(world));
    if (status == LS_OK)
        status = ls_checkpoint_save(world, tree, folder, 0, &options);
    ls_world_close(world);
    return status;
}

static ls_status put_checkpoint(const import *i)
{
    ls_state_tree *tree = ls_state_create();
    ls_status status = tree ? add_parameters(i, tree) : ls_fail(LS_EMEM, "no memory for the state tree");
    if (status == LS_OK)
        status = ls_ckpt_save(tree, i->partial, i->recipe);
    if (tree)
        ls_state_free(tree);
    return status;
}

/* OUT.partial is made, filled, and named OUT; a stranger's OUT.partial is not touched. */
static ls_status make_folder(import *i, const char *tokenizer, const char *out)
{
    ls_status status = ls_disk_make_folder(i->partial);
    if (status == LS_OK && tokenizer)
        status = copy_tokenizer(i, tokenizer);
    if (status == LS_OK)
        status = put_recipe(i);
    if (status == LS_OK)
        status = put_checkpoint(i);
    if (status == LS_OK)
        status = ls_disk_sync_folder(i->partial);
    return status == LS_OK ? ls_disk_rename(i->partial, out) : status;
}

static ls_status check_free(const char *path)
{
    return ls_disk_exists(path) ? ls_fail(LS_EEXIST, "%s: is there already; give another name, or remove it", path)
                                : LS_OK;
}

/* The tokenizer beside a foreign model, unless another is given; NULL: there is none. One that lockstep cannot read is
 * brought along all the same: the weights are good for training on data that is packed already, and for `export`. */
static ls_status choose_tokenizer(import *i, const char *model, const char **tokenizer)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer.model", "vocab.json"};
    if (*tokenizer)
        return check_tokenizer(i, *tokenizer);
    char path[LS_PATH + 32];
    for (size_t n = 0; n < sizeof names / sizeof *names && !i->folder_of_tokenizer; n++) {
        snprintf(path, sizeof path, "%.4095s/%s", model, names[n]);
        i->folder_of_tokenizer = ls_disk_exists(path);
    }
    if (!i->folder_of_tokenizer) {
        printf("no tokenizer beside the weights: `generate` and `eval` will ask for one; give --tokenizer FILE\n");
        return LS_OK;
    }
    *tokenizer = model;
    ls_status status = check_tokenizer(i, model);
    if (status != LS_EFORMAT)
        return status;
    printf("its tokenizer is copied, but lockstep cannot read it: %s\n", ls_fail_sentence());
    return LS_OK;
}

ls_status ls_ckpt_plan(char partial[LS_PATH], const char *out)
{
    if (!*out || out[strlen(out) - 1] == '/' || snprintf(partial, LS_PATH, "%s.partial", out) >= LS_PATH - 64)
        return ls_fail(LS_EARG, "\"%s\" cannot be made: give a name without '/' at its end", out);
    ls_status status = check_free(out);
    return status == LS_OK ? check_free(partial) : status;
}

ls_status ls_ckpt_import(const char *model, const char *tokenizer, const char *out)
{
    import i = {.foreign = ls_foreign_is_model(model)};
    if (!i.foreign && !tokenizer && ls_ckpt_is_tensors(model))
        return ls_ckpt_import_tensors(model, out);
    if (!i.foreign && !tokenizer)
        return ls_fail(LS_EARG,
                       "%s: neither a folder with config.json, nor tensors (.safetensors, .pt, .npz); for a file of "
                       "llama2.c give --tokenizer FILE as well",
                       model);
    ls_status status = ls_ckpt_plan(i.partial, out);
    if (status == LS_OK)
        status = i.foreign ? read_foreign(&i, model) : read_llama2c(&i, model);
    if (status == LS_OK)
        status = choose_tokenizer(&i, model, &tokenizer);
    if (status == LS_OK)
        status = make_folder(&i, tokenizer, out);
    if (status == LS_OK)
        printf("%s: %d tensors; try `lockstep generate %s`\n", out, i.count, out);
    ls_transformer_free(i.model);
    free(i.weights);
    ls_arena_free(i.arena);
    return status;
}
