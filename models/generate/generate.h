/* Generation: prompts in, tokens out. Row r's token at position t is drawn from the counter RNG (seed, row id, t) and from
 * logits that do not feel the other rows: any batch, any order, any rank count draws the same text. engine.h is what
 * draws; ls_generate opens one for a single call. */
#pragma once
#include "models/transformer.h"

typedef struct {
    int64_t max_tokens;
    double temperature;   /* 0: greedy */
    double top_p;         /* 1: off */
    int64_t top_k;        /* 0: off */
    int32_t stop_id;      /* -1: none */
    uint64_t seed;
    uint64_t draw;        /* another draw for the same seed and rows, such as the number of a round of rollouts */
    const int32_t *stop_ids; /* more of them */
    int64_t stop_count;
} ls_generate_options;

/* Called for each new token of a row; false ends that row. May be NULL. */
typedef bool (*ls_generate_token)(void *context, int64_t row, int32_t id);

/* Why a row ended. */
typedef enum {
    LS_END_LENGTH, /* max_tokens, or the model's context */
    LS_END_STOP,   /* a stop token */
    LS_END_CALLER, /* the callback said so */
} ls_generate_end;

/* Prompts as CSR: ids, offsets[rows + 1]; row_ids[rows] feed the RNG (NULL: 0..). Output: out[r * max_tokens ..],
 * lengths[rows] (the stop token is not counted). LS_EARG: empty prompt, prompt longer than the context. */
ls_status ls_generate(ls_transformer *model, ls_device *device, const ls_generate_options *options, int64_t rows, const int32_t *ids, const int64_t *offsets, const int64_t *row_ids, int32_t *out, int64_t *lengths, ls_generate_token token, void *context);
