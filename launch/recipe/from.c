/* See from.h. */
#include "launch/recipe/from.h"

#include "launch/recipe.h"
#include "train/foreign_weights.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What weights are weights of. All else of the section is how they are trained. */
static const char *const network_keys[] = {
    "style",
    "vocabulary",
    "layers",
    "width",
    "heads",
    "kv_heads",
    "head_width",
    "qkv_bias",
    "qk_norm",
    "window",
    "hidden",
    "context",
    "tied",
    "rope_base",
    "rope_scaling",
    "rope_factor",
    "rope_low_freq_factor",
    "rope_high_freq_factor",
    "rope_original_context",
    "rope_interleaved",
    "norm_eps",
};

static bool is_network(const char *key)
{
    for (size_t i = 0; i < sizeof network_keys / sizeof *network_keys; i++)
        if (!strcmp(network_keys[i], key))
            return true;
    return false;
}

/* The recipe.yaml of a run, of the run that a checkpoint belongs to, or of an imported folder. */
static bool find_recipe(const char *folder, char path[PATH_MAX])
{
    static const char *const up[] = {"", "/../.."};
    for (int i = 0; i < 2; i++) {
        const int length = snprintf(path, PATH_MAX, "%s%s/recipe.yaml", folder, up[i]);
        if (length < PATH_MAX && access(path, R_OK) == 0)
            return true;
    }
    return false;
}

typedef enum { NOT_KNOWN, FOREIGN, RUN, REMEMBERED /* by the run that goes on */ } network_origin;

static ls_status read_network(const char *from, const char *run, ls_transformer_options *network,
                              network_origin *origin)
{
    char path[PATH_MAX];
    if (ls_foreign_is_model(from)) {
        *origin = FOREIGN;
        return ls_foreign_options(from, network);
    }
    if (find_recipe(from, path)) {
        *origin = RUN;
        return ls_recipe_read_model(path, network);
    }
    *origin = access(from, F_OK) != 0 && run && find_recipe(run, path) ? REMEMBERED : NOT_KNOWN;
    return *origin == REMEMBERED ? ls_recipe_read_model_as_written(path, network) : LS_OK;
}

static size_t size_of(const ls_option *row)
{
    switch (row->kind) {
    case LS_OPTION_BOOL: return sizeof(bool);
    case LS_OPTION_CHOICE: return sizeof(int);
    case LS_OPTION_FLOAT: return sizeof(double);
    default: return sizeof(int64_t);
    }
}

/* A value as YAML, in the arena. */
static const char *value_text(const ls_schema *schema, const ls_option *row, const void *field)
{
    char *text = NULL, *kept = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (out) {
        ls_option_print(row, field, out);
        fclose(out);
        kept = ls_arena_take(schema->arena, bytes + 1);
    }
    if (kept)
        memcpy(kept, text, bytes + 1);
    free(text);
    return kept ? kept : "?";
}

/* Fewer positions are another choice of the same weights where no table of them is learnt; and a run that left them to
 * the length of its rows leaves them to ours. */
static bool may_differ(const char *key, const ls_transformer_options *network, const ls_transformer_options *model,
                       network_origin origin)
{
    const bool rotary = network->style == 1; /* "gpt2|llama" */
    return !strcmp(key, "context") && rotary &&
           (origin == RUN || (model->context && model->context <= network->context));
}

static ls_status take_key(const ls_schema *schema, const ls_yaml_node *given, const ls_option *row,
                          const ls_transformer_options *network, ls_transformer_options *model, network_origin origin)
{
    void *ours = (char *)model + row->offset;
    const void *theirs = (const char *)network + row->offset;
    const size_t size = size_of(row);
    const int64_t none = 0;
    const bool automatic = row->kind == LS_OPTION_INT && !memcmp(ours, &none, sizeof none);
    if (may_differ(row->key, network, model, origin) || !memcmp(ours, theirs, size))
        return LS_OK;
    if (!given || automatic) {
        memcpy(ours, theirs, size);
        return LS_OK;
    }
    if (!strcmp(row->key, "vocabulary") && !network->vocabulary) /* left to the data there */
        return LS_OK;
    char key[64];
    snprintf(key, sizeof key, "model.%s", row->key);
    ls_fail(LS_ERECIPE, "%s here, but %s is a model with %s; leave the key out, or begin from another folder",
            value_text(schema, row, ours), model->begin.from, value_text(schema, row, theirs));
    return ls_schema_fail_at(schema, given, key);
}

ls_status ls_recipe_take_from(const ls_schema *schema, const ls_yaml_node *root, const char *run,
                              ls_transformer_options *model)
{
    ls_transformer_options network;
    network_origin origin;
    const char *from = model->begin.from;
    const ls_yaml_node *section = ls_yaml_find(root, "model");
    ls_status status = read_network(from, run, &network, &origin);
    if (status == LS_OK && origin != NOT_KNOWN)
        status = ls_transformer_resolve(&network);
    if (status != LS_OK || origin == NOT_KNOWN)
        return ls_fail_at(status, "model.from");
    for (const ls_option *row = ls_transformer_option_rows; row->key && status == LS_OK; row++)
        if (is_network(row->key))
            status = take_key(schema, section ? ls_yaml_find(section, row->key) : NULL, row, &network, model, origin);
    return status;
}
