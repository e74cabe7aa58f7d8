/* See llama2c.h. Nothing in the file is believed before its size has been checked. */
#include "models/llama2c.h"

#include "models/transformer_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The arrays in the order of the file. */
enum { TOKEN, ATTENTION_NORM, QUERY, KEY, VALUE, OUTPUT, MLP_NORM, GATE, DOWN, UP, FINAL_NORM, TABLES, HEAD, ARRAYS };

struct ls_llama2c {
    FILE *file;
    char *path;
    int64_t layers;
    int64_t first[ARRAYS], each[ARRAYS]; /* in floats after the header: where it starts, what one layer has */
};

enum { HEADER = 7 * sizeof(int32_t), MOST = 1 << 24 /* of any number in the header: products stay far below 2^63 */ };

/* What our parameter is called in the file; a block's name without "blocks/N/". */
static const struct {
    const char *name;
    int array;
    bool block;
} names[] = {
    {"embedding/token/weight", TOKEN, false}, {"attention_norm/gain", ATTENTION_NORM, true},
    {"attention/query/weight", QUERY, true},  {"attention/key/weight", KEY, true},
    {"attention/value/weight", VALUE, true},  {"attention/output/weight", OUTPUT, true},
    {"mlp_norm/gain", MLP_NORM, true},        {"mlp/gate/weight", GATE, true},
    {"mlp/down/weight", DOWN, true},          {"mlp/up/weight", UP, true},
    {"final_norm/gain", FINAL_NORM, false},   {"head/weight", HEAD, false},
};

static ls_status read_header(ls_llama2c *f, ls_transformer_options *o)
{
    int32_t h[7];
    if (fread(h, sizeof h, 1, f->file) != 1)
        return ls_fail(LS_EFORMAT, "%s: shorter than the %d bytes of llama2.c's header", f->path, HEADER);
    static const char *const called[] = {"dim",        "hidden_dim", "n_layers", "n_heads",
                                         "n_kv_heads", "vocab_size", "seq_len"};
    bool own_head = h[5] < 0;
    for (int i = 0; i < 7; i++) {
        int64_t value = i == 5 && own_head ? -(int64_t)h[i] : h[i];
        if (value < 1 || value > MOST)
            return ls_fail(LS_EFORMAT, "%s: %s is %d, not in 1..%d: this is no file of llama2.c's first format",
                           f->path, called[i], h[i], MOST);
    }
    *o = (ls_transformer_options){.style = LS_STYLE_LLAMA,
                                  .vocabulary = own_head ? -(int64_t)h[5] : h[5],
                                  .layers = h[2],
                                  .width = h[0],
                                  .heads = h[3],
                                  .kv_heads = h[4],
                                  .hidden = h[1],
                                  .context = h[6],
                                  .tied = !own_head,
                                  .rope_base = 10000,
                                  .rope_factor = 1,
                                  .rope_low_freq_factor = 1,
                                  .rope_high_freq_factor = 4,
                                  .rope_original_context = h[6],
                                  .rope_interleaved = true,
                                  .norm_eps = 1e-5,
                                  .init_std = 0.02};
    if (o->width % o->heads || o->width / o->heads % 2 || o->heads % o->kv_heads)
        return ls_fail(
            LS_EFORMAT,
            "%s: dim %d, n_heads %d, n_kv_heads %d do not divide: this is no file of llama2.c's first format", f->path,
            h[0], h[3], h[4]);
    return LS_OK;
}

static ls_status place_arrays(ls_llama2c *f, const ls_transformer_options *o)
{
    const int64_t D = o->width, kv = o->kv_heads * (D / o->heads), F = o->hidden, V = o->vocabulary;
    const int64_t each[ARRAYS] = {[TOKEN] = V * D,
                                  [ATTENTION_NORM] = D,
                                  [QUERY] = D * D,
                                  [KEY] = kv * D,
                                  [VALUE] = kv * D,
                                  [OUTPUT] = D * D,
                                  [MLP_NORM] = D,
                                  [GATE] = F * D,
                                  [DOWN] = D * F,
                                  [UP] = F * D,
                                  [FINAL_NORM] = D,
                                  [TABLES] = o->context * (D / o->heads),
                                  [HEAD] = o->tied ? 0 : V * D};
    double floats = 0; /* layers times an array may be too large for 63 bits in a hostile file, not for this */
    for (int i = 0; i < ARRAYS; i++) {
        bool block = i >= ATTENTION_NORM && i <= UP;
        f->each[i] = each[i];
        f->first[i] = (int64_t)floats;
        floats += (double)each[i] * (double)(block ? o->layers : 1);
    }
    f->layers = o->layers;
    struct stat at;
    if (fstat(fileno(f->file), &at))
        return ls_fail(LS_EIO, "%s: %s", f->path, strerror(errno));
    if ((double)at.st_size != HEADER + 4 * floats)
        return ls_fail(LS_EFORMAT,
                       "%s: %lld bytes, but its header asks for %.0f: the file is cut short, or of another format",
                       f->path, (long long)at.st_size, HEADER + 4 * floats);
    return LS_OK;
}

ls_status ls_llama2c_open(ls_llama2c **out, const char *path, ls_transformer_options *options)
{
    *out = NULL;
    ls_llama2c *f = calloc(1, sizeof *f);
    if (!f || !(f->path = strdup(path))) {
        free(f);
        return ls_fail(LS_EMEM, "%s: no memory to read it", path);
    }
    ls_status status = LS_OK;
    f->file = fopen(path, "rb");
    if (!f->file)
        status = ls_fail(LS_EIO, "%s: %s", path, strerror(errno));
    if (status == LS_OK)
        status = read_header(f, options);
    if (status == LS_OK)
        status = place_arrays(f, options);
    if (status == LS_OK)
        *out = f;
    else
        ls_llama2c_close(f);
    return status;
}

/* Where in the file a parameter is, in floats after the header; -1: nowhere, or of another size. */
static int64_t place_of(const ls_llama2c *f, const ls_parameter *p)
{
    int layer = 0, taken = 0;
    bool block = sscanf(p->name, "blocks/%d/%n", &layer, &taken) == 1 && taken;
    const char *rest = p->name + (block ? taken : 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].block == block && !strcmp(names[i].name, rest) && p->count == f->each[names[i].array] &&
            layer >= 0 && layer < f->layers)
            return f->first[names[i].array] + layer * f->each[names[i].array];
    return -1;
}

ls_status ls_llama2c_read(ls_llama2c *f, const ls_parameter *parameters, int count, float *flat)
{
    for (int i = 0; i < count; i++) {
        const ls_parameter *p = &parameters[i];
        int64_t place = place_of(f, p);
        if (place < 0)
            return ls_fail(LS_EFORMAT,
                           "%s: holds no %s of %lld numbers; make the model with the options of ls_llama2c_open",
                           f->path, p->name, (long long)p->count);
        if (fseeko(f->file, HEADER + 4 * place, SEEK_SET) ||
            fread(flat + p->offset, sizeof(float), (size_t)p->count, f->file) != (size_t)p->count)
            return ls_fail(LS_EIO, "%s: cannot read %s: %s", f->path, p->name,
                           ferror(f->file) ? strerror(errno) : "the file ends");
    }
    return LS_OK;
}

void ls_llama2c_close(ls_llama2c *f)
{
    if (!f)
        return;
    if (f->file)
        fclose(f->file);
    free(f->path);
    free(f);
}
