#include "datasets/tokenizer/bpe.h"
#include "datasets/tokenizer/words.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static uint32_t state = 1;
static uint32_t draw(uint32_t below)
{
    state = state * 1664525 + 1013904223;
    return (state >> 8) % below;
}

/* The definition, word for word: of all neighbours the pair of lowest rank, of equal ones the leftmost, until none. */
static size_t merge_by_definition(const ls_merges *merges, int32_t *id, size_t count)
{
    for (;;) {
        const ls_merge *best = NULL;
        size_t where = 0;
        for (size_t i = 0; i + 1 < count; i++) {
            const ls_merge *merge = ls_merges_find(merges, id[i], id[i + 1]);
            if (merge && (!best || merge->rank < best->rank))
                best = merge, where = i;
        }
        if (!best)
            return count;
        id[where] = best->id;
        memmove(id + where + 1, id + where + 2, (count - where - 2) * sizeof *id);
        count--;
    }
}

/* Few ids and many merges, some of equal rank, so that words shrink far and ties happen. */
static void random_merges(ls_merges *merges, int32_t ids)
{
    for (int i = 0; i < 60; i++)
        cr_assert_eq(ls_merges_put(merges, (int32_t)draw((uint32_t)ids), (int32_t)draw((uint32_t)ids), draw(40),
                                   (int32_t)draw((uint32_t)ids)),
                     LS_OK);
}

Test(tokenizer_bpe, short_and_long_words_merge_by_the_definition)
{
    enum { LONGEST = 300, IDS = 12 };
    ls_merge_space space = {0};
    int32_t word[LONGEST], want[LONGEST];
    for (int round = 0; round < 2000; round++) {
        ls_merges merges = {0};
        random_merges(&merges, IDS);
        size_t count = 1 + draw(round % 4 ? 20 : LONGEST);
        for (size_t i = 0; i < count; i++)
            word[i] = (int32_t)draw(IDS);
        memcpy(want, word, sizeof word);
        size_t wanted = merge_by_definition(&merges, want, count);
        cr_assert_eq(ls_merge_space_grow(&space, count), LS_OK);
        memcpy(space.id, word, count * sizeof *word);
        cr_assert_eq(ls_merge_word(&merges, &space, count), wanted, "round %d", round);
        cr_assert_eq(memcmp(space.id, want, wanted * sizeof *want), 0, "round %d", round);
        memcpy(space.id, word, count * sizeof *word);
        cr_assert_eq(ls_merge_long_word(&merges, &space, count), wanted, "round %d: by the heap", round);
        cr_assert_eq(memcmp(space.id, want, wanted * sizeof *want), 0, "round %d: by the heap", round);
        ls_merges_free(&merges);
    }
    ls_merge_space_free(&space);
}

Test(tokenizer_bpe, a_later_merge_of_the_same_pair_replaces_the_earlier)
{
    ls_merges merges = {0};
    cr_assert_null(ls_merges_find(&merges, 1, 2));
    for (int32_t i = 0; i < 5000; i++)
        cr_assert_eq(ls_merges_put(&merges, i, i + 1, (uint32_t)i, i), LS_OK);
    cr_assert_eq(ls_merges_put(&merges, 7, 8, 9999, 42), LS_OK);
    cr_assert_eq(merges.count, 5000);
    cr_assert_eq(ls_merges_find(&merges, 7, 8)->id, 42);
    cr_assert_null(ls_merges_find(&merges, 8, 7), "left and right are not the same");
    ls_merge *sorted;
    cr_assert_eq(ls_merges_sorted(&merges, &sorted), LS_OK);
    for (int i = 1; i < 5000; i++)
        cr_assert_gt(sorted[i].rank, sorted[i - 1].rank);
    cr_assert_eq(sorted[4999].id, 42);
    free(sorted);
    ls_merges_free(&merges);
}

Test(tokenizer_words, what_was_put_is_found_and_nothing_else)
{
    ls_words words;
    uint64_t key[4], other[4];
    char text[64] = "abcdefghijklmnopqrstuvwxyz0123456789";
    int32_t ids[LS_WORD_IDS + 1] = {5, 6, 7, 8, 9, 10, 11, 12, 13};
    cr_assert_eq(ls_words_create(&words), LS_OK);
    for (size_t length = 1; length <= LS_WORD_BYTES; length++) {
        cr_assert(ls_word_key(text, length, sizeof text, key));
        cr_assert(ls_word_key(text, length, length, other), "with nothing readable behind it");
        cr_assert_eq(memcmp(key, other, sizeof key), 0, "%zu bytes", length);
        cr_assert_null(ls_words_find(&words, key), "%zu bytes", length);
        ls_words_put(&words, key, ids, 1 + length % LS_WORD_IDS);
        const ls_word *word = ls_words_find(&words, key);
        cr_assert_not_null(word);
        cr_assert_eq(ls_word_count(word), (int)(1 + length % LS_WORD_IDS));
        cr_assert_eq(memcmp(word->id, ids, (1 + length % LS_WORD_IDS) * sizeof *ids), 0);
    }
    cr_assert_not(ls_word_key(text, LS_WORD_BYTES + 1, sizeof text, key));
    cr_assert(ls_word_key("a", 1, 1, key) && ls_word_key("a\0", 2, 2, other));
    cr_assert_neq(memcmp(key, other, sizeof key), 0, "a NUL counts");
    cr_assert(ls_word_key("many ids", 8, 8, key));
    ls_words_put(&words, key, ids, LS_WORD_IDS + 1);
    cr_assert_null(ls_words_find(&words, key), "too many ids for an entry");
    ls_words_forget(&words);
    cr_assert(ls_word_key(text, 3, sizeof text, key));
    cr_assert_null(ls_words_find(&words, key));
    ls_words_free(&words);
}
