/* Decoding of a model that task lud has trained (arXiv 2405.15208; docs/lud.md): behind the last token of a row `window` - 1
 * slots are fed, so that one forward pass predicts up to `window` tokens:
 *
 *     fed        .. x7 x8  ?  ?  ?        y0 = argmax of x8's logits: what plain decoding would draw, always taken
 *     predicts          y0 y1 y2 y3       y1.. of the slots: taken from the left while they are sure enough
 *
 * What was taken is fed again, as tokens, in the next pass: the cache never keeps a slot's keys and values. A row's numbers do
 * not feel the other rows, so batches and ranks show in no text; with window 1, or a threshold above 1, the text is greedy
 * decoding's to the last token. Greedy only: the slots of a pass do not know of each other's outcome, so drawn tokens would not
 * follow the model's joint distribution. */
#pragma once
#include "models/generate/engine.h"

enum { LS_LUD_LONGEST = 64, LS_LUD_BINS = 6 };

typedef enum {
    LS_LUD_PREFIX, /* slots up to the first that is not sure enough */
    LS_LUD_ALL,    /* all of them, or none */
} ls_lud_policy;

typedef struct {
    int64_t window;   /* 1 .. LS_LUD_LONGEST: tokens that a pass may give */
    double threshold; /* a slot's token is taken when its probability is at least this */
    int policy;       /* ls_lud_policy */
    bool first_gate;  /* the first token's probability must reach the threshold too before a slot is looked at */
    bool repeats;     /* a slot may give the token before it once more; false: the pass ends there */
    bool verify;      /* the next pass, which feeds what was taken as tokens, checks it, and cuts at the first that plain decoding
                         would not have drawn: the text is greedy decoding's whatever the threshold */
} ls_lud_decoding;

/* Tokens that were taken early with a probability in one bin, and how many of them verification found right: is a model as often
 * right as it is sure? A token behind a wrong one is not judged. */
typedef struct {
    int64_t count, right;
    int64_t sum; /* of the probabilities, each rounded to millionths: the same in any order */
} ls_lud_bin;

/* Bin b holds probabilities from ls_lud_bin_begins[b] up to the next one's. */
extern const double ls_lud_bin_begins[LS_LUD_BINS];

/* What the decoder has done since it was opened. A pass is one row's part of a forward call. The stop token counts as given. */
typedef struct {
    int64_t forwards;                    /* calls of the model */
    int64_t passes, tokens;              /* of rows; tokens given */
    int64_t given[LS_LUD_LONGEST + 1];   /* passes that gave so many tokens; sum of a given[a] = tokens */
    int64_t cut;                         /* tokens taken from slots that verification threw away */
    int64_t row_tau;                     /* sum over finished rows of their tokens a pass, each rounded to millionths: the same in any order */
    int64_t rows;                        /* that are finished */
    ls_lud_bin bins[LS_LUD_BINS];        /* with verify */
} ls_lud_work;

typedef struct ls_lud_decoder ls_lud_decoder;

/* `slots` rows are decoded together. The model, which has a slot's row unless the window is 1, and the device must outlive it.
 * LS_EMEM; LS_EARG: a window out of range; LS_ESTATE: no slot's row. */
ls_status ls_lud_open(ls_lud_decoder **decoder, ls_transformer *model, ls_device *device, int64_t slots, const ls_lud_decoding *decoding);
void ls_lud_close(ls_lud_decoder *decoder);
/* As ls_engine_run, greedy whatever the temperature. LS_EARG: an empty prompt, or one longer than the context. */
ls_status ls_lud_run(ls_lud_decoder *decoder, const ls_generate_options *how, const ls_generate_rows *rows, ls_generate_token token, void *context);
const ls_lud_work *ls_lud_done(const ls_lud_decoder *decoder);
/* Adds what another decoder has done. */
void ls_lud_work_add(ls_lud_work *to, const ls_lud_work *from);
