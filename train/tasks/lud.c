/* Task lud: Lexical Unit Decoding (arXiv 2405.15208; docs/lud.md says what is the paper's and what is ours). A
 * fine-tuned model goes on with the same texts, whose rows carry blocks of slots behind them (lud_rows.h), and learns
 * to predict several tokens from one context:
 *
 *     L = (sum_tokens CE + weight sum_slots CE) / (N_tokens + weight N_slots)
 *
 * with both counts of the whole step. Which blocks a row gets is a function of (seed, step, place in the step), so
 * every rank knows the slots of all rows before it has computed one. Never may a slot see the tokens it is to predict.
 */
#include "train/tasks/lud_rows.h"

#include "checkpoint/checkpoint.h"
#include "datasets/units.h"
#include "train/tasks/lm.h"
#include "train/tasks/texts.h"

#include <stdlib.h>

typedef struct {
    const char *units;
    int64_t window, blocks;
    int placement;
    double share, weight;
} lud_options;

static const ls_option rows[] = {
    {"units", LS_OPTION_PATH, offsetof(lud_options, units), 0, 0, 0, NULL, NULL,
     "lexical units of data.train, made by `lockstep units` with the model of model.from"},
    {"window", LS_OPTION_INT, offsetof(lud_options, window), 0, 2, LS_LUD_WINDOW, "4", NULL,
     "tokens a pass may predict: one as always, the others from slots"},
    {"placement", LS_OPTION_CHOICE, offsetof(lud_options, placement), 0, 0, 0, "mixed", LS_LUD_PLACEMENTS,
     "where slots are learnt: in units, past their end, anywhere, or half and half"},
    {"blocks", LS_OPTION_INT, offsetof(lud_options, blocks), 0, 1, LS_LUD_BLOCKS, "4", NULL,
     "blocks of slots a row, at most"},
    {"share", LS_OPTION_FLOAT, offsetof(lud_options, share), 0, 0, 1, "1", NULL, "of rows that get blocks"},
    {"weight", LS_OPTION_FLOAT, offsetof(lud_options, weight), 0, 0, 1e3, "1", NULL,
     "of a slot's loss, a token's being 1"},
    {0},
};

/* What is added up over a grain. */
enum { TOKEN_LOSS, SLOT_LOSS, SLOTS, RIGHT, FIRST, FIRST_RIGHT, SUMS };

typedef struct {
    lud_options options;
    ls_lud_how how;
    ls_transformer *model;
    const ls_data *data;
    uint64_t seed;
    ls_units_file *file;
    ls_units units;
    uint8_t *response;   /* [longest sample], of the row at hand */
    ls_lud_block *block; /* [rows of a grain, LS_LUD_BLOCKS] */
    int *count;          /* [rows of a grain] */
    double sums[SUMS];   /* of the grain that was computed last */
} lud;

static void lud_free(void *self)
{
    lud *task = self;
    if (!task)
        return;
    ls_transformer_free(task->model);
    ls_units_close(task->file);
    free(task->response);
    free(task->block);
    free(task->count);
    free(task);
}

static void lud_rows_of(const void *options, ls_data_options *data)
{
    (void)options;
    data->pack = false; /* behind its one sample a row has its slots */
}

/* Are the units those of this data, found by the model that training begins with? */
static ls_status check_units(const lud *task, const ls_train_config *config)
{
    const ls_units *u = &task->units;
    const char *path = task->options.units;
    const ls_model_begin *begin = config->model;
    uint64_t hash;
    if (config->data.train.count != 1)
        return ls_fail(LS_ERECIPE,
                       "task lud learns from one data set, data.train names %d; pack them together, the units too",
                       config->data.train.count);
    if (u->data_hash != ls_data_hash(task->data) || u->samples != ls_data_samples(task->data))
        return ls_fail(LS_ERECIPE,
                       "lud.units: %s holds the units of another data set than data.train = %s; make them again with "
                       "`lockstep units`",
                       path, config->data.train.source[0].path);
    if (u->tokenizer_hash != ls_data_tokenizer_hash(task->data))
        return ls_fail(
            LS_ERECIPE,
            "lud.units: %s was made with another tokenizer than the data's; make it again with `lockstep units`", path);
    if (ls_data_skipped(task->data) || ls_data_truncated(task->data))
        return ls_fail(
            LS_ERECIPE, "task lud takes every sample whole, but %lld are longer than batch.tokens = %lld: raise it",
            (long long)(ls_data_skipped(task->data) + ls_data_truncated(task->data)), (long long)config->batch.tokens);
    if (begin->from && ls_checkpoint_hash(begin->from, &hash) == LS_OK && hash != u->model_hash)
        return ls_fail(
            LS_ERECIPE,
            "lud.units: %s was found by another model than model.from = %s; make it again with `lockstep units %s`",
            path, begin->from, begin->from);
    return LS_OK;
}

static ls_status make(lud *task, ls_run *run, const ls_transformer_options *model)
{
    const ls_train_config *config = ls_run_config(run);
    const lud_options *o = &task->options;
    task->how = (ls_lud_how){o->window, o->placement, o->blocks, o->share};
    task->data = ls_run_data(run);
    task->seed = (uint64_t)config->run.seed;
    if (!model->slot)
        return ls_fail(LS_ERECIPE,
                       "task lud needs model.slot: true, the input row that stands for a token not known yet");
    if (!o->units)
        return ls_fail(LS_ERECIPE, "task lud needs lud.units, the file that `lockstep units` makes of data.train");
    ls_status status = ls_units_open(&task->file, o->units, &task->units);
    if (status == LS_OK)
        status = check_units(task, config);
    if (status != LS_OK)
        return status;
    const size_t grain = (size_t)config->batch.grain;
    task->response = calloc((size_t)config->batch.tokens, 1);
    task->block = calloc(grain * LS_LUD_BLOCKS, sizeof *task->block);
    task->count = calloc(grain, sizeof *task->count);
    if (!task->response || !task->block || !task->count)
        return ls_fail(LS_EMEM, "no memory for the blocks of %zu rows", grain);
    return ls_transformer_create(&task->model, model);
}

static ls_status lud_init(ls_run *run, const void *options, void **self)
{
    ls_transformer_options model;
    ls_status status = ls_texts_check_data(run, 1u << LS_SHARDS_TEXT);
    if (status == LS_OK)
        status = ls_lm_options(run, &model);
    if (status != LS_OK)
        return status;
    lud *task = calloc(1, sizeof *task);
    if (!task)
        return ls_fail(LS_EMEM, "no memory for task lud");
    task->options = *(const lud_options *)options;
    status = make(task, run, &model);
    if (status == LS_OK)
        *self = task;
    else
        lud_free(task);
    return status;
}

static int lud_parameters(void *self, ls_parameter **parameters)
{
    return ls_transformer_parameters(((lud *)self)->model, parameters);
}

/* ---- which slots there are ---- */

/* Of a sample of data.train. */
static int place_in_training(const lud *task, int64_t number, int64_t step, uint32_t slot,
                             ls_lud_block block[LS_LUD_BLOCKS])
{
    const ls_units *u = &task->units;
    const int64_t first = u->row_ptr[number], unit = u->unit_ptr[number];
    const ls_lud_sample sample = {.tokens = u->row_ptr[number + 1] - first,
                                  .response = task->response,
                                  .units = u->unit_ptr[number + 1] - unit,
                                  .unit_start = u->unit_start + unit,
                                  .unit_len = u->unit_len + unit};
    for (int64_t t = 0; t < sample.tokens; t++)
        task->response[t] = u->logp[first + t] <= 0; /* not for NaN */
    const ls_random stream = {.seed = task->seed, .slot = slot, .step = (uint32_t)step, .purpose = LS_RANDOM_TASK};
    return ls_lud_place(&task->how, &sample, &stream, block);
}

/* Of a held-out row [T], which has no units: blocks anywhere, the same in every evaluation. */
static int place_in_held_out(const lud *task, int64_t T, const int32_t *labels, int64_t number,
                             ls_lud_block block[LS_LUD_BLOCKS])
{
    const ls_lud_how how = {task->how.window, LS_LUD_RANDOM, task->how.blocks, 1};
    task->response[0] = 0;
    for (int64_t t = 1; t < T; t++)
        task->response[t] = labels[t - 1] >= 0 ? 1 : 0;
    const ls_lud_sample sample = {.tokens = T, .response = task->response};
    const ls_random stream = {
        .seed = task->seed, .slot = (uint32_t)number, .step = 0, .purpose = LS_RANDOM_TASK, .op = 1};
    return ls_lud_place(&how, &sample, &stream, block);
}

static ls_status lud_denominator(void *self, int64_t step, int64_t position, int64_t count, double *denominator)
{
    const lud *task = self;
    const ls_sampler *sampler = ls_data_sampler((ls_data *)(uintptr_t)task->data);
    ls_lud_block block[LS_LUD_BLOCKS];
    int64_t slots = 0;
    for (int64_t i = 0; i < count; i++) {
        const int blocks =
            place_in_training(task, ls_sampler_draw(sampler, position + i).row, step, (uint32_t)i, block);
        for (int b = 0; b < blocks; b++)
            slots += block[b].slots;
    }
    *denominator += task->options.weight * (double)slots;
    return LS_OK;
}

/* ---- the loss ---- */

/* Sum over the rows' tokens, and over slots by `slot_weight`; what they say by themselves goes into sums. */
static ls_tensor *loss_of(lud *task, ls_tape *tape, const ls_grain *grain, double slot_weight, ls_lud_rows *laid,
                          ls_tensor **hidden, double *sums)
{
    const ls_transformer_options *model = ls_transformer_config(task->model);
    const int64_t S = task->how.blocks * (task->how.window - 1), all = grain->tokens + S, n = grain->rows * all;
    const float *losses;
    *laid = ls_lud_lay_out(tape, grain->rows, grain->tokens, S, grain->ids, grain->labels, grain->segments,
                           (int32_t)model->vocabulary, task->block, task->count, model->window);
    ls_tensor *sum = ls_lud_loss_sum(task->model, tape, laid, slot_weight, hidden, &losses);
    if (!sum)
        return ls_transformer_head(task->model, tape); /* harmless after an error */
    for (int64_t i = 0; i < n && ls_tape_status(tape) == LS_OK; i++)
        if (laid->labels[i] >= 0) {
            const bool slot = i % all >= grain->tokens;
            sums[slot ? SLOT_LOSS : TOKEN_LOSS] += (double)losses[i];
            sums[SLOTS] += slot;
        }
    return sum;
}

static ls_tensor *lud_loss(void *self, ls_tape *tape, const ls_grain *grain)
{
    lud *task = self;
    ls_lud_rows laid;
    ls_tensor *hidden;
    for (int i = 0; i < SUMS; i++)
        task->sums[i] = 0;
    for (int64_t r = 0; r < grain->rows; r++)
        task->count[r] = place_in_training(task, grain->samples[r], grain->step, grain->slot + (uint32_t)r,
                                           task->block + r * LS_LUD_BLOCKS);
    return loss_of(task, tape, grain, task->options.weight, &laid, &hidden, task->sums);
}

static const double *lud_grain_sums(void *self)
{
    return ((lud *)self)->sums;
}

/* How often a slot's likeliest token is the right one. */
static void count_right(lud *task, ls_tape *tape, const ls_lud_rows *laid, ls_tensor *hidden, double *sums)
{
    const int64_t n = laid->rows.rows * laid->rows.tokens, V = ls_transformer_config(task->model)->vocabulary;
    int32_t *at = ls_arena_array(ls_tape_arena(tape), int32_t, laid->rows.rows * laid->slots);
    int64_t slots = 0;
    for (int64_t i = 0; at && i < n; i++)
        if (i % laid->rows.tokens >= laid->tokens && laid->labels[i] >= 0)
            at[slots++] = (int32_t)i;
    if (!slots)
        return;
    ls_tensor *logits =
        ls_linear(tape, ls_gather(tape, hidden, slots, at), ls_transformer_head(task->model, tape), NULL, LS_ACT_NONE);
    const float *logit = ls_tape_read(tape, ls_cast(tape, logits, LS_F32));
    for (int64_t s = 0; s < slots && logit; s++, logit += V) {
        int64_t best = 0;
        for (int64_t v = 1; v < V; v++)
            best = logit[v] > logit[best] ? v : best;
        const int64_t row = at[s] / laid->rows.tokens, slot = at[s] % laid->rows.tokens - laid->tokens;
        const bool right = best == laid->labels[at[s]];
        const bool first = laid->rows.positions[at[s]] == laid->start[row * laid->slots + slot];
        sums[RIGHT] += right;
        sums[FIRST] += first;
        sums[FIRST_RIGHT] += first && right;
    }
}

/* The loss is that of tokens alone: what the model is without its slots. */
static ls_tensor *lud_evaluate(void *self, ls_tape *tape, const ls_grain *grain, double *sums)
{
    lud *task = self;
    ls_lud_rows laid;
    ls_tensor *hidden = NULL;
    for (int64_t r = 0; r < grain->rows; r++)
        task->count[r] = place_in_held_out(task, grain->tokens, grain->labels + r * grain->tokens, grain->samples[r],
                                           task->block + r * LS_LUD_BLOCKS);
    ls_tensor *both = loss_of(task, tape, grain, 1, &laid, &hidden, sums);
    float *tokens = ls_arena_array(ls_tape_arena(tape), float, 1);
    if (ls_tape_status(tape) != LS_OK || !tokens)
        return both;
    count_right(task, tape, &laid, hidden, sums);
    *tokens = (float)sums[TOKEN_LOSS];
    return ls_constant(tape, LS_F32, 0, NULL, tokens);
}

static int64_t lud_sums(void *self)
{
    (void)self;
    return SUMS;
}

static double share_of(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

static double token_loss(const double *sums, int64_t counted)
{
    return share_of(sums[TOKEN_LOSS], (double)counted);
}

static double slot_loss(const double *sums, int64_t counted)
{
    (void)counted;
    return share_of(sums[SLOT_LOSS], sums[SLOTS]);
}

static double slots_a_token(const double *sums, int64_t counted)
{
    return share_of(sums[SLOTS], (double)counted);
}

static double slot_accuracy(const double *sums, int64_t counted)
{
    (void)counted;
    return share_of(sums[RIGHT], sums[SLOTS]);
}

static double first_slot_accuracy(const double *sums, int64_t counted)
{
    (void)counted;
    return share_of(sums[FIRST_RIGHT], sums[FIRST]);
}

static const ls_measure measures[] = {
    {"token_loss", false, token_loss, false},
    {"slot_loss", false, slot_loss, false},
    {"slots_a_token", true, slots_a_token, false},
    {"slot_accuracy", true, slot_accuracy, true},
    {"first_slot_accuracy", true, first_slot_accuracy, true},
    {0},
};

extern const ls_task ls_task_lud;
const ls_task ls_task_lud = {
    .name = "lud",
    .sentence = "lexical unit decoding: several tokens a pass from one unchanged model",
    .options = rows,
    .options_size = sizeof(lud_options),
    .init = lud_init,
    .free = lud_free,
    .parameters = lud_parameters,
    .rows = lud_rows_of,
    .denominator = lud_denominator,
    .grain_loss = lud_loss,
    .grain_sums = lud_grain_sums,
    .evaluate = lud_evaluate,
    .measures = measures,
    .sums = lud_sums,
};
