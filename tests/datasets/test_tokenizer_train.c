#include "tests/datasets/tokenizer_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *const *text;
    int count, next;
} list;

static bool next_of_list(void *context, const char **text, size_t *bytes)
{
    list *from = context;
    if (from->next == from->count)
        return false;
    *text = from->text[from->next++];
    *bytes = strlen(*text);
    return true;
}

static ls_tokenizer *train(const char *const *text, int count, int64_t vocabulary, const char *const *specials)
{
    list from = {text, count, 0};
    ls_tokenizer_training how = {vocabulary, "gpt2", specials};
    ls_tokenizer *tokenizer;
    cr_assert_eq(ls_tokenizer_train(&tokenizer, &how, next_of_list, &from), LS_OK, "%s", ls_fail_sentence());
    return tokenizer;
}

static void check_token(ls_tokenizer *tokenizer, int32_t id, const char *want)
{
    char *text;
    size_t bytes;
    cr_assert_eq(ls_tokenizer_decode(tokenizer, &id, 1, &text, &bytes), LS_OK, "%s", ls_fail_sentence());
    cr_assert_str_eq(text, want, "token %d is \"%s\", not \"%s\"", id, text, want);
    free(text);
}

/* Pairs by hand: "ab" 5 times, then "abc" 3 times, then "xy" and "zy" twice each: the tie goes to the lower pair. */
Test(tokenizer_train, the_most_frequent_pair_first_and_ties_to_the_lower_ids)
{
    static const char *const text[] = {"abc", "abc", "abc", "ab", "ab", "zy", "zy", "xy", "xy"};
    static const char *const specials[] = {"<|endoftext|>", "<|user|>", NULL};
    ls_tokenizer *tokenizer = train(text, 9, 262, specials);
    cr_assert_eq(ls_tokenizer_size(tokenizer), 262);
    cr_assert_eq(ls_tokenizer_eot(tokenizer), 0);
    cr_assert_eq(ls_tokenizer_id(tokenizer, "<|user|>"), 1);
    cr_assert_eq(ls_tokenizer_id(tokenizer, "!"), 2, "bytes in the order of the alphabet");
    check_token(tokenizer, 258, "ab");
    check_token(tokenizer, 259, "abc");
    check_token(tokenizer, 260, "xy");
    check_token(tokenizer, 261, "zy");
    ls_tokenizer_free(tokenizer);
}

Test(tokenizer_train, overlapping_pairs_are_counted_as_they_stand)
{
    static const char *const text[] = {"aaaaa", "ab ab ab"}; /* (a, a) 4 times, "ab" and " ab" 3 times */
    ls_tokenizer *tokenizer = train(text, 2, 258, NULL);
    check_token(tokenizer, 256, "aa");
    check_token(tokenizer, 257, "ab");
    ls_ids ids = encode(tokenizer, "aaaaa", 5, false);
    cr_assert_eq(ids.count, 3, "aa aa a");
    free(ids.id);
    ls_tokenizer_free(tokenizer);
}

Test(tokenizer_train, the_order_of_texts_does_not_count)
{
    static const char *const forth[] = {"the cat sat", "on the mat", "the other cat", "that hat"};
    static const char *const back[] = {"that hat", "the other cat", "on the mat", "the cat sat"};
    ls_tokenizer *a = train(forth, 4, 280, NULL), *b = train(back, 4, 280, NULL), *c = train(forth, 3, 280, NULL);
    cr_assert_eq(ls_tokenizer_hash(a), ls_tokenizer_hash(b));
    cr_assert_neq(ls_tokenizer_hash(a), ls_tokenizer_hash(c));
    ls_tokenizer_free(a);
    ls_tokenizer_free(b);
    ls_tokenizer_free(c);
}

Test(tokenizer_train, when_every_word_is_a_token_there_is_no_more_to_learn)
{
    static const char *const text[] = {"ab"};
    ls_tokenizer *tokenizer = train(text, 1, 300, NULL);
    cr_assert_eq(ls_tokenizer_size(tokenizer), 257);
    check_round_trip(tokenizer, "ab and \x01\xff more", 14);
    ls_tokenizer_free(tokenizer);
    tokenizer = train(text, 0, 300, NULL);
    cr_assert_eq(ls_tokenizer_size(tokenizer), 256, "no text at all");
    ls_tokenizer_free(tokenizer);
}

Test(tokenizer_train, what_cannot_be_is_refused)
{
    static const char *const text[] = {"text"};
    static const char *const blank[] = {"<a b>", NULL}, *const twice[] = {"<a>", "<a>", NULL},
                             *const byte[] = {"a", NULL}, *const good[] = {"<a>", NULL};
    static const struct {
        ls_tokenizer_training how;
        ls_status status;
        const char *says;
    } cases[] = {
        {{300, "gpt5", NULL}, LS_EARG, "gpt2, llama3, qwen2"}, {{255, "gpt2", NULL}, LS_EARG, "at least 256"},
        {{256, "gpt2", good}, LS_EARG, "at least 257"},        {{300, "gpt2", blank}, LS_EARG, "<a b>"},
        {{300, "gpt2", twice}, LS_EFORMAT, "twice"},           {{300, "gpt2", byte}, LS_EARG, "shorter than two"},
        {{1 << 22, "gpt2", NULL}, LS_EARG, "at most"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        list from = {text, 1, 0};
        ls_tokenizer *tokenizer;
        cr_assert_eq(ls_tokenizer_train(&tokenizer, &cases[i].how, next_of_list, &from), cases[i].status, "case %zu",
                     i);
        cr_assert_null(tokenizer);
        cr_assert(strstr(ls_fail_sentence(), cases[i].says), "case %zu: %s", i, ls_fail_sentence());
    }
}

/* Training is what the definition says: recount everything, take the best pair, once for each token. */
Test(tokenizer_train, agrees_with_counting_everything_anew)
{
    enum { WORDS = 40, LONGEST = 12, TOKENS = 60 };
    int32_t word[WORDS][LONGEST];
    int length[WORDS], times[WORDS];
    char texts[400][LONGEST + 1];
    const char *text[400];
    int count = 0;
    uint32_t state = 7;
    for (int w = 0; w < WORDS; w++) {
        times[w] = 1 + w % 7;
        length[w] = 2 + w % (LONGEST - 2);
        char letters[LONGEST + 1] = "";
        for (int i = 0; i < length[w]; i++)
            letters[i] = (char)('a' + ((state = state * 1664525 + 1013904223) >> 20) % 4);
        for (int t = 0; t < times[w]; t++) {
            strcpy(texts[count], letters);
            text[count] = texts[count];
            count++;
        }
        for (int i = 0; i < length[w]; i++)
            word[w][i] = letters[i] - 'a';
    }
    ls_tokenizer *tokenizer = train(text, count, 256 + TOKENS, NULL);
    char token[4 + TOKENS][256] = {"a", "b", "c", "d"};
    int32_t real[4 + TOKENS] = {ls_tokenizer_id(tokenizer, "a"), ls_tokenizer_id(tokenizer, "b"),
                                ls_tokenizer_id(tokenizer, "c"), ls_tokenizer_id(tokenizer, "d")};
    int tokens = 4;
    while (tokens < 4 + TOKENS) {
        static int64_t pairs[4 + TOKENS][4 + TOKENS];
        memset(pairs, 0, sizeof pairs);
        for (int w = 0; w < WORDS; w++)
            for (int i = 0; i + 1 < length[w]; i++)
                pairs[word[w][i]][word[w][i + 1]] += times[w];
        int left = 0, right = 0; /* our numbers ascend as the real ids do */
        for (int a = 0; a < tokens; a++)
            for (int b = 0; b < tokens; b++)
                if (pairs[a][b] > pairs[left][right])
                    left = a, right = b;
        cr_assert_gt(pairs[left][right], 0);
        char joined[256];
        snprintf(joined, sizeof joined, "%.120s%.120s", token[left], token[right]);
        int made = 0;
        while (made < tokens && strcmp(token[made], joined) != 0)
            made++;
        if (made == tokens) {
            strcpy(token[tokens], joined);
            real[tokens] = ls_tokenizer_id(tokenizer, joined);
            cr_assert_eq(real[tokens], 256 + tokens - 4, "token %d should be \"%s\"", 256 + tokens - 4, joined);
            tokens++;
        }
        for (int w = 0; w < WORDS; w++) {
            int kept = 0;
            for (int i = 0; i < length[w]; kept++) {
                bool here = i + 1 < length[w] && word[w][i] == left && word[w][i + 1] == right;
                word[w][kept] = here ? made : word[w][i];
                i += here ? 2 : 1;
            }
            length[w] = kept;
        }
    }
    ls_tokenizer_free(tokenizer);
}
