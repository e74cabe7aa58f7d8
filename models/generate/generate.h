/* Generation: prompt rows in, token rows out, with a KV cache. Row r's token at position t is drawn from the counter
 * RNG (seed, row id, t): any batch shape or rank count draws the same text. */
#pragma once
#include "models/transformer.h"

typedef struct {
    int64_t max_tokens;
    double temperature;   /* 0: greedy */
    double top_p;         /* 1: off */
    int64_t top_k;        /* 0: off */
    int32_t stop_id;      /* -1: none */
    uint64_t seed;
} ls_generate_options;

/* Called for each new token of a row; false ends that row. May be NULL. */
typedef bool (*ls_generate_token)(void *context, int64_t row, int32_t id);
/* Prompts as CSR: ids, offsets[rows + 1]; row_ids[rows] feed the RNG (NULL: 0..). Output: out[r * max_tokens ..],
 * lengths[rows] (the stop token is not counted). LS_EARG: empty prompt, prompt longer than the context. */
ls_status ls_generate(ls_transformer *model, ls_device *device, const ls_generate_options *options, int64_t rows, const int32_t *ids, const int64_t *offsets, const int64_t *row_ids, int32_t *out, int64_t *lengths, ls_generate_token token, void *context);
