/* Batches of windows through the model without gradients. See score.h. */
#include "launch/score.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS = 8 };

struct ls_score {
    ls_transformer *model;
    ls_tape *tape;
    int64_t context;
    int64_t rows, length[ROWS];     /* windows that wait */
    int32_t *ids, *labels;          /* [ROWS, context] each, as added */
    int32_t *batch_ids, *batch_labels, *positions, *segments; /* [rows, longest], as the model takes them */
    float *losses;
    double sum;
    int64_t counted;
};

ls_status ls_score_open(ls_score **out, ls_transformer *model, ls_device *device)
{
    *out = NULL;
    ls_score *score = calloc(1, sizeof *score);
    if (!score)
        return ls_fail(LS_EMEM, "no memory to score");
    score->model = model;
    score->context = ls_transformer_config(model)->context;
    const size_t room = (size_t)(ROWS * score->context);
    int32_t **const arrays[] = {&score->ids, &score->labels, &score->batch_ids, &score->batch_labels, &score->positions, &score->segments};
    bool whole = (score->losses = malloc(room * sizeof *score->losses)) != NULL;
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        whole &= (*arrays[i] = malloc(room * sizeof **arrays[i])) != NULL;
    ls_status status = whole ? ls_tape_create(&score->tape, device, (size_t)1 << 38)
                             : ls_fail(LS_EMEM, "no memory for %d rows of %lld tokens", ROWS, (long long)score->context);
    if (status)
        ls_score_close(score);
    else
        *out = score;
    return status;
}

void ls_score_close(ls_score *score)
{
    if (!score)
        return;
    if (score->tape)
        ls_tape_free(score->tape);
    free(score->ids);
    free(score->labels);
    free(score->batch_ids);
    free(score->batch_labels);
    free(score->positions);
    free(score->segments);
    free(score->losses);
    free(score);
}

/* Waiting windows side by side, padded to the longest. */
static int64_t lay_out(ls_score *score)
{
    int64_t longest = 0;
    for (int64_t r = 0; r < score->rows; r++)
        longest = score->length[r] > longest ? score->length[r] : longest;
    for (int64_t r = 0; r < score->rows; r++)
        for (int64_t t = 0; t < longest; t++) {
            const bool real = t < score->length[r];
            const int64_t to = r * longest + t, from = r * score->context + t;
            score->batch_ids[to] = real ? score->ids[from] : 0;
            score->batch_labels[to] = real ? score->labels[from] : -1;
            score->positions[to] = (int32_t)t;
            score->segments[to] = real ? 0 : -1;
        }
    return longest;
}

static ls_status run_batch(ls_score *score)
{
    if (!score->rows)
        return LS_OK;
    const int64_t longest = lay_out(score), places = score->rows * longest;
    const ls_token_rows rows = {.rows = score->rows, .tokens = longest, .ids = score->batch_ids, .positions = score->positions,
                                .segments = score->segments};
    ls_tape_reset(score->tape, 0, 0, 0);
    ls_no_grad_begin(score->tape);
    ls_tensor *hidden = ls_transformer_hidden(score->model, score->tape, &rows); /* [B*T, D] */
    ls_cross_entropy_sum(score->tape, hidden, ls_transformer_head(score->model, score->tape), score->batch_labels, NULL, score->losses);
    ls_no_grad_end(score->tape);
    for (int64_t i = 0; i < places; i++)
        if (score->batch_labels[i] >= 0) {
            score->sum += (double)score->losses[i];
            score->counted++;
        }
    score->rows = 0;
    return ls_tape_status(score->tape);
}

ls_status ls_score_add(ls_score *score, const int32_t *id, const uint8_t *mask, int64_t count)
{
    ls_status status = LS_OK;
    for (int64_t begin = 0; begin + 1 < count && !status; begin += score->context) {
        const int64_t left = count - 1 - begin, length = left < score->context ? left : score->context;
        const int64_t row = score->rows++ * score->context;
        score->length[score->rows - 1] = length;
        for (int64_t t = 0; t < length; t++) {
            const int64_t next = begin + t + 1;
            score->ids[row + t] = id[begin + t];
            score->labels[row + t] = !mask || mask[next] ? id[next] : -1;
        }
        if (score->rows == ROWS)
            status = run_batch(score);
    }
    return status;
}

ls_status ls_score_finish(ls_score *score, double *sum, int64_t *counted)
{
    ls_status status = run_batch(score);
    *sum = score->sum;
    *counted = score->counted;
    return status;
}
