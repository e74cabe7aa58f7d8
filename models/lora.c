/* See lora.h. */
#include "models/lora.h"

#include <string.h>

#define AT(field) offsetof(ls_lora_options, field)
const ls_option ls_lora_option_rows[] = {
    {"rank", LS_OPTION_INT, AT(rank), 0, 0, 4096, "0", NULL,
     "of the matrices that learn beside the frozen weights; 0: the weights themselves learn"},
    {"alpha", LS_OPTION_FLOAT, AT(alpha), 0, 1e-6, 1e6, "16", NULL, "their sum counts alpha / rank"},
    {"targets", LS_OPTION_STRING, AT(targets), 0, 0, 0, "query,value", NULL,
     "which layers have them: names with commas between them of query, key, value, output, gate, up, down; or "
     "attention, mlp, all"},
    {"dropout", LS_OPTION_FLOAT, AT(dropout), 0, 0, 0.99, "0", NULL, "of what they read"},
    {0},
};
#undef AT

static const struct {
    const char *part, *layer;
} layers[] = {{"attention", "query"}, {"attention", "key"}, {"attention", "value"}, {"attention", "output"},
              {"mlp", "gate"},        {"mlp", "up"},        {"mlp", "down"}};
enum { LAYERS = sizeof layers / sizeof *layers };

double ls_lora_scale(const ls_lora_options *options)
{
    return options->alpha / (double)options->rank;
}

static bool is_word(const char *text, size_t bytes, const char *word)
{
    return strlen(word) == bytes && memcmp(text, word, bytes) == 0;
}

/* Whether one word of the targets names the layer. */
static bool names(const char *word, size_t bytes, int layer)
{
    return is_word(word, bytes, "all") || is_word(word, bytes, layers[layer].part) ||
           is_word(word, bytes, layers[layer].layer);
}

static bool has(const ls_lora_options *options, int layer)
{
    for (const char *word = options->targets; *word; word += strspn(word, ", ")) {
        const size_t bytes = strcspn(word, ", ");
        if (names(word, bytes, layer))
            return true;
        word += bytes;
    }
    return false;
}

ls_status ls_lora_check(const ls_lora_options *options)
{
    if (!options->targets || !options->targets[strspn(options->targets, ", ")])
        return ls_fail(LS_ERECIPE, "lora.targets names no layer; name some, as query,value");
    for (const char *word = options->targets + strspn(options->targets, ", "); *word; word += strspn(word, ", ")) {
        const size_t bytes = strcspn(word, ", ");
        bool known = false;
        for (int i = 0; i < LAYERS; i++)
            known = known || names(word, bytes, i);
        if (!known)
            return ls_fail(
                LS_ERECIPE,
                "lora.targets: no layer is called \"%.*s\"; there are query, key, value, output, gate, up, down, and "
                "attention, mlp, all",
                (int)bytes, word);
        word += bytes;
    }
    return LS_OK;
}

bool ls_lora_has(const ls_lora_options *options, const char *layer)
{
    for (int i = 0; i < LAYERS; i++) {
        const size_t part = strlen(layers[i].part);
        if (strncmp(layer, layers[i].part, part) == 0 && layer[part] == '/' &&
            strcmp(layer + part + 1, layers[i].layer) == 0)
            return has(options, i);
    }
    return false;
}

ls_tensor *ls_lora_term(const ls_lora_options *options, ls_tape *tape, const ls_adapter *adapter, ls_tensor *x)
{
    ls_tensor *low = ls_linear(tape, ls_dropout(tape, x, options->dropout), ls_use(tape, adapter->a), NULL,
                               LS_ACT_NONE); /* [n, r] */
    return ls_scale(tape, ls_linear(tape, low, ls_use(tape, adapter->b), NULL, LS_ACT_NONE), ls_lora_scale(options), 0);
}
