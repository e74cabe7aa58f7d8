/* Rows of Lexical Unit Decoding (arXiv 2405.15208; docs/lud.md). A row of T tokens is followed by blocks of slots, which
 * stand for tokens that are not known yet:
 *
 *     x0 x1 x2 x3 x4 x5 x6 . | ? ? ? | ? ? .      ? the slot's input row (ls_transformer_options.slot)
 *      0  1  2  3  4  5  6   | 3 4 5 | 5 6        positions: where a block of start 3 has its slots
 *     x1 x2 x3 x4 x5 x6      | x4 x5 x6 ...       labels
 *
 * A token sees the tokens up to itself, never a slot, so its numbers are those of the row alone. Slot j of a block that
 * starts at s sees the tokens before s and its own block up to itself: token s, which the token before it predicts, and all
 * behind it are the answers. Slot j stands at position s + j and is to predict token s + j + 1. */
#pragma once
#include "base/random.h"
#include "models/transformer.h"

enum { LS_LUD_WINDOW = 64, LS_LUD_BLOCKS = 64 }; /* the most there may be */

/* Where blocks start, and how long they are. */
typedef enum {
    LS_LUD_MIXED,     /* every other one as unit_tail, the rest as random */
    LS_LUD_UNIT,      /* at a unit of m tokens, with m - 1 slots */
    LS_LUD_UNIT_TAIL, /* at a unit, with window - 1 slots, past the unit's end */
    LS_LUD_RANDOM,    /* at any response token: plain multi-token prediction */
} ls_lud_placement;
#define LS_LUD_PLACEMENTS "mixed|unit|unit_tail|random"

typedef struct {
    int64_t window; /* 2 .. LS_LUD_WINDOW: predictions of a pass, one ordinary and window - 1 of slots */
    int placement;  /* ls_lud_placement */
    int64_t blocks; /* of a row at most, 1 .. LS_LUD_BLOCKS */
    double share;   /* of rows that get blocks */
} ls_lud_how;

/* A sample of `tokens` tokens; response[t]: token t is predicted and counted. Units ascend. */
typedef struct {
    int64_t tokens;
    const uint8_t *response;
    int64_t units;
    const int32_t *unit_start, *unit_len;
} ls_lud_sample;

typedef struct {
    int32_t start, slots; /* every slot has a response token to predict */
} ls_lud_block;

/* The blocks of a row, drawn without replacement from `stream` (its elements from 0): *how decides how many at most. Units
 * longer than the window are taken in pieces of at most so many tokens. Returns how many. */
int ls_lud_place(const ls_lud_how *how, const ls_lud_sample *sample, const ls_random *stream, ls_lud_block block[LS_LUD_BLOCKS]);

/* Rows of T tokens with room for S slots behind each; arrays of [rows, T + S] and the mask live on the tape's arena. */
typedef struct {
    ls_token_rows rows;    /* .tokens is T + S */
    const int32_t *labels; /* -1: none */
    const int32_t *start;  /* [rows, S] of each slot's block; -1: no slot */
    int64_t tokens, slots; /* T, S */
} ls_lud_rows;

/* `ids`, `labels`, `segments` [rows, T] as a grain has them, one sample a row; `slot_id` is what slots are fed as; block
 * [rows, LS_LUD_BLOCKS], count [rows], whose slots fit into S. `window`: the model's, 0: none. Errors are the tape's. */
ls_lud_rows ls_lud_lay_out(ls_tape *tape, int64_t rows, int64_t T, int64_t S, const int32_t *ids, const int32_t *labels,
                           const int32_t *segments, int32_t slot_id, const ls_lud_block *block, const int *count, int64_t window);

/* The sum over tokens and slots of -log p(label), a slot's times slot_weight; *hidden [rows * (T + S), D] what the head reads, and
 * losses [rows * (T + S)], on the arena, each label's own (0 where there is none). NULL: an error is on the tape. */
ls_tensor *ls_lud_loss_sum(ls_transformer *model, ls_tape *tape, const ls_lud_rows *laid, double slot_weight, ls_tensor **hidden, const float **losses);
