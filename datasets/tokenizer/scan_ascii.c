/* See scan_ascii.h. Each function names the alternative of the expression that it stands for; they are tried in the
 * expression's order. "Blank" is \s, "letter" \p{L}, "digit" \p{N}, "other" [^\s\p{L}\p{N}]. */
#include "datasets/tokenizer/scan_ascii.h"

#include <stdbool.h>

enum { OTHER, LETTER, DIGIT, BLANK, FOREIGN }; /* FOREIGN: above 0x7f, class unknown here */

/* Eight characters a line; O other, L letter, D digit, B blank. */
#define O  OTHER
#define L  LETTER
#define D  DIGIT
#define B  BLANK
#define F8 FOREIGN, FOREIGN, FOREIGN, FOREIGN, FOREIGN, FOREIGN, FOREIGN, FOREIGN
static const unsigned char class_table[256] = {
    O,  O,  O,  O,  O,  O,  O,  O,  O,  B,  B,  B,  B,  B,  O,  O,
    O,  O,  O,  O,  O,  O,  O,  O,  O,  O,  O,  O,  O,  O,  O,  O, /* 0x00: tab to CR */
    B,  O,  O,  O,  O,  O,  O,  O,  O,  O,  O,  O,  O,  O,  O,  O,
    D,  D,  D,  D,  D,  D,  D,  D,  D,  D,  O,  O,  O,  O,  O,  O, /* 0x20 */
    O,  L,  L,  L,  L,  L,  L,  L,  L,  L,  L,  L,  L,  L,  L,  L,
    L,  L,  L,  L,  L,  L,  L,  L,  L,  L,  L,  O,  O,  O,  O,  O, /* 0x40 */
    O,  L,  L,  L,  L,  L,  L,  L,  L,  L,  L,  L,  L,  L,  L,  L,
    L,  L,  L,  L,  L,  L,  L,  L,  L,  L,  L,  O,  O,  O,  O,  O, /* 0x60 */
    F8, F8, F8, F8, F8, F8, F8, F8, F8, F8, F8, F8, F8, F8, F8, F8,
};
#undef O
#undef L
#undef D
#undef B
#undef F8

static int class_of(char c)
{
    return class_table[(unsigned char)c];
}

/* The first character from `at` on that is not of `class`. */
static const char *past(const char *at, const char *end, int class)
{
    while (at < end && class_of(*at) == class)
        at++;
    return at;
}

static bool is_foreign(const char *at, const char *end)
{
    return at < end && class_of(*at) == FOREIGN;
}

/* Length of a run of `class` from `from` on, counted from `at`; 0 when it may go on behind ASCII. */
static size_t run(const char *at, const char *from, const char *end, int class)
{
    const char *stop = past(from, end, class);
    return is_foreign(stop, end) ? 0 : (size_t)(stop - at);
}

static bool is_newline(char c)
{
    return c == '\r' || c == '\n';
}

/* \s+(?!\S)|\s+ where [at, stop) is the whole run of blanks: all of it at the end of the text, else all but the last,
 * which begins the next word; a single one is taken. */
static size_t blanks(const char *at, const char *stop, const char *end)
{
    size_t length = (size_t)(stop - at);
    return stop == end || length == 1 ? length : length - 1;
}

/* 's|'t|'re|'ve|'m|'ll|'d behind an apostrophe at `at`: its length, 0: none of them. `fold` makes a letter small. */
static size_t contraction(const char *at, const char *end, char fold)
{
    if (end - at < 2)
        return 0;
    char first = (char)(at[1] | fold), second = end - at > 2 ? (char)(at[2] | fold) : '\0';
    if (first == 's' || first == 't' || first == 'm' || first == 'd')
        return 2;
    if ((first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l'))
        return 3;
    return 0;
}

size_t ls_scan_gpt2(const char *at, const char *end)
{
    if (*at == '\'') {
        size_t length = contraction(at, end, 0);
        if (length)
            return length;
    }
    const char *from = at + (*at == ' ' && at + 1 < end); /* the optional blank of ` ?\p{L}+` and its likes */
    int class = class_of(*from);
    if (class == FOREIGN)
        return 0;
    if (class != BLANK)
        return run(at, from, end, class);
    const char *stop = past(at, end, BLANK);
    return is_foreign(stop, end) ? 0 : blanks(at, stop, end);
}

/* The pattern that Llama-3 and Qwen2 share but for the number of digits in a word. */
static size_t scan_by_digits(const char *at, const char *end, int most)
{
    int class = class_of(*at);
    if (class == FOREIGN)
        return 0;
    if (class == LETTER) /* \p{L}+ */
        return run(at, at, end, LETTER);
    if (*at == '\'') { /* (?i:'s|...); U+017F is a small s to (?i), so what is not ASCII is not decided here */
        if (is_foreign(at + 1, end) || is_foreign(at + 2, end))
            return 0;
        size_t length = contraction(at, end, 0x20);
        if (length)
            return length;
    }
    if (class == DIGIT) { /* \p{N}{1,most} */
        const char *stop = at + 1;
        while (stop < end && stop - at < most && class_of(*stop) == DIGIT)
            stop++;
        return stop - at < most && is_foreign(stop, end) ? 0 : (size_t)(stop - at);
    }
    if (is_foreign(at + 1, end))
        return 0;
    if (!is_newline(*at) && at + 1 < end && class_of(at[1]) == LETTER) /* [^\r\n\p{L}\p{N}]\p{L}+ */
        return run(at, at + 1, end, LETTER);
    const char *from = at + (*at == ' ' && at + 1 < end);
    if (class_of(*from) == OTHER) { /* ` ?[^\s\p{L}\p{N}]+[\r\n]*` */
        const char *stop = past(from, end, OTHER);
        if (is_foreign(stop, end))
            return 0;
        while (stop < end && is_newline(*stop))
            stop++;
        return (size_t)(stop - at);
    }
    const char *stop = past(at, end, BLANK);
    if (is_foreign(stop, end))
        return 0;
    for (const char *last = stop; last > at; last--) /* \s*[\r\n]+ ends behind the run's last line end */
        if (is_newline(last[-1]))
            return (size_t)(last - at);
    return blanks(at, stop, end);
}

size_t ls_scan_llama3(const char *at, const char *end)
{
    return scan_by_digits(at, end, 3);
}

size_t ls_scan_qwen2(const char *at, const char *end)
{
    return scan_by_digits(at, end, 1);
}
