/* See export.h. */
#include "launch/ckpt/export.h"

#include "checkpoint/disk.h"
#include "checkpoint/foreign/safetensors_writer.h"
#include "datasets/file.h"
#include "launch/ckpt/import.h"
#include "launch/model_folder.h"
#include "models/hugging_face/hugging_face.h"

#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    char partial[LS_PATH];
    ls_model_folder folder;
    const ls_transformer_options *options;
    ls_parameter *parameters;
    int count;
    ls_weight_place *place;     /* [count] of each parameter */
    ls_foreign_tensor *tensors; /* of the file: each name once, in the order of the parameters */
    int tensor_count;
    ls_foreign_type type;
    int64_t shard_bytes;
} exported;

static bool path_in(char path[LS_PATH], const char *folder, const char *name)
{
    return snprintf(path, LS_PATH, "%s/%s", folder, name) < LS_PATH;
}

/* Parts of a fused matrix come one after the other in the list of parameters. */
static ls_status list_tensors(exported *e)
{
    e->place = calloc((size_t)e->count, sizeof *e->place);
    e->tensors = calloc((size_t)e->count, sizeof *e->tensors);
    if (!e->place || !e->tensors)
        return ls_fail(LS_EMEM, "no memory for the list of %d tensors", e->count);
    for (int i = 0; i < e->count; i++) {
        ls_status status = ls_hugging_face_place(e->options, &e->parameters[i], &e->place[i]);
        if (status == LS_ENOTFOUND && !strcmp(e->parameters[i].name, LS_SLOT_NAME)) {
            printf("%s is left out: it decodes nothing by itself, and Hugging Face's form has no place for it\n", LS_SLOT_NAME);
            continue; /* its place keeps an empty name, which is no tensor's */
        }
        if (status != LS_OK)
            return status;
        const ls_weight_place *place = &e->place[i];
        int t = 0;
        while (t < e->tensor_count && strcmp(e->tensors[t].name, place->name))
            t++;
        if (t < e->tensor_count)
            continue;
        e->tensors[e->tensor_count++] = (ls_foreign_tensor){
            .name = place->name,
            .type = e->type,
            .ndim = place->ndim,
            .shape = {place->shape[0], place->shape[1]},
            .count = place->ndim > 1 ? place->shape[0] * place->shape[1] : place->shape[0],
        };
    }
    return LS_OK;
}

/* What our parameter has of the tensor. */
static void scatter(const ls_parameter *p, const ls_weight_place *place, const float *from, float *to)
{
    const int64_t columns = p->ndim > 1 ? p->shape[1] : 1;
    for (int64_t row = 0; row < p->shape[0]; row++)
        for (int64_t column = 0; column < columns; column++)
            to[ls_weight_place_index(place, row, column)] = from[row * columns + column];
}

static ls_status put_tensor(const exported *e, ls_safetensors_writer *writer, const ls_foreign_tensor *tensor)
{
    float *whole = malloc((size_t)tensor->count * sizeof *whole + 1);
    if (!whole)
        return ls_fail(LS_EMEM, "no memory for the %lld numbers of %s", (long long)tensor->count, tensor->name);
    for (int i = 0; i < e->count; i++)
        if (!strcmp(e->place[i].name, tensor->name))
            scatter(&e->parameters[i], &e->place[i], e->folder.weights + e->parameters[i].offset, whole);
    ls_status status = ls_safetensors_put(writer, whole, tensor->count);
    free(whole);
    return status;
}

static ls_status put_text(const exported *e, const char *name, const char *text)
{
    char path[LS_PATH];
    return path_in(path, e->partial, name) ? ls_data_file_write(path, text, strlen(text))
                                           : ls_fail(LS_EARG, "%s: too long a path", e->partial);
}

/* One file, of tensors [first, end). */
static ls_status put_file(const exported *e, const char *name, int first, int end)
{
    char path[LS_PATH];
    ls_safetensors_writer *writer = NULL;
    ls_status status = path_in(path, e->partial, name) ? LS_OK : ls_fail(LS_EARG, "%s: too long a path", e->partial);
    if (status == LS_OK)
        status = ls_safetensors_begin(&writer, path, e->tensors + first, end - first);
    for (int t = first; t < end && status == LS_OK; t++)
        status = put_tensor(e, writer, &e->tensors[t]);
    ls_status closed = ls_safetensors_end(writer);
    return status == LS_OK ? closed : status;
}

static int64_t tensor_bytes(const ls_foreign_tensor *t)
{
    return t->count * (int64_t)ls_foreign_type_size(t->type);
}

/* Where the file that begins with this tensor ends. */
static int file_end(const exported *e, int first)
{
    int64_t bytes = 0;
    int end = first;
    do
        bytes += tensor_bytes(&e->tensors[end++]);
    while (end < e->tensor_count && (!e->shard_bytes || bytes + tensor_bytes(&e->tensors[end]) <= e->shard_bytes));
    return end;
}

/* The index, as transformers writes it: bytes in all, and the file of each tensor. */
static ls_status put_index(const exported *e, json_t *files)
{
    int64_t bytes = 0;
    for (int t = 0; t < e->tensor_count; t++)
        bytes += tensor_bytes(&e->tensors[t]);
    json_t *root = json_pack("{s:{s:I}, s:O}", "metadata", "total_size", (json_int_t)bytes, "weight_map", files);
    char *text = root ? json_dumps(root, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
    const ls_status status = text ? put_text(e, "model.safetensors.index.json", text)
                                  : ls_fail(LS_EMEM, "no memory for the index of %d tensors", e->tensor_count);
    free(text);
    json_decref(root);
    return status;
}

static ls_status put_weights(const exported *e)
{
    int files = 0;
    for (int first = 0; first < e->tensor_count; first = file_end(e, first))
        files++;
    if (files == 1)
        return put_file(e, "model.safetensors", 0, e->tensor_count);
    json_t *map = json_object();
    ls_status status = LS_OK;
    for (int first = 0, end, number = 1; first < e->tensor_count && status == LS_OK; first = end, number++) {
        char name[64];
        end = file_end(e, first);
        snprintf(name, sizeof name, "model-%05d-of-%05d.safetensors", number, files);
        for (int t = first; t < end; t++)
            json_object_set_new(map, e->tensors[t].name, json_string(name));
        status = put_file(e, name, first, end);
    }
    if (status == LS_OK)
        status = put_index(e, map);
    json_decref(map);
    return status;
}

static ls_status put_config(const exported *e)
{
    const ls_tokenizer *tokenizer = e->folder.tokenizer;
    const char *dtype = e->type == LS_FOREIGN_F32 ? "float32" : e->type == LS_FOREIGN_F16 ? "float16" : "bfloat16";
    char *text;
    ls_status status = ls_hugging_face_write(e->options, dtype, tokenizer ? ls_tokenizer_bos(tokenizer) : -1,
                                             tokenizer ? ls_tokenizer_eot(tokenizer) : -1, &text);
    if (status == LS_OK)
        status = put_text(e, "config.json", text);
    free(text);
    return status;
}

/* ---- the tokenizer ---- */

/* The text of a token, as JSON; null: none. */
static json_t *token_text(ls_tokenizer *tokenizer, int32_t id)
{
    char *text;
    size_t bytes;
    if (id < 0 || ls_tokenizer_decode(tokenizer, &id, 1, &text, &bytes) != LS_OK)
        return json_null();
    json_t *value = json_stringn(text, bytes);
    free(text);
    return value ? value : json_null();
}

/* What AutoTokenizer needs beside tokenizer.json, where the model came without it. */
static ls_status put_tokenizer_config(const exported *e)
{
    ls_tokenizer *tokenizer = e->folder.tokenizer;
    json_t *root = json_pack("{s:s, s:o, s:o, s:I}", "tokenizer_class", "PreTrainedTokenizerFast", "bos_token",
                             token_text(tokenizer, ls_tokenizer_bos(tokenizer)), "eos_token",
                             token_text(tokenizer, ls_tokenizer_eot(tokenizer)), "model_max_length",
                             (json_int_t)e->options->context);
    char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    ls_status status =
        text ? put_text(e, "tokenizer_config.json", text) : ls_fail(LS_EMEM, "no memory for tokenizer_config.json");
    free(text);
    json_decref(root);
    return status;
}

/* The files of HOME/tokenizer/, as they came. *has_json, *has_config: what there is. */
static ls_status copy_files(const exported *e, bool *has_json, bool *has_config)
{
    char from[LS_PATH], path[2 * LS_PATH], to[2 * LS_PATH];
    *has_json = *has_config = false;
    DIR *folder = path_in(from, e->folder.home, "tokenizer") ? opendir(from) : NULL;
    ls_status status = LS_OK;
    for (struct dirent *entry; folder && status == LS_OK && (entry = readdir(folder));) {
        const char *name = entry->d_name, *dot = strrchr(name, '.');
        if (*name == '.' || !dot || !strcmp(dot, ".bin")) /* llama2.c's is no form that transformers knows */
            continue;
        uint64_t sum;
        snprintf(path, sizeof path, "%s/%s", from, name);
        snprintf(to, sizeof to, "%s/%s", e->partial, name);
        status = ls_data_file_copy(path, to, &sum);
        *has_json = *has_json || !strcmp(name, "tokenizer.json");
        *has_config = *has_config || !strcmp(name, "tokenizer_config.json");
    }
    if (folder)
        closedir(folder);
    return status;
}

static ls_status put_tokenizer(const exported *e)
{
    char path[LS_PATH];
    bool has_json, has_config;
    ls_status status = copy_files(e, &has_json, &has_config);
    if (status == LS_OK && !has_json && e->folder.tokenizer && path_in(path, e->partial, "tokenizer.json")) {
        status = ls_tokenizer_write(e->folder.tokenizer, path);
        has_json = status == LS_OK;
        status = status == LS_EARG ? LS_OK : status; /* llama2.c's has no such form */
    }
    if (status == LS_OK && !has_json)
        printf("no tokenizer.json is written: %s\n", path_in(path, e->partial, "tokenizer.model") && ls_disk_exists(path)
                                                         ? "tokenizer.model, which transformers reads as well, is copied"
                                                         : "the model's tokenizer has no such form, or there is none");
    return status == LS_OK && has_json && !has_config && e->folder.tokenizer ? put_tokenizer_config(e) : status;
}

/* ---- the folder ---- */

static ls_status make_folder(const exported *e, const char *out)
{
    ls_status status = ls_disk_make_folder(e->partial);
    if (status == LS_OK)
        status = put_config(e);
    if (status == LS_OK)
        status = put_tokenizer(e);
    if (status == LS_OK)
        status = put_weights(e);
    if (status == LS_OK)
        status = ls_disk_sync_folder(e->partial);
    if (status == LS_OK)
        return ls_disk_rename(e->partial, out);
    char *sentence = strdup(ls_fail_sentence());
    ls_disk_remove_folder(e->partial);
    ls_fail_copy(status, sentence ? sentence : "");
    free(sentence);
    return status;
}

ls_status ls_ckpt_export(const char *folder, const char *out, const ls_ckpt_export_options *options)
{
    exported e = {.type = options->type, .shard_bytes = options->shard_bytes};
    ls_status status = ls_ckpt_plan(e.partial, out);
    if (status == LS_OK)
        status = ls_model_folder_open_weights(&e.folder, folder, options->averaged);
    if (status == LS_OK) {
        e.options = ls_transformer_config(e.folder.model);
        e.count = ls_transformer_parameters(e.folder.model, &e.parameters);
        status = list_tensors(&e);
    }
    if (status == LS_OK)
        status = make_folder(&e, out);
    if (status == LS_OK)
        printf("%s: %d tensors, %s\n", out, e.tensor_count, ls_foreign_type_name(e.type));
    free(e.place);
    free(e.tensors);
    ls_model_folder_close(&e.folder);
    return status;
}
