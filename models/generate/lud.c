/* See lud.h. A row is its tokens, of which the last `unsure` were taken from slots and are not yet verified (0 without
 * verify), and a sequence of the cache that holds those before them. One pass over all rows is forward() and then
 * take_pass() for each. */
#include "models/generate/lud.h"

#include "base/math.h"
#include "models/kv_cache.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_BYTES ((size_t)1 << 36) /* addresses; memory comes when it is touched */

const double ls_lud_bin_begins[LS_LUD_BINS] = {0, 0.5, 0.7, 0.9, 0.97, 0.99};

typedef struct {
    int64_t row;           /* -1: free */
    int32_t *ids;          /* [context + 1] */
    int64_t count, unsure; /* tokens, the last of them not verified */
    int64_t slots;         /* fed in this pass */
    int64_t first;         /* of this pass' predictions */
    int64_t passes, given; /* of this row */
    double sure[LS_LUD_LONGEST]; /* the probabilities with which the unverified tokens were taken */
    ls_extension piece;
} lud_row;

typedef struct {
    int32_t id;
    double p; /* its probability, the softmax of the logits as they are */
} prediction;

struct ls_lud_decoder {
    ls_transformer *model;
    ls_device *device;
    ls_tape *tape;
    ls_kv_cache *cache;
    ls_lud_decoding how;
    int64_t places, vocabulary, context;
    lud_row *rows;        /* [places] */
    int32_t *ids, *feed;  /* [places, context + 1 (+ window)] */
    ls_extension *pieces; /* [places] */
    int32_t *at;          /* [places * (2 window)] rows of the hidden states that predict */
    prediction *predicted;
    int64_t predictions;
    const float *logits;
    ls_lud_work work;
    const ls_generate_options *options; /* of this run */
    const ls_generate_rows *out;
    ls_generate_token token;
    void *token_context;
    int64_t next;
};

static ls_status allocate(ls_lud_decoder *d)
{
    const size_t n = (size_t)d->places, room = (size_t)(d->context + 1), most = (size_t)(2 * d->how.window);
    d->rows = calloc(n, sizeof *d->rows);
    d->ids = malloc(n * room * sizeof *d->ids);
    d->feed = malloc(n * (room + (size_t)d->how.window) * sizeof *d->feed);
    d->pieces = calloc(n, sizeof *d->pieces);
    d->at = malloc(n * most * sizeof *d->at);
    d->predicted = malloc(n * most * sizeof *d->predicted);
    return d->rows && d->ids && d->feed && d->pieces && d->at && d->predicted
               ? LS_OK
               : ls_fail(LS_EMEM, "no memory to decode %lld rows of %lld positions", (long long)d->places,
                         (long long)d->context);
}

ls_status ls_lud_open(ls_lud_decoder **out, ls_transformer *model, ls_device *device, int64_t slots,
                      const ls_lud_decoding *how)
{
    *out = NULL;
    const ls_transformer_options *o = ls_transformer_config(model);
    if (slots < 1 || how->window < 1 || how->window > LS_LUD_LONGEST)
        return ls_fail(LS_EARG, "%lld rows and a window of %lld; at least 1 row, and a window of 1 to %d",
                       (long long)slots, (long long)how->window, LS_LUD_LONGEST);
    if (how->window > 1 && !o->slot)
        return ls_fail(LS_ESTATE,
                       "the model has no input row for tokens not known yet; task lud trains one (model.slot: true)");
    ls_lud_decoder *d = calloc(1, sizeof *d);
    if (!d)
        return ls_fail(LS_EMEM, "no memory for the decoder");
    *d = (ls_lud_decoder){.model = model,
                          .device = device,
                          .how = *how,
                          .places = slots,
                          .vocabulary = o->vocabulary,
                          .context = o->context};
    ls_status status = allocate(d);
    if (status == LS_OK)
        status = ls_kv_cache_create(&d->cache, device, model, slots, slots * ls_kv_cache_pages(o->context));
    if (status == LS_OK)
        status = ls_tape_create(&d->tape, device, ARENA_BYTES);
    if (status != LS_OK)
        ls_lud_close(d);
    else
        *out = d;
    return status;
}

void ls_lud_close(ls_lud_decoder *d)
{
    if (!d)
        return;
    if (d->tape)
        ls_tape_free(d->tape);
    ls_kv_cache_free(d->cache);
    free(d->rows);
    free(d->ids);
    free(d->feed);
    free(d->pieces);
    free(d->at);
    free(d->predicted);
    free(d);
}

const ls_lud_work *ls_lud_done(const ls_lud_decoder *d)
{
    return &d->work;
}

void ls_lud_work_add(ls_lud_work *to, const ls_lud_work *from)
{
    to->forwards += from->forwards;
    to->passes += from->passes;
    to->tokens += from->tokens;
    for (int a = 0; a <= LS_LUD_LONGEST; a++)
        to->given[a] += from->given[a];
    to->cut += from->cut;
    to->row_tau += from->row_tau;
    to->rows += from->rows;
    for (int b = 0; b < LS_LUD_BINS; b++) {
        to->bins[b].count += from->bins[b].count;
        to->bins[b].right += from->bins[b].right;
        to->bins[b].sum += from->bins[b].sum;
    }
}

/* ---- rows come and go ---- */

static ls_status admit(ls_lud_decoder *d)
{
    const ls_generate_rows *out = d->out;
    for (int64_t place = 0; place < d->places && d->next < out->prompts * out->samples; place++) {
        lud_row *r = &d->rows[place];
        if (r->row >= 0)
            continue;
        const int64_t prompt = d->next / out->samples, n = out->offsets[prompt + 1] - out->offsets[prompt];
        if (n < 1)
            return ls_fail(LS_EARG, "prompt %lld is empty; begin it with a token, e.g. the tokenizer's begin-of-text",
                           (long long)prompt);
        if (n > d->context)
            return ls_fail(LS_EARG, "prompt %lld has %lld tokens, the model's context is %lld; shorten it",
                           (long long)prompt, (long long)n, (long long)d->context);
        *r = (lud_row){.row = d->next++, .ids = d->ids + place * (d->context + 1), .count = n};
        memcpy(r->ids, out->ids + out->offsets[prompt], (size_t)n * sizeof *r->ids);
        ls_kv_cache_reserve(d->cache, place, d->context);
    }
    return LS_OK;
}

static void end_row(ls_lud_decoder *d, int64_t place, ls_generate_end why)
{
    lud_row *r = &d->rows[place];
    if (d->out->ends)
        d->out->ends[r->row] = (uint8_t)why;
    d->work.row_tau += (r->given * 1000000 + r->passes / 2) / r->passes;
    d->work.rows++;
    r->row = -1;
    ls_kv_cache_clear(d->cache, place);
}

/* ---- one pass ---- */

/* Tokens the cache does not have yet, and slots behind them where the context has room. Predictions begin at the last
 * token that is sure. */
static void plan(ls_lud_decoder *d, int64_t *pieces)
{
    int64_t fed = 0;
    *pieces = d->predictions = 0;
    for (int64_t place = 0; place < d->places; place++) {
        lud_row *r = &d->rows[place];
        if (r->row < 0)
            continue;
        const int64_t known = ls_kv_cache_length(d->cache, place), tokens = r->count - known,
                      room = d->context - r->count - (d->how.verify ? 1 : 0); /* to be verified, a token is fed */
        int32_t *feed = d->feed + place * (d->context + 1 + d->how.window);
        r->slots = d->how.window - 1 < room ? d->how.window - 1 : room > 0 ? room : 0;
        memcpy(feed, r->ids + known, (size_t)tokens * sizeof *feed);
        for (int64_t j = 0; j < r->slots; j++)
            feed[tokens + j] = (int32_t)d->vocabulary;
        d->pieces[(*pieces)++] = (ls_extension){place, tokens + r->slots, feed};
        r->first = d->predictions;
        for (int64_t i = tokens - 1 - r->unsure; i < tokens + r->slots; i++)
            d->at[d->predictions++] = (int32_t)(fed + i);
        fed += tokens + r->slots;
    }
}

/* The likeliest token, and its probability in f32's logits, summed in f64 by rising id. */
static void predict(void *context, int64_t item)
{
    ls_lud_decoder *d = context;
    const float *logit = d->logits + item * d->vocabulary;
    int32_t best = 0;
    double sum = 0;
    for (int64_t i = 1; i < d->vocabulary; i++)
        if (logit[i] > logit[best] || (isnan(logit[best]) && !isnan(logit[i])))
            best = (int32_t)i;
    for (int64_t i = 0; i < d->vocabulary; i++)
        sum += ls_math_exp((double)logit[i] - (double)logit[best]);
    d->predicted[item] = (prediction){best, 1 / sum};
}

static ls_status forward(ls_lud_decoder *d, int64_t pieces)
{
    ls_tape_reset(d->tape, 0, 0, 0);
    ls_no_grad_begin(d->tape);
    ls_tensor *hidden = ls_transformer_extend(d->model, d->tape, d->cache, pieces, d->pieces);
    hidden = ls_gather(d->tape, hidden, d->predictions, d->at);
    ls_tensor *logits = ls_linear(d->tape, hidden, ls_transformer_head(d->model, d->tape), NULL, LS_ACT_NONE);
    d->logits = ls_tape_read(d->tape, ls_cast(d->tape, logits, LS_F32));
    ls_no_grad_end(d->tape);
    d->work.forwards++;
    if (ls_tape_wait(d->tape) == LS_OK)
        ls_team_run(d->device->team, d->predictions, predict, d);
    return ls_tape_status(d->tape);
}

static bool stops(const ls_generate_options *how, int32_t id)
{
    bool stop = id == how->stop_id;
    for (int64_t i = 0; i < how->stop_count; i++)
        stop = stop || id == how->stop_ids[i];
    return stop;
}

/* Hands out the row's next token, which stands in it at `at`. False: the row has ended. */
static bool give(ls_lud_decoder *d, int64_t place, int64_t at)
{
    lud_row *r = &d->rows[place];
    const int32_t id = r->ids[at];
    const int64_t row = r->row;
    r->given++;
    d->work.tokens++;
    if (stops(d->options, id)) {
        end_row(d, place, LS_END_STOP);
        return false;
    }
    const int64_t length = ++d->out->lengths[row];
    d->out->out[row * d->options->max_tokens + length - 1] = id;
    const bool goes_on = !d->token || d->token(d->token_context, row, id);
    if (goes_on && length < d->options->max_tokens && at + 1 <= d->context)
        return true;
    end_row(d, place, goes_on ? LS_END_LENGTH : LS_END_CALLER);
    return false;
}

/* How many slots' tokens are sure enough; `p` [slots + 1], the first one is the ordinary prediction. */
static int64_t sure_slots(const ls_lud_decoder *d, const prediction *p, int64_t slots)
{
    const ls_lud_decoding *how = &d->how;
    if (how->first_gate && !(p[0].p >= how->threshold))
        return 0;
    int64_t j = 0;
    while (j < slots && p[j + 1].p >= how->threshold && (how->repeats || p[j + 1].id != p[j].id))
        j++;
    return how->policy == LS_LUD_ALL && j < slots ? 0 : j;
}

static void judge(ls_lud_work *work, double probability, bool right)
{
    int b = LS_LUD_BINS - 1;
    while (b > 0 && probability < ls_lud_bin_begins[b])
        b--;
    work->bins[b].count++;
    work->bins[b].right += right;
    work->bins[b].sum += (int64_t)(probability * 1e6 + 0.5);
}

/* What the last pass took from slots, against what the model says now that it has read it. True: all of it stands. */
static bool verify(ls_lud_decoder *d, int64_t place, const prediction *p, bool *alive)
{
    lud_row *r = &d->rows[place];
    const int64_t unsure = r->unsure, begin = r->count - unsure;
    r->unsure = 0;
    for (int64_t i = 0; i < unsure; i++) {
        judge(&d->work, r->sure[i], p[i].id == r->ids[begin + i]);
        if (p[i].id != r->ids[begin + i]) {
            d->work.cut += unsure - i;
            r->count = begin + i;
            r->ids[r->count++] = p[i].id;
            ls_kv_cache_cut(d->cache, place, r->count - 1);
            *alive = give(d, place, r->count - 1);
            return false;
        }
        if (!(*alive = give(d, place, begin + i)))
            return false;
    }
    return true;
}

/* The row's tokens of this pass. */
static void take(ls_lud_decoder *d, int64_t place)
{
    lud_row *r = &d->rows[place];
    const prediction *p = d->predicted + r->first;
    const int64_t unsure = r->unsure;
    bool alive = true;
    ls_kv_cache_cut(d->cache, place,
                    r->count); /* the slots' keys and values go; what comes in their place is fed as tokens */
    if (!verify(d, place, p, &alive) || !alive)
        return;
    p += unsure;
    r->ids[r->count++] = p[0].id;
    if (!give(d, place, r->count - 1))
        return;
    const int64_t sure = sure_slots(d, p, r->slots);
    for (int64_t j = 1; j <= sure; j++) {
        r->ids[r->count++] = p[j].id;
        if (d->how.verify)
            r->sure[r->unsure++] = p[j].p;
        else if (!give(d, place, r->count - 1))
            return;
        if (d->how.verify && stops(d->options, p[j].id))
            return; /* nothing behind a stop */
    }
}

static void take_pass(ls_lud_decoder *d, int64_t place)
{
    lud_row *r = &d->rows[place];
    const int64_t before = d->work.tokens;
    d->work.passes++;
    r->passes++;
    take(d, place);
    d->work.given[d->work.tokens - before]++;
}

ls_status ls_lud_run(ls_lud_decoder *d, const ls_generate_options *how, const ls_generate_rows *rows,
                     ls_generate_token token, void *context)
{
    d->options = how;
    d->out = rows;
    d->token = token;
    d->token_context = context;
    d->next = 0;
    for (int64_t place = 0; place < d->places; place++) { /* also after a run that failed */
        ls_kv_cache_clear(d->cache, place);
        d->rows[place].row = -1;
    }
    for (int64_t r = 0; r < rows->prompts * rows->samples; r++)
        rows->lengths[r] = 0;
    if (how->max_tokens < 1) {
        if (rows->ends)
            memset(rows->ends, LS_END_LENGTH, (size_t)(rows->prompts * rows->samples));
        return LS_OK;
    }
    for (;;) {
        int64_t pieces;
        ls_status status = admit(d);
        if (status != LS_OK)
            return status;
        plan(d, &pieces);
        if (!pieces)
            return LS_OK;
        status = forward(d, pieces);
        if (status != LS_OK)
            return status;
        for (int64_t place = 0; place < d->places; place++)
            if (d->rows[place].row >= 0)
                take_pass(d, place);
    }
}
