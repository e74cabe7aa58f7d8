/* See groups.h. Everything is settled before the first step: the step only reads a number for each parameter. */
#include "train/groups.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_ROOM = 255, NEAREST = 3 };

static const ls_group_options *group_at(const ls_optimizer_options *options, int g)
{
    return (const ls_group_options *)options->groups.item + g;
}

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

/* How many letters of the pattern are to be added, dropped or changed until it matches; what * stands for is free. */
static int pattern_distance(const char *pattern, const char *name)
{
    int row[NAME_ROOM + 1];
    const int n = (int)strnlen(name, NAME_ROOM);
    for (int j = 0; j <= n; j++)
        row[j] = j;
    for (const char *p = pattern; *p; p++) {
        const char *close = *p == '[' ? strchr(p, ']') : NULL;
        const bool any = *p == '?' || close;
        int diagonal = row[0];
        row[0] += *p != '*';
        for (int j = 1; j <= n; j++) {
            const int above = row[j];
            row[j] = *p == '*' ? smaller(above, row[j - 1])
                               : smaller(diagonal + (!any && *p != name[j - 1]), 1 + smaller(above, row[j - 1]));
            diagonal = above;
        }
        p = close ? close : p;
    }
    return row[n];
}

/* The names nearest to a pattern, ", " between them. */
static void nearest_names(const char *pattern, const ls_parameter *parameters, int count, char *text, size_t bytes)
{
    size_t used = 0;
    int last = -1, last_at = -1; /* distance and number of the one before */
    *text = '\0';
    for (int k = 0; k < NEAREST && k < count && used < bytes; k++) {
        int best = 1 << 20, at = 0;
        for (int i = 0; i < count; i++) {
            const int d = pattern_distance(pattern, parameters[i].name);
            const bool later = d > last || (d == last && i > last_at);
            if (later && d < best)
                best = d, at = i;
        }
        used += (size_t)snprintf(text + used, bytes - used, "%s%s", k ? ", " : "", parameters[at].name);
        last = best, last_at = at;
    }
}

/* Group `g` takes what it matches and nobody has yet. */
static ls_status take(ls_groups *groups, const ls_optimizer_options *options, int g, ls_parameter *parameters,
                      int count)
{
    const ls_group_options *group = group_at(options, g);
    int matched = 0, taken = 0;
    for (int i = 0; i < count; i++) {
        if (fnmatch(group->match, parameters[i].name, 0) != 0)
            continue;
        matched++;
        if (groups->of[i] >= 0)
            continue;
        taken++;
        groups->of[i] = g;
        groups->weight_decay[i] *= group->decay_scale;
        parameters[i].lr_scale *= group->lr_scale;
        parameters[i].frozen = parameters[i].frozen || group->frozen;
    }
    if (taken)
        return LS_OK;
    if (matched)
        return ls_fail(LS_ERECIPE,
                       "optimizer.groups[%d]: all that \"%s\" matches is in the groups before it; the first one "
                       "counts: put it further up or take it out",
                       g + 1, group->match);
    char names[NEAREST * (NAME_ROOM + 2)];
    nearest_names(group->match, parameters, count, names, sizeof names);
    return ls_fail(LS_ERECIPE, "optimizer.groups[%d]: \"%s\" matches no parameter; nearest: %s", g + 1, group->match,
                   names);
}

/* "blocks/7/..." is 7; -1: a parameter of no block. */
static int64_t block_of(const ls_parameter *p)
{
    long long block;
    int end = 0;
    return sscanf(p->name, "blocks/%9lld/%n", &block, &end) == 1 && end && block >= 0 ? block : -1;
}

static int64_t count_blocks(const ls_parameter *parameters, int count)
{
    int64_t blocks = 0;
    for (int i = 0; i < count; i++)
        if (block_of(&parameters[i]) >= blocks)
            blocks = block_of(&parameters[i]) + 1;
    return blocks;
}

static ls_status decay_layers(double decay, ls_parameter *parameters, int count)
{
    const int64_t blocks = count_blocks(parameters, count);
    if (decay == 1)
        return LS_OK;
    if (!blocks)
        return ls_fail(LS_ERECIPE,
                       "optimizer.layer_decay is %g, but this model has no parameters \"blocks/N/...\" to count layers "
                       "by; scale parts of it with optimizer.groups",
                       decay);
    bool behind = false;
    for (int i = 0; i < count; i++) {
        const int64_t block = block_of(&parameters[i]);
        behind = behind || block >= 0;
        const int64_t layer = block >= 0 ? block + 1 : behind ? blocks + 1 : 0;
        for (int64_t l = layer; l < blocks + 1; l++)
            parameters[i].lr_scale *= decay;
    }
    return LS_OK;
}

ls_status ls_groups_open(ls_groups *groups, const ls_optimizer_options *options, ls_parameter *parameters, int count)
{
    *groups = (ls_groups){.count = options->groups.count};
    groups->of = calloc((size_t)count + 1, sizeof *groups->of);
    groups->weight_decay = calloc((size_t)count + 1, sizeof *groups->weight_decay);
    if (!groups->of || !groups->weight_decay)
        return ls_fail(LS_EMEM, "no memory for the groups of %d parameters", count);
    for (int i = 0; i < count; i++) {
        groups->of[i] = -1;
        groups->weight_decay[i] = parameters[i].no_decay ? 0 : options->weight_decay;
    }
    ls_status status = decay_layers(options->layer_decay, parameters, count);
    for (int g = 0; g < groups->count && status == LS_OK; g++)
        status = take(groups, options, g, parameters, count);
    bool trains = false;
    for (int i = 0; i < count; i++)
        trains = trains || !parameters[i].frozen;
    if (status == LS_OK && !trains)
        status = ls_fail(LS_ERECIPE, "optimizer.groups freezes every parameter: nothing is left to train");
    return status;
}

void ls_groups_close(ls_groups *groups)
{
    free(groups->of);
    free(groups->weight_decay);
    *groups = (ls_groups){0};
}

/* What group `g` holds, -1: the rest. */
static void print_size(const ls_groups *groups, int g, const ls_parameter *parameters, int count, FILE *out)
{
    int tensors = 0;
    int64_t elements = 0;
    for (int i = 0; i < count; i++)
        if (groups->of[i] == g) {
            tensors++;
            elements += parameters[i].count;
        }
    fprintf(out, "%d tensor(s), %.4gM parameters\n", tensors, 1e-6 * (double)elements);
}

void ls_groups_print(const ls_groups *groups, const ls_optimizer_options *options, const ls_parameter *parameters,
                     int count, FILE *out)
{
    if (options->layer_decay != 1) {
        const int64_t blocks = count_blocks(parameters, count);
        fprintf(out, "layer decay     %g over %lld blocks: a block's learning rate is %g of the one's above it\n",
                options->layer_decay, (long long)blocks, options->layer_decay);
    }
    for (int g = 0; g < groups->count; g++) {
        const ls_group_options *group = group_at(options, g);
        fprintf(out, "%s%d \"%s\": ", g ? "                " : "groups          ", g + 1, group->match);
        if (group->frozen)
            fputs("frozen; ", out);
        else
            fprintf(out, "lr x %g, weight decay x %g; ", group->lr_scale, group->decay_scale);
        print_size(groups, g, parameters, count, out);
    }
    if (groups->count) {
        fputs("                the others: ", out);
        print_size(groups, -1, parameters, count, out);
    }
}
