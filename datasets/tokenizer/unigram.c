/* See unigram.h. */
#include "datasets/tokenizer/unigram.h"

#include "datasets/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const float UNKNOWN_COSTS = 10; /* SentencePiece's kUnkPenalty */

ls_status ls_unigram_create(ls_unigram *unigram, const ls_vocabulary *vocabulary, float *score, int64_t unknown)
{
    float least = INFINITY;
    *unigram = (ls_unigram){.score = score, .unknown = (int32_t)unknown};
    for (int64_t id = 0; id < vocabulary->size; id++) {
        if (vocabulary->kind[id] != LS_TOKEN_BYTES)
            continue;
        least = score[id] < least ? score[id] : least;
        unigram->longest = vocabulary->length[id] > unigram->longest ? vocabulary->length[id] : unigram->longest;
    }
    unigram->unknown_score = least - UNKNOWN_COSTS;
    if (!unigram->longest)
        return ls_fail(LS_EFORMAT, "it has no pieces");
    return ls_vocabulary_has(vocabulary, unknown) ? LS_OK : ls_fail(LS_EFORMAT, "it has no piece for what is unknown");
}

void ls_unigram_free(ls_unigram *unigram)
{
    free(unigram->score);
    free(unigram->end);
    *unigram = (ls_unigram){0};
}

static ls_status make_room(ls_unigram *unigram, size_t bytes)
{
    if (bytes >= INT32_MAX)
        return ls_fail(LS_EARG, "a text of %zu bytes; at most %d", bytes, INT32_MAX - 1);
    if (unigram->room <= bytes) {
        free(unigram->end);
        unigram->room = 2 * bytes + 64;
        unigram->end = malloc(unigram->room * sizeof *unigram->end);
    }
    if (!unigram->end) {
        unigram->room = 0;
        return ls_fail(LS_EMEM, "no memory to cut a text of %zu bytes", bytes);
    }
    memset(unigram->end, 0, (bytes + 1) * sizeof *unigram->end);
    return LS_OK;
}

static void offer(ls_unigram_end *end, float score, int32_t id, size_t length)
{
    if (!end->length || score > end->score)
        *end = (ls_unigram_end){.score = score, .id = id, .length = (uint32_t)length};
}

static size_t character(const char *at, size_t bytes)
{
    size_t length = 1;
    if (ls_utf8_prefix(at, bytes < 4 ? bytes : 4))
        ls_utf8_decode(at, &length);
    return length;
}

/* From ends that point backwards to pieces by their beginnings: the path alone, in place. */
static void turn_round(ls_unigram_end *end, size_t bytes)
{
    ls_unigram_end piece = end[bytes];
    for (size_t at = bytes; at;) {
        const size_t begin = at - piece.length;
        const ls_unigram_end before = end[begin];
        end[begin] = piece;
        at = begin;
        piece = before;
    }
}

ls_status ls_unigram_cut(ls_unigram *unigram, const ls_vocabulary *vocabulary, const char *text, size_t bytes)
{
    const ls_status status = make_room(unigram, bytes);
    ls_unigram_end *end = unigram->end;
    for (size_t at = 0, one; at < bytes && !status; at += one) {
        const float before = end[at].score;
        const size_t most = bytes - at < unigram->longest ? bytes - at : unigram->longest;
        bool alone = false;
        one = character(text + at, bytes - at);
        for (size_t length = one; length <= most; length += character(text + at + length, bytes - at - length)) {
            const int32_t id = ls_vocabulary_find(vocabulary, text + at, length);
            if (id >= 0)
                offer(&end[at + length], unigram->score[id] + before, id, length);
            alone |= id >= 0 && length == one;
            if (length == bytes - at)
                break;
        }
        if (!alone)
            offer(&end[at + one], unigram->unknown_score + before, -1, one);
    }
    if (!status)
        turn_round(end, bytes);
    return status;
}

int32_t ls_unigram_piece(const ls_unigram *unigram, size_t at, size_t *length)
{
    *length = unigram->end[at].length;
    return unigram->end[at].id;
}
