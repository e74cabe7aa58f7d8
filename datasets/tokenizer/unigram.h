/* SentencePiece's unigram model (Kudo 2018): a text falls into the pieces whose scores, log-probabilities, have the greatest sum.
 *
 * Sums are SentencePiece's to the bit, f32 from the front of the text, and of equal sums the piece that begins first stays, so that close
 * decisions fall as they do there. A character that is no piece by itself may stand as unknown, for the least score of all less 10. */
#pragma once
#include "datasets/tokenizer/vocabulary.h"

typedef struct {
    float score;
    int32_t id;      /* of the piece that ends here; -1: a character that is none */
    uint32_t length; /* of it; 0: nothing ends here */
} ls_unigram_end;

typedef struct {
    float *score; /* [vocabulary's size]; NULL: the tokenizer is no unigram model */
    float unknown_score;
    int32_t unknown; /* the id of characters that neither pieces nor bytes stand for, one for a run of them */
    size_t longest;  /* bytes of a piece */
    ls_unigram_end *end; /* [room], work space that grows to the longest text */
    size_t room;
} ls_unigram; /* all zero: none */

/* Takes over score [vocabulary's size]. LS_EFORMAT: no pieces, or no token `unknown`. */
ls_status ls_unigram_create(ls_unigram *unigram, const ls_vocabulary *vocabulary, float *score, int64_t unknown);
void ls_unigram_free(ls_unigram *unigram);

/* Cuts text [bytes] into pieces, for ls_unigram_piece until the next call. LS_EMEM; LS_EARG: 2^31 bytes or more. */
ls_status ls_unigram_cut(ls_unigram *unigram, const ls_vocabulary *vocabulary, const char *text, size_t bytes);
/* The piece that begins at byte `at`, where one does: its id, or -1 for a character that is none; and its length. */
int32_t ls_unigram_piece(const ls_unigram *unigram, size_t at, size_t *length);
