#include "datasets/tokenizer/split.h"
#include "datasets/tokenizer/alphabet.h"
#include "datasets/tokenizer/dialect.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    char text[512]; /* the words, each followed by '|' */
    size_t used, bytes;
} words;

static ls_status note(void *context, const char *at, size_t bytes)
{
    words *found = context;
    cr_assert_gt(bytes, 0, "no word is empty");
    cr_assert_lt(found->used + bytes + 1, sizeof found->text);
    memcpy(found->text + found->used, at, bytes);
    found->used += bytes;
    found->text[found->used++] = '|';
    found->bytes += bytes;
    return LS_OK;
}

static ls_split *split_by(const char *pattern)
{
    ls_split *split;
    const char *known = ls_pattern_named(pattern);
    pattern = known ? known : pattern;
    cr_assert_eq(ls_split_create(&split), LS_OK);
    cr_assert_eq(ls_split_add(split, pattern, strlen(pattern)), LS_OK, "%s", ls_fail_sentence());
    return split;
}

static void cut(ls_split *split, const char *text, size_t bytes, words *found)
{
    memset(found, 0, sizeof *found);
    cr_assert_eq(ls_split_text(split, text, bytes, note, found), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(found->bytes, bytes, "the words joined are the text");
}

static void check_words(const char *pattern, const char *text, const char *want)
{
    ls_split *split = split_by(pattern);
    words found;
    cut(split, text, strlen(text), &found);
    cr_assert_str_eq(found.text, want, "%s: \"%s\" became %s", pattern, text, found.text);
    ls_split_free(split);
}

Test(tokenizer_split, words_of_the_three_patterns)
{
    check_words("gpt2", "I'm you're WE'LL  12345\n\n x", "I|'m| you|'re| WE|'|LL| | 12345|\n\n| x|");
    check_words("llama3", "I'm you're WE'LL  12345\n\n x", "I|'m| you|'re| WE|'LL| | |123|45|\n\n| x|");
    check_words("qwen2", "I'm 123!!\n\na\t b", "I|'m| |1|2|3|!!\n\n|a|\t| b|");
    check_words("gpt2", "caf\xc3\xa9 \xe6\x98\xa5\xe7\x9c\xa0\xef\xbc\x8c x",
                "caf\xc3\xa9| \xe6\x98\xa5\xe7\x9c\xa0|\xef\xbc\x8c| x|");
    check_words("gpt2", "  ", "  |");
    check_words("gpt2", "a\xc2\xa0\xc2\xa0 b", "a|\xc2\xa0\xc2\xa0| b|"); /* no-break spaces are blanks */
    check_words("llama3", "it'\xc5\xbf", "it|'\xc5\xbf|");                /* U+017F is a small s to (?i) */
}

Test(tokenizer_split, bytes_that_are_not_utf8_are_words_of_one_byte)
{
    check_words("gpt2", "ab\xff\xfe cd", "ab|\xff|\xfe| cd|");
    check_words("gpt2", "a \xe6\x98", "a| |\xe6|\x98|");
}

Test(tokenizer_split, what_lies_between_matches_is_a_word_too_and_patterns_follow_each_other)
{
    check_words("\\p{N}", "ab12 cd", "ab|1|2| cd|");
    ls_split *split = split_by("\\p{N}");
    const char *gpt2 = ls_pattern_named("gpt2");
    words found;
    cr_assert_eq(ls_split_add(split, gpt2, strlen(gpt2)), LS_OK);
    cut(split, "ab cd12 ef", 10, &found);
    cr_assert_str_eq(found.text, "ab| cd|1|2| ef|");
    ls_split_free(split);
}

/* Every string up to `length` letters over characters that the patterns treat apart, and longer ones at random: the
 * scanner's words are the expression's. */
static void check_scanner(const char *pattern)
{
    static const char *const letters[] = {"s",        "T",        "r",        "e",        "v",    "l",   "x",
                                          "1",        " ",        "\n",       "\r",       "\t",   "'",   ".",
                                          "\xc3\xa9", "\xc2\xa0", "\xc5\xbf", "\xd9\xa3", "\xff", "\x1c"};
    enum { LETTERS = sizeof letters / sizeof *letters, LENGTH = 4, RANDOM = 20000 };
    ls_split *scanner = split_by(pattern), *expression = split_by(pattern);
    ls_split_without_scanners(expression);
    uint32_t state = 12345, total = 1;
    for (int i = 0; i < LENGTH; i++)
        total *= LETTERS;
    for (uint32_t number = 0; number < total + RANDOM; number++) {
        char text[128] = "";
        uint32_t digits = number;
        int length = number < total ? LENGTH : 5 + (int)(number % 25);
        for (int i = 0; i < length; i++) {
            if (number >= total)
                digits = (state = state * 1664525 + 1013904223) >> 8;
            strcat(text, letters[digits % LETTERS]);
            digits /= LETTERS;
        }
        words got, want;
        size_t bytes = strlen(text);
        cut(scanner, text, bytes, &got);
        cut(expression, text, bytes, &want);
        cr_assert(got.used == want.used && memcmp(got.text, want.text, got.used) == 0,
                  "%s: \"%s\" became %s, the expression says %s", pattern, text, got.text, want.text);
        /* Every shorter string is the end of one of these. */
    }
    ls_split_free(scanner);
    ls_split_free(expression);
}

Test(tokenizer_split, scanner_of_gpt2_is_the_expression)
{
    check_scanner("gpt2");
}

Test(tokenizer_split, scanner_of_llama3_is_the_expression)
{
    check_scanner("llama3");
}

Test(tokenizer_split, scanner_of_qwen2_is_the_expression)
{
    check_scanner("qwen2");
}

Test(tokenizer_split, a_pattern_of_another_dialect_is_refused_and_named)
{
    static const char *const foreign[] = {
        "\\w+",  "^a",      "a$",       "\\h",     "\\p{Han}", "\\p{L",     "[[:alpha:]]", "[a&&b]",     "a{,3}",
        "a{2}+", "(?i)abc", "(?x: a)",  "(*UTF)a", "a\\1",     "\\",        "[",           "[]a]",       "(a",
        "a)",    "\\b",     "(?<n>a)b", "\\R",     "[a",       "((a{9999}){9999}){99}", "\\p{Lxx}",    "a\\\xc3\xa9"};
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        ls_split *split;
        cr_assert_eq(ls_split_create(&split), LS_OK);
        cr_assert_eq(ls_split_add(split, foreign[i], strlen(foreign[i])), LS_EFORMAT, "%s", foreign[i]);
        cr_assert(strstr(ls_fail_sentence(), "pattern"), "%s: %s", foreign[i], ls_fail_sentence());
        cr_assert_eq(ls_split_patterns(split), 0);
        ls_split_free(split);
    }
    /* GPT-4o's and DeepSeek's expressions are within what both dialects read alike. */
    ls_split_free(split_by("[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?"
                           "i:'s|'t|'re|'ve|'m|'ll|'d)?"));
    ls_split_free(
        split_by("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"));
}

Test(tokenizer_split, a_pattern_that_explodes_is_stopped)
{
    static char text[4096];
    memset(text, 'a', sizeof text);
    ls_split *split = split_by("(?:a+)+[^a]");
    words found = {0};
    cr_assert_eq(ls_split_text(split, text, sizeof text, note, &found), LS_EFORMAT);
    cr_assert(strstr(ls_fail_sentence(), "cannot cut the text at byte 0"), "%s", ls_fail_sentence());
    ls_split_free(split);
}

Test(tokenizer_alphabet, every_byte_has_a_character_of_its_own)
{
    bool taken[LS_ALPHABET_END] = {false};
    char text[8], back[8];
    size_t count;
    for (int byte = 0; byte < 256; byte++) {
        uint32_t code = ls_alphabet_code((unsigned char)byte);
        cr_assert(code > ' ' && code < LS_ALPHABET_END && !taken[code], "byte %d", byte);
        taken[code] = true;
        cr_assert_eq(ls_alphabet_byte(code), byte);
        char one = (char)byte;
        cr_assert(ls_alphabet_read(text, ls_alphabet_write(&one, 1, text), back, &count) && count == 1 &&
                  back[0] == one);
    }
    cr_assert_eq(ls_alphabet_code(' '), 0x120);
    cr_assert_eq(ls_alphabet_code('\n'), 0x10a);
    cr_assert_eq(ls_alphabet_byte(' '), -1);
    cr_assert_eq(ls_alphabet_byte(LS_ALPHABET_END), -1);
}
