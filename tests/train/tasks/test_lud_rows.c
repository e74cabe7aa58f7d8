/* Rows with slots: where blocks may be, that a slot's numbers are those of the plain layout (context, then slots), that
 * it never sees what it is to predict, and the gradient of the whole loss in f64. */
#include "train/tasks/lud_rows.h"

#include "tests/models/workbench.h"

enum { T = 24, B = 2, BLOCKS = 3, WINDOW = 4, S = BLOCKS * (WINDOW - 1), ALL = T + S };

/* ---- placement ---- */

static const int32_t unit_start[] = {4, 13, 20}, unit_len[] = {3, 6, 2};

static ls_lud_sample some_sample(uint8_t response[T])
{
    for (int t = 0; t < T; t++)
        response[t] = t >= 3 && t != 11 && t < 22; /* a prompt, a second turn, and no response at the end */
    return (ls_lud_sample){
        .tokens = T, .response = response, .units = 3, .unit_start = unit_start, .unit_len = unit_len};
}

static bool in_a_unit(const ls_lud_block *b)
{
    static const ls_lud_block pieces[] = {
        {4, 2}, {13, 3}, {17, 1}, {20, 1}}; /* the unit of six in pieces of four and two */
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
        if (b->start == pieces[i].start && b->slots == pieces[i].slots)
            return true;
    return false;
}

static int tail(const uint8_t response[T], int32_t s)
{
    int slots = 0;
    while (slots < WINDOW - 1 && s + slots + 1 < T && response[s + slots + 1])
        slots++;
    return slots;
}

static bool starts_a_piece(int32_t s)
{
    return s == 4 || s == 13 || s == 17 || s == 20;
}

Test(lud_rows, blocks_are_where_the_placement_says)
{
    uint8_t response[T];
    const ls_lud_sample sample = some_sample(response);
    int anywhere[T] = {0}, of_units = 0, rows = 0;
    for (int placement = LS_LUD_MIXED; placement <= LS_LUD_RANDOM; placement++)
        for (uint32_t slot = 0; slot < 400; slot++) {
            const ls_lud_how how = {.window = WINDOW, .placement = placement, .blocks = BLOCKS, .share = 1};
            const ls_random stream = {.seed = 3, .slot = slot, .step = 9, .purpose = LS_RANDOM_TASK};
            ls_lud_block block[LS_LUD_BLOCKS], again[LS_LUD_BLOCKS];
            const int count = ls_lud_place(&how, &sample, &stream, block);
            cr_assert_eq(ls_lud_place(&how, &sample, &stream, again), count);
            cr_expect_eq(memcmp(block, again, (size_t)count * sizeof *block), 0, "the same draw, the same blocks");
            cr_assert_eq(count, BLOCKS, "placement %d", placement);
            for (int b = 0; b < count; b++) {
                const int32_t s = block[b].start;
                cr_expect(s >= 3 && response[s] && response[s + 1]);
                if (placement == LS_LUD_UNIT)
                    cr_expect(in_a_unit(&block[b]), "(%d, %d)", s, block[b].slots);
                else
                    cr_expect_eq(block[b].slots, tail(response, s));
                if (placement == LS_LUD_UNIT_TAIL || (placement == LS_LUD_MIXED && b < 2))
                    cr_expect(starts_a_piece(s), "placement %d, block %d at %d", placement, b, s);
                if (placement == LS_LUD_RANDOM)
                    anywhere[s]++;
                of_units += placement == LS_LUD_MIXED && starts_a_piece(s);
                rows += placement == LS_LUD_MIXED;
                for (int other = 0; other < b && placement != LS_LUD_MIXED; other++)
                    cr_expect_neq(block[other].start, s, "without replacement");
            }
        }
    int starts = 0, places = 0;
    for (int t = 0; t < T; t++) {
        const bool may = t + 1 < T && response[t] && response[t + 1];
        cr_expect_eq(anywhere[t] > 0, may, "position %d", t);
        starts += may;
        places += anywhere[t];
        cr_expect(!may || (anywhere[t] > 40 && anywhere[t] < 110), "position %d was drawn %d times", t, anywhere[t]);
    }
    cr_expect_eq(starts, 16);
    cr_expect_eq(places, 400 * BLOCKS);
    cr_expect(of_units * 3 >= rows * 2 && of_units * 5 < rows * 4,
              "of mixed ones two of three, and some more by chance: %d of %d", of_units, rows);
}

Test(lud_rows, a_share_of_the_rows_gets_blocks_and_a_row_without_units_none_of_them)
{
    uint8_t response[T];
    ls_lud_sample sample = some_sample(response);
    ls_lud_block block[LS_LUD_BLOCKS];
    int with = 0;
    for (uint32_t slot = 0; slot < 1000; slot++) {
        const ls_random stream = {.seed = 3, .slot = slot, .purpose = LS_RANDOM_TASK};
        with += ls_lud_place(&(ls_lud_how){WINDOW, LS_LUD_UNIT, BLOCKS, 0.3}, &sample, &stream, block) > 0;
    }
    cr_expect(with > 250 && with < 350, "%d", with);
    sample.units = 0;
    const ls_random stream = {.seed = 3, .purpose = LS_RANDOM_TASK};
    cr_expect_eq(ls_lud_place(&(ls_lud_how){WINDOW, LS_LUD_UNIT_TAIL, BLOCKS, 1}, &sample, &stream, block), 0);
    cr_expect_eq(ls_lud_place(&(ls_lud_how){WINDOW, LS_LUD_MIXED, BLOCKS, 1}, &sample, &stream, block), BLOCKS,
                 "all of them anywhere");
}

/* ---- what slots see ---- */

static const ls_transformer_options llama = {.style = 1,
                                             .vocabulary = 17,
                                             .layers = 2,
                                             .width = 16,
                                             .heads = 4,
                                             .kv_heads = 2,
                                             .context = T + 8,
                                             .slot = true,
                                             .rope_base = 10000,
                                             .norm_eps = 1e-5,
                                             .init_std = 0.3};
static const ls_transformer_options gpt2 = {.style = 0,
                                            .vocabulary = 19,
                                            .layers = 2,
                                            .width = 16,
                                            .heads = 2,
                                            .context = T + 8,
                                            .slot = true,
                                            .tied = true,
                                            .norm_eps = 1e-5,
                                            .init_std = 0.3};
static const ls_transformer_options windowed = {.style = 1,
                                                .vocabulary = 17,
                                                .layers = 2,
                                                .width = 16,
                                                .heads = 2,
                                                .kv_heads = 2,
                                                .window = 5,
                                                .context = T + 8,
                                                .slot = true,
                                                .qk_norm = true,
                                                .tied = true,
                                                .rope_base = 10000,
                                                .norm_eps = 1e-5,
                                                .init_std = 0.3};

typedef struct {
    int32_t ids[B * T], labels[B * T], segments[B * T];
    ls_lud_block block[B * LS_LUD_BLOCKS];
    int count[B];
} grain;

/* The second row is shorter; two of its blocks begin at one place. */
static grain some_grain(int64_t vocabulary)
{
    grain g = {.block = {{5, 3}, {9, 2}, {20, 3}}, .count = {3, 2}};
    g.block[LS_LUD_BLOCKS] = (ls_lud_block){4, 3};
    g.block[LS_LUD_BLOCKS + 1] = (ls_lud_block){4, 3};
    for (int r = 0; r < B; r++)
        for (int t = 0; t < T; t++) {
            const int length = r ? 15 : T;
            g.ids[r * T + t] = t < length ? (int32_t)((t * t + 3 * t + 5 * r) % vocabulary) : 0;
            g.segments[r * T + t] = t < length ? 0 : -1;
        }
    for (int i = 0; i < B * T; i++)
        g.labels[i] = i % T >= 3 && i % T + 1 < (i < T ? T : 15) ? g.ids[i + 1] : -1;
    return g;
}

static ls_lud_rows lay_out(const workbench *w, const grain *g)
{
    const ls_transformer_options *o = ls_transformer_config(w->model);
    return ls_lud_lay_out(w->tape, B, T, S, g->ids, g->labels, g->segments, (int32_t)o->vocabulary, g->block, g->count,
                          o->window);
}

static workbench drawn_weights(const ls_transformer_options *options)
{
    workbench w = workbench_of(options, LS_F32, 1);
    ls_parameters_init(w.parameters, w.count, 5, 0, w.elements, w.master);
    return w;
}

/* Logits of the packed rows, [B, ALL, V], malloc'ed. */
static float *packed_logits(const workbench *w, const grain *g, ls_mask_sees sees)
{
    ls_tape_reset(w->tape, 0, 0, 0);
    ls_lud_rows laid = lay_out(w, g);
    ls_block_mask *mask;
    if (sees) {
        cr_assert_eq(ls_block_mask_build(&mask, ls_tape_arena(w->tape), B, ALL, ALL, 64, sees, &laid), LS_OK);
        laid.rows.mask = mask;
    }
    const ls_tensor *logits = ls_transformer_logits(w->model, w->tape, &laid.rows);
    cr_assert_eq(ls_tape_status(w->tape), LS_OK, "%s", ls_fail_sentence());
    float *out = malloc((size_t)logits->count * sizeof *out);
    memcpy(out, logits->data, (size_t)logits->count * sizeof *out);
    return out;
}

static double worst(const float *a, const float *b, int64_t n)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)a[i] - (double)b[i]));
    return most;
}

static void packed_is_plain(const ls_transformer_options *options)
{
    workbench w = drawn_weights(options);
    const int64_t V = options->vocabulary;
    const grain g = some_grain(V);
    float *packed = packed_logits(&w, &g, NULL);
    ls_tape_reset(w.tape, 0, 0, 0);
    const ls_tensor *alone = ls_transformer_logits(
        w.model, w.tape, &(ls_token_rows){.rows = B, .tokens = T, .ids = g.ids, .segments = g.segments});
    for (int r = 0; r < B; r++)
        for (int t = 0; t < (r ? 15 : T); t++)
            cr_expect_leq(worst(packed + (r * ALL + t) * V, (const float *)alone->data + (r * T + t) * V, V), 1e-5,
                          "token %d of row %d feels its slots", t, r);
    for (int r = 0; r < B; r++)
        for (int b = 0, at = T; b < g.count[r];
             at += g.block[r * LS_LUD_BLOCKS + b++].slots) { /* the plain layout: context, then slots */
            const ls_lud_block *block = &g.block[r * LS_LUD_BLOCKS + b];
            int32_t row[ALL];
            memcpy(row, g.ids + r * T, (size_t)block->start * sizeof *row);
            for (int j = 0; j < block->slots; j++)
                row[block->start + j] = (int32_t)V;
            ls_tape_reset(w.tape, 0, 0, 0);
            const ls_tensor *plain = ls_transformer_logits(
                w.model, w.tape, &(ls_token_rows){.rows = 1, .tokens = block->start + block->slots, .ids = row});
            cr_expect_leq(
                worst(packed + (r * ALL + at) * V, (const float *)plain->data + block->start * V, block->slots * V),
                1e-5, "row %d, block %d", r, b);
        }
    free(packed);
    workbench_done(&w);
}

Test(lud_rows, packed_slots_are_those_of_the_plain_layout)
{
    packed_is_plain(&llama);
    packed_is_plain(&gpt2);
    packed_is_plain(&windowed);
}

/* The fake: slots that see the whole row. */
static bool leaks(const void *context, int64_t row, int64_t query, int64_t key)
{
    const ls_lud_rows *laid = context;
    return query < T ? key <= query : key < T || (key <= query && laid->start[row * S + query - T] >= 0);
}

/* Biggest change of the slots' logits of block 0 of row 0 when all tokens from its start on are others. */
static double change(const workbench *w, ls_mask_sees sees)
{
    const int64_t V = ls_transformer_config(w->model)->vocabulary;
    grain g = some_grain(V);
    float *before = packed_logits(w, &g, sees);
    for (int t = g.block[0].start; t < T; t++)
        g.ids[t] = (int32_t)((g.ids[t] + 1 + t % 5) % V);
    float *after = packed_logits(w, &g, sees);
    const double most = worst(before + T * V, after + T * V, g.block[0].slots * V);
    const bool same = memcmp(before + T * V, after + T * V, (size_t)(g.block[0].slots * V) * sizeof *before) == 0;
    cr_expect_eq(same, most == 0);
    free(before);
    free(after);
    return most;
}

Test(lud_rows, a_slot_never_sees_what_it_is_to_predict)
{
    workbench w = drawn_weights(&llama);
    cr_expect_eq(change(&w, NULL), 0, "exactly");
    cr_expect_gt(change(&w, leaks), 1e-2, "a mask that leaks is caught");
    workbench_done(&w);
}

/* ---- the loss ---- */

typedef struct {
    double *gradient[64];
    const ls_parameter *parameters;
} kept;

static void keep(void *context, const ls_parameter *parameter, void *gradient)
{
    kept *k = context;
    memcpy(k->gradient[parameter - k->parameters], gradient, (size_t)parameter->count * sizeof(double));
}

static double loss_in_f64(const workbench *w, const grain *g, double weight, double denominator, kept *k)
{
    ls_tensor *hidden;
    const float *losses;
    ls_tape_reset(w->tape, 0, 0, 0);
    const ls_lud_rows laid = lay_out(w, g);
    ls_tensor *sum = ls_lud_loss_sum(w->model, w->tape, &laid, weight, &hidden, &losses);
    cr_assert_not_null(sum, "%s", ls_fail_sentence());
    cr_assert_eq(sum->type, LS_F64);
    if (k)
        ls_backward(w->tape, sum, 1 / denominator, keep, k);
    cr_assert_eq(ls_tape_status(w->tape), LS_OK, "%s", ls_fail_sentence());
    return *(double *)sum->data / denominator;
}

static void gradient_is_right(const ls_transformer_options *options)
{
    const double weight = 0.7, h = 1e-5;
    workbench w = drawn_weights(options);
    const grain g = some_grain(options->vocabulary);
    int64_t tokens = 0, slots = 0;
    for (int i = 0; i < B * T; i++)
        tokens += g.labels[i] >= 0;
    for (int r = 0; r < B; r++)
        for (int b = 0; b < g.count[r]; b++)
            slots += g.block[r * LS_LUD_BLOCKS + b].slots;
    const double denominator = (double)tokens + weight * (double)slots;
    kept k = {.parameters = w.parameters};
    cr_assert_leq(w.count, 64);
    for (int i = 0; i < w.count; i++) {
        ls_parameter *p = &w.parameters[i];
        double *data = malloc((size_t)p->count * sizeof *data);
        for (int64_t e = 0; e < p->count; e++)
            data[e] = (double)w.master[p->offset + e];
        p->data = data;
        p->type = LS_F64;
        k.gradient[i] = calloc((size_t)p->count, sizeof(double));
    }
    loss_in_f64(&w, &g, weight, denominator, &k);
    double slot_norm = 0;
    for (int i = 0; i < w.count; i++) {
        const ls_parameter *p = &w.parameters[i];
        double difference = 0, norm = 0;
        for (int64_t e = 0; e<p->count; e += p->count> 40 ? 7 : 1) {
            double *x = (double *)p->data + e, middle = *x, side[2];
            for (int s = 0; s < 2; s++) {
                *x = middle + (s ? h : -h);
                side[s] = loss_in_f64(&w, &g, weight, denominator, NULL);
            }
            *x = middle;
            const double want = (side[1] - side[0]) / (2 * h);
            difference += (k.gradient[i][e] - want) * (k.gradient[i][e] - want);
            norm += want * want;
        }
        cr_expect_leq(sqrt(difference), 1e-6 * sqrt(norm) + 1e-9, "%s: off by %g of %g", p->name, sqrt(difference),
                      sqrt(norm));
        slot_norm += strcmp(p->name, LS_SLOT_NAME) ? 0 : norm;
    }
    cr_expect_gt(slot_norm, 1e-8, "the slot's row learns");
    for (int i = 0; i < w.count; i++) {
        free(w.parameters[i].data);
        free(k.gradient[i]);
    }
    workbench_done(&w);
}

Test(lud_rows, the_gradient_of_the_whole_loss_is_right)
{
    gradient_is_right(&llama);
    gradient_is_right(&gpt2);
}
