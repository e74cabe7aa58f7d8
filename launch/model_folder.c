/* From a folder to a model that can be run. See model_folder.h. */
#include "launch/model_folder.h"
#include "checkpoint/checkpoint.h"
#include "launch/recipe.h"
#include "models/parameters.h"
#include "train/foreign_weights.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The folder itself, or the run that a checkpoint folder belongs to. */
static ls_status find_home(ls_model_folder *folder, const char *path)
{
    static const char *const up[] = {"", "/../.."};
    for (int i = 0; i < 2; i++) {
        char recipe[PATH_MAX + 32];
        snprintf(folder->home, sizeof folder->home, "%.4000s%s", path, up[i]);
        snprintf(recipe, sizeof recipe, "%s/recipe.yaml", folder->home);
        if (access(recipe, R_OK) == 0)
            return LS_OK;
    }
    return ls_fail(LS_ENOTFOUND, "%s: no recipe.yaml in it: neither a run folder nor an imported model", path);
}

/* The one file of FOLDER/tokenizer/, or that folder when there are several (vocab and merges apart). */
static ls_status find_tokenizer(const ls_model_folder *folder, char path[PATH_MAX + 300])
{
    snprintf(path, PATH_MAX + 300, "%s/tokenizer.json", folder->home);
    if (access(path, R_OK) == 0)
        return LS_OK;
    snprintf(path, PATH_MAX + 300, "%s/tokenizer", folder->home);
    DIR *directory = opendir(path);
    if (!directory)
        return ls_fail(LS_ENOTFOUND, "%s: neither tokenizer.json nor tokenizer/ in it; put the model's tokenizer there",
                       folder->home);
    int files = 0;
    char only[256] = "";
    for (struct dirent *entry; (entry = readdir(directory));)
        if (entry->d_name[0] != '.') {
            files++;
            snprintf(only, sizeof only, "%s", entry->d_name);
        }
    closedir(directory);
    if (files == 1)
        snprintf(path, PATH_MAX + 300, "%s/tokenizer/%s", folder->home, only);
    return LS_OK;
}

/* One parameter's tensor from the checkpoint into its place; names, types and shapes must be the model's. */
static ls_status read_parameter(const char *path, bool averaged, const ls_parameter *parameter, float *to, bool *average)
{
    const char *name = parameter->name;
    ls_state_entry entry;
    void *data = NULL;
    ls_status status = ls_checkpoint_read_weight(path, name, averaged, &entry, &data, average);
    if (status)
        return status;
    if (entry.type != LS_F32)
        status = ls_fail(LS_ESTATE, "%s: model/%s is %s, expected f32 masters", path, name, ls_type_name(entry.type));
    else if (entry.ndim != parameter->ndim || memcmp(entry.shape, parameter->shape, (size_t)entry.ndim * sizeof *entry.shape))
        status = ls_fail(LS_ESTATE, "%s: model/%s has another shape (%d axes, %lld elements) than the model of recipe.yaml (%d axes, %lld)",
                         path, name, entry.ndim, (long long)ls_state_elements(&entry), parameter->ndim,
                         (long long)parameter->count);
    else
        memcpy(to, data, (size_t)parameter->count * sizeof *to);
    free(data);
    return status;
}

static ls_status read_foreign(ls_model_folder *folder, const char *path, const ls_parameter *parameters, int count)
{
    ls_foreign *weights;
    const ls_transformer_options *options = ls_transformer_config(folder->model);
    ls_status status = ls_foreign_weights_open(&weights, path, options, parameters, count);
    for (int i = 0; i < count && !status; i++)
        status = ls_foreign_weights_read(weights, options, &parameters[i], 0, parameters[i].count, folder->weights + parameters[i].offset);
    ls_foreign_close(weights);
    return status;
}

/* In large pages where the system gives them: a token of decoding reads all weights, at nearly twice the rate then. */
static float *weights_memory(size_t bytes)
{
    enum { PAGE = 2 << 20 };
    const size_t unit = bytes < PAGE ? 64 : PAGE, size = (bytes + unit - 1) / unit * unit;
    void *memory = aligned_alloc(unit, size);
    if (memory && unit == PAGE)
        madvise(memory, size, MADV_HUGEPAGE); /* a wish: refusal does no harm */
    return memory;
}

static ls_status read_weights(ls_model_folder *folder, const char *path, bool averaged)
{
    ls_parameter *parameters;
    const int count = ls_transformer_parameters(folder->model, &parameters);
    folder->elements = ls_parameters_layout(parameters, count);
    folder->weights = weights_memory((size_t)folder->elements * sizeof *folder->weights);
    if (!folder->weights)
        return ls_fail(LS_EMEM, "%s: no memory for %lld weights", path, (long long)folder->elements);
    memset(folder->weights, 0, (size_t)folder->elements * sizeof *folder->weights);
    ls_parameters_bind(parameters, count, LS_F32, folder->weights, folder->weights);
    if (ls_foreign_is_model(path))
        return averaged ? ls_fail(LS_ENOTFOUND, "%s: a Hugging Face folder has no averaged weights; leave out --ema", path)
                        : read_foreign(folder, path, parameters, count);
    ls_status status = LS_OK;
    int averages = 0;
    for (int i = 0; i < count && !status; i++) { /* parameters that were frozen have no average: they are their own */
        bool average = false;
        status = read_parameter(path, averaged, &parameters[i], folder->weights + parameters[i].offset, &average);
        averages += average;
    }
    if (!status && averaged && !averages)
        status = ls_fail(LS_ENOTFOUND, "%s: no averaged weights in its checkpoint; they come with ema.decay in the recipe; leave out --ema", path);
    return status;
}

/* No such file: documents. A name that is none is refused where it is used. */
static void read_template(ls_model_folder *folder)
{
    char path[PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/template", folder->home);
    FILE *file = fopen(path, "r");
    if (!file)
        return;
    folder->template_name[fread(folder->template_name, 1, sizeof folder->template_name - 1, file)] = '\0';
    folder->template_name[strcspn(folder->template_name, "\r\n")] = '\0';
    fclose(file);
}

/* Finds what the folder says of the network, and its tokenizer. */
static ls_status open_texts(ls_model_folder *folder, const char *path)
{
    char recipe[PATH_MAX + 32], tokenizer[PATH_MAX + 300];
    ls_status status = LS_OK;
    if (ls_foreign_is_model(path)) {
        snprintf(folder->home, sizeof folder->home, "%.4000s", path);
        snprintf(tokenizer, sizeof tokenizer, "%.4000s", path);
        status = ls_foreign_options(path, &folder->options);
    } else {
        status = find_home(folder, path);
        if (status)
            return status;
        read_template(folder);
        snprintf(recipe, sizeof recipe, "%s/recipe.yaml", folder->home);
        status = ls_recipe_read_model(recipe, &folder->options);
        if (!status)
            status = find_tokenizer(folder, tokenizer);
    }
    if (!status)
        status = ls_tokenizer_open(&folder->tokenizer, tokenizer);
    if (!status && !folder->options.vocabulary) /* a recipe may leave it to the data, which took the tokenizer's */
        folder->options.vocabulary = ls_tokenizer_size(folder->tokenizer);
    if (!status && folder->options.vocabulary < ls_tokenizer_size(folder->tokenizer))
        status = ls_fail(LS_ESTATE, "%s: the tokenizer has %lld tokens, the model %lld: not its own tokenizer", tokenizer,
                         (long long)ls_tokenizer_size(folder->tokenizer), (long long)folder->options.vocabulary);
    return status;
}

/* A recipe may leave the vocabulary to the data: the embedding has that many rows. */
static ls_status vocabulary_of_weights(ls_model_folder *folder, const char *path)
{
    ls_state_entry entry;
    void *data;
    ls_status status = ls_checkpoint_read(path, "model/embedding/token/weight", &entry, &data);
    free(data);
    folder->options.vocabulary = status ? 0 : entry.shape[0];
    return status;
}

ls_status ls_model_folder_open_weights(ls_model_folder *folder, const char *path, bool averaged)
{
    *folder = (ls_model_folder){0};
    ls_status status = open_texts(folder, path);
    const bool known = folder->options.layers > 0;
    if (status && known) { /* the network is known; the tokenizer is not there, or not one of ours */
        ls_tokenizer_free(folder->tokenizer);
        folder->tokenizer = NULL;
        status = LS_OK;
    }
    if (!status && !folder->options.vocabulary)
        status = vocabulary_of_weights(folder, path);
    if (!status)
        status = ls_transformer_create(&folder->model, &folder->options);
    return status ? status : read_weights(folder, path, averaged);
}

ls_status ls_model_folder_open(ls_model_folder *folder, const char *path, int threads, bool averaged, int node_ranks)
{
    *folder = (ls_model_folder){0};
    ls_status status = open_texts(folder, path);
    if (!status)
        status = ls_team_create(&folder->team, threads, node_ranks);
    if (!status)
        status = ls_device_create_cpu(&folder->device, folder->team);
    if (!status)
        status = ls_transformer_create(&folder->model, &folder->options);
    return status ? status : read_weights(folder, path, averaged);
}

void ls_model_folder_close(ls_model_folder *folder)
{
    if (folder->model)
        ls_transformer_free(folder->model);
    if (folder->device)
        folder->device->free(folder->device);
    if (folder->team)
        ls_team_free(folder->team);
    if (folder->tokenizer)
        ls_tokenizer_free(folder->tokenizer);
    free(folder->weights);
    *folder = (ls_model_folder){0};
}

ls_status ls_model_folder_append(ls_ids *ids, int32_t id)
{
    if (ids->count == ids->room) {
        int64_t room = ids->room ? 2 * ids->room : 64;
        int32_t *grown = realloc(ids->id, (size_t)room * sizeof *grown);
        if (!grown)
            return ls_fail(LS_EMEM, "no memory for %lld ids", (long long)room);
        ids->id = grown;
        ids->room = room;
    }
    ids->id[ids->count++] = id;
    return LS_OK;
}

ls_status ls_model_folder_prompt(const ls_model_folder *folder, const char *text, size_t bytes, ls_ids *ids)
{
    int32_t first = ls_tokenizer_bos(folder->tokenizer);
    if (first < 0 && bytes == 0)
        first = ls_tokenizer_eot(folder->tokenizer);
    ls_status status = first >= 0 ? ls_model_folder_append(ids, first) : LS_OK;
    return status ? status : ls_tokenizer_encode(folder->tokenizer, text, bytes, true, ids);
}

ls_status ls_model_folder_question(const ls_model_folder *folder, const ls_template *template, const char *text, size_t bytes,
                                   ls_ids *ids)
{
    const ls_message message = {.role = "user", .text = text, .bytes = bytes};
    ls_masked_ids open = {0};
    ls_status status = ls_template_encode(template, folder->tokenizer, &message, 1, true, &open);
    for (int64_t i = 0; i < open.ids.count && !status; i++)
        status = ls_model_folder_append(ids, open.ids.id[i]);
    ls_masked_ids_free(&open);
    return status;
}

ls_status ls_model_folder_text(const ls_model_folder *folder, const int32_t *id, int64_t prompt, int64_t count, char **text,
                               size_t *bytes)
{
    char *before, *all;
    size_t before_bytes, all_bytes;
    ls_status status = ls_tokenizer_decode(folder->tokenizer, id, prompt, &before, &before_bytes);
    if (status)
        return status;
    free(before);
    status = ls_tokenizer_decode(folder->tokenizer, id, count, &all, &all_bytes);
    if (status)
        return status;
    *bytes = all_bytes > before_bytes ? all_bytes - before_bytes : 0;
    memmove(all, all + all_bytes - *bytes, *bytes + 1);
    *text = all;
    return LS_OK;
}
