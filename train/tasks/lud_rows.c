/* See lud_rows.h. */
#include "train/tasks/lud_rows.h"

/* `most` different numbers below `count`, each set equally likely (Floyd's algorithm, Bentley 1987); elements of
 * `stream` from *element on are used. Returns how many: min(most, count). */
static int choose(const ls_random *stream, uint64_t *element, int64_t count, int64_t most,
                  int64_t chosen[LS_LUD_BLOCKS])
{
    int have = 0;
    for (int64_t j = count > most ? count - most : 0; j < count; j++) {
        int64_t next = (int64_t)ls_random_below(stream, (*element)++, (uint64_t)j + 1);
        for (int i = 0; i < have; i++)
            if (chosen[i] == next) {
                next = j; /* above all that were chosen before */
                break;
            }
        chosen[have++] = next;
    }
    return have;
}

/* Pieces of at least two tokens that a unit of m is taken in. */
static int64_t pieces(int64_t m, int64_t window)
{
    return m / window + (m % window >= 2);
}

/* Piece `number` of the sample. */
static ls_lud_block piece_at(const ls_lud_sample *sample, int64_t window, int64_t number)
{
    int64_t unit = 0;
    while (number >= pieces(sample->unit_len[unit], window))
        number -= pieces(sample->unit_len[unit++], window);
    const int64_t left = sample->unit_len[unit] - number * window;
    return (ls_lud_block){(int32_t)(sample->unit_start[unit] + number * window),
                          (int32_t)((left < window ? left : window) - 1)};
}

/* A block may start at s when s and what comes next are response tokens: slots are appended after any context. */
static bool may_start(const ls_lud_sample *sample, int64_t s)
{
    return s + 1 < sample->tokens && sample->response[s] && sample->response[s + 1];
}

static int64_t start_at(const ls_lud_sample *sample, int64_t number)
{
    for (int64_t s = 0;; s++)
        if (may_start(sample, s) && number-- == 0)
            return s;
}

/* As long as there are response tokens to predict, at most `most`. */
static int32_t slots_from(const ls_lud_sample *sample, int64_t s, int64_t most)
{
    int32_t slots = 0;
    while (slots < most && s + slots + 1 < sample->tokens && sample->response[s + slots + 1])
        slots++;
    return slots;
}

int ls_lud_place(const ls_lud_how *how, const ls_lud_sample *sample, const ls_random *stream,
                 ls_lud_block block[LS_LUD_BLOCKS])
{
    uint64_t element = 0;
    int64_t number[LS_LUD_BLOCKS], units = 0, starts = 0;
    int count = 0;
    if ((double)ls_random_uniform(stream, element++) >= how->share)
        return 0;
    for (int64_t u = 0; u < sample->units; u++)
        units += pieces(sample->unit_len[u], how->window);
    for (int64_t s = 0; s < sample->tokens; s++)
        starts += may_start(sample, s);
    const int64_t of_units = how->placement == LS_LUD_RANDOM  ? 0
                             : how->placement == LS_LUD_MIXED ? (how->blocks + 1) / 2
                                                              : how->blocks;
    const int drawn = choose(stream, &element, units, of_units, number);
    for (int i = 0; i < drawn; i++) {
        ls_lud_block b = piece_at(sample, how->window, number[i]);
        if (how->placement != LS_LUD_UNIT)
            b.slots = slots_from(sample, b.start, how->window - 1);
        if (b.slots > 0)
            block[count++] = b;
    }
    if (how->placement != LS_LUD_RANDOM && how->placement != LS_LUD_MIXED)
        return count;
    const int more = choose(stream, &element, starts, how->blocks - count, number);
    for (int i = 0; i < more; i++) {
        const int64_t s = start_at(sample, number[i]);
        block[count++] = (ls_lud_block){(int32_t)s, slots_from(sample, s, how->window - 1)};
    }
    return count;
}

/* ---- laying out ---- */

typedef struct {
    int64_t tokens, slots, window;
    const int32_t *segments;          /* [rows, T] */
    const int32_t *start, *positions; /* [rows, S] start of the slot's block, -1: no slot; [rows, T + S] */
} sight;

static bool sees(const void *context, int64_t row, int64_t query, int64_t key)
{
    const sight *s = context;
    const int64_t T = s->tokens, all = T + s->slots;
    const int32_t *position = s->positions + row * all, *start = s->start + row * s->slots;
    if (s->window && position[query] - position[key] >= s->window)
        return false;
    if (query < T)
        return key <= query && s->segments[row * T + query] >= 0;
    const int64_t from = start[query - T];
    if (from < 0)
        return false;
    /* slots of a block follow one another, so those of another block of the same start are told apart by their position
     */
    return key < T ? key < from
                   : key <= query && start[key - T] == from && query - key == position[query] - position[key];
}

ls_lud_rows ls_lud_lay_out(ls_tape *tape, int64_t rows, int64_t T, int64_t S, const int32_t *ids, const int32_t *labels,
                           const int32_t *segments, int32_t slot_id, const ls_lud_block *block, const int *count,
                           int64_t window)
{
    ls_arena *arena = ls_tape_arena(tape);
    const int64_t all = T + S;
    int32_t *out = ls_arena_array(arena, int32_t, rows * all * 3),
            *start = ls_arena_array(arena, int32_t, rows * S + 1);
    ls_lud_rows laid = {.rows = {.rows = rows, .tokens = all}, .tokens = T, .slots = S};
    ls_block_mask *mask = NULL;
    if (!out || !start) {
        ls_tape_raise(tape, LS_EMEM, "the arena has no room for %lld rows with slots", (long long)rows);
        return laid;
    }
    int32_t *id = out, *position = out + rows * all, *label = out + 2 * rows * all;
    for (int64_t r = 0; r < rows; r++) {
        int32_t *ids_r = id + r * all, *position_r = position + r * all, *label_r = label + r * all;
        for (int64_t t = 0; t < T; t++) {
            ids_r[t] = ids[r * T + t];
            position_r[t] = segments[r * T + t] >= 0 ? (int32_t)t : 0;
            label_r[t] = labels[r * T + t];
        }
        int64_t at = 0;
        for (int b = 0; b < count[r]; b++)
            for (int32_t j = 0; j < block[r * LS_LUD_BLOCKS + b].slots && at < S; j++, at++) {
                const int32_t s = block[r * LS_LUD_BLOCKS + b].start;
                start[r * S + at] = s;
                ids_r[T + at] = slot_id;
                position_r[T + at] = s + j;
                label_r[T + at] = ids[r * T + s + j + 1];
            }
        for (; at < S; at++) {
            start[r * S + at] = -1;
            ids_r[T + at] = 0;
            position_r[T + at] = 0;
            label_r[T + at] = -1;
        }
    }
    const sight s = {
        .tokens = T, .slots = S, .window = window, .segments = segments, .start = start, .positions = position};
    const ls_status status = ls_block_mask_build(&mask, arena, rows, all, all, 64, sees, &s);
    if (status != LS_OK)
        ls_tape_raise(tape, status, "%s", ls_fail_sentence());
    laid.rows.ids = id;
    laid.rows.positions = position;
    laid.rows.mask = mask;
    laid.labels = label;
    laid.start = start;
    return laid;
}

ls_tensor *ls_lud_loss_sum(ls_transformer *model, ls_tape *tape, const ls_lud_rows *laid, double slot_weight,
                           ls_tensor **hidden, const float **losses)
{
    const int64_t all = laid->tokens + laid->slots, n = laid->rows.rows * all;
    float *weights = ls_arena_array(ls_tape_arena(tape), float, n),
          *each = ls_arena_array(ls_tape_arena(tape), float, n);
    if (ls_tape_status(tape) != LS_OK || !weights || !each) {
        ls_tape_raise(tape, LS_EMEM, "the arena has no room for the losses of %lld positions", (long long)n);
        return NULL;
    }
    for (int64_t i = 0; i < n; i++) {
        weights[i] = i % all < laid->tokens ? 1 : (float)slot_weight;
        each[i] = 0;
    }
    *losses = each;
    *hidden = ls_transformer_hidden(model, tape, &laid->rows);
    return ls_cross_entropy_sum(tape, *hidden, ls_transformer_head(model, tape), laid->labels, weights, each);
}
