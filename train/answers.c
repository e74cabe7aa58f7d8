/* Answer checking. See answers.h. */
#include "train/answers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* ---- GSM8K's own check ---- */

typedef struct {
    const char *text;
    size_t bytes;
} span;

/* What the group of the pattern matches; bytes = 0: no match. */
static span marked_answer(const char *text, size_t bytes)
{
    static const char mark[] = "#### ";
    const char *end = text + bytes;
    for (const char *at = text; (at = memmem(at, (size_t)(end - at), mark, sizeof mark - 1)); at++) {
        const char *from = at + sizeof mark - 1, *to = from + (from < end && *from == '-');
        const char *digits = to;
        while (to < end && (is_digit(*to) || *to == '.' || *to == ','))
            to++;
        if (to > digits)
            return (span){from, (size_t)(to - from)};
    }
    return (span){text, 0};
}

static bool equal_without_commas(span a, span b)
{
    size_t i = 0, j = 0;
    for (;;) {
        while (i < a.bytes && a.text[i] == ',')
            i++;
        while (j < b.bytes && b.text[j] == ',')
            j++;
        if (i == a.bytes || j == b.bytes)
            return i == a.bytes && j == b.bytes;
        if (a.text[i++] != b.text[j++])
            return false;
    }
}

bool ls_gsm8k_right(const char *reply, size_t reply_bytes, const char *gold, size_t gold_bytes)
{
    span mine = marked_answer(reply, reply_bytes), theirs = marked_answer(gold, gold_bytes);
    return mine.bytes && theirs.bytes && equal_without_commas(mine, theirs);
}

/* ---- rationals ---- */

static int64_t greatest_divisor(int64_t a, int64_t b)
{
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static bool shift_in(int64_t *value, int64_t digit)
{
    return !__builtin_mul_overflow(*value, 10, value) && !__builtin_add_overflow(*value, digit, value);
}

/* Digits with commas between them; how many bytes, 0: none or too large. */
static size_t read_digits(const char *text, size_t bytes, bool commas, int64_t *value)
{
    size_t i = 0;
    for (; i < bytes; i++) {
        if (is_digit(text[i])) {
            if (!shift_in(value, text[i] - '0'))
                return 0;
        } else if (!(commas && text[i] == ',' && i > 0 && i + 1 < bytes && is_digit(text[i + 1]))) {
            break;
        }
    }
    return i;
}

/* ".25" behind the whole part: *numerator becomes 100 times itself plus 25, *denominator 100. False: too large. */
static bool read_decimals(const char *text, size_t bytes, size_t *at, int64_t *numerator, int64_t *denominator)
{
    if (*at + 1 >= bytes || text[*at] != '.' || !is_digit(text[*at + 1]))
        return true;
    for (++*at; *at < bytes && is_digit(text[*at]); ++*at)
        if (!shift_in(numerator, text[*at] - '0') || !shift_in(denominator, 0))
            return false;
    return true;
}

size_t ls_rational_read(const char *text, size_t bytes, ls_rational *value)
{
    size_t at = bytes && text[0] == '-';
    const bool negative = at == 1;
    at += at < bytes && text[at] == '$';
    int64_t numerator = 0, denominator = 1;
    size_t whole = read_digits(text + at, bytes - at, true, &numerator);
    bool decimals_only = !whole && at + 1 < bytes && text[at] == '.' && is_digit(text[at + 1]);
    if (!whole && !decimals_only)
        return 0;
    at += whole;
    if (!read_decimals(text, bytes, &at, &numerator, &denominator))
        return 0;
    int64_t divisor = 0;
    size_t divided = at < bytes && text[at] == '/' ? read_digits(text + at + 1, bytes - at - 1, false, &divisor) : 0;
    if (divided && divisor) {
        at += 1 + divided;
        if (__builtin_mul_overflow(denominator, divisor, &denominator))
            return 0;
    }
    value->percent = at < bytes && text[at] == '%';
    at += value->percent;
    if (value->percent && __builtin_mul_overflow(denominator, 100, &denominator))
        return 0;
    int64_t shared = greatest_divisor(denominator, numerator);
    value->numerator = (negative ? -numerator : numerator) / shared;
    value->denominator = denominator / shared;
    return at;
}

/* Does the minus at text[at] belong to the number behind it? Not in "10-5" or "x-5". */
static bool is_sign(const char *text, size_t at)
{
    if (text[at] != '-')
        return false;
    char before = at ? text[at - 1] : ' ';
    return !is_digit(before) && before != ')' && !((before | 32) >= 'a' && (before | 32) <= 'z');
}

bool ls_rational_last(const char *text, size_t bytes, ls_rational *value)
{
    bool found = false;
    for (size_t at = 0; at < bytes;) {
        bool could = is_digit(text[at]) || text[at] == '.' || text[at] == '$' || is_sign(text, at);
        ls_rational here;
        size_t used = could ? ls_rational_read(text + at, bytes - at, &here) : 0;
        if (used) {
            *value = here;
            found = true;
        }
        at += used ? used : 1;
        while (!used && at < bytes && is_digit(text[at - 1]) && is_digit(text[at]))
            at++; /* the tail of a number that was too large is no number either */
    }
    return found;
}

bool ls_rational_equal(ls_rational a, ls_rational b)
{
    return a.numerator == b.numerator && a.denominator == b.denominator; /* both in lowest terms */
}

/* 25% of a reply answers "what percentage", whose gold answer is written 25. */
static ls_rational without_percent(ls_rational value)
{
    int64_t shared = greatest_divisor(100, value.denominator), times = 100 / shared;
    if (__builtin_mul_overflow(value.numerator, times, &value.numerator))
        return (ls_rational){.numerator = 1}; /* denominator 0: equal to nothing */
    value.denominator /= shared;
    return value;
}

bool ls_gsm8k_right_leniently(const char *reply, size_t reply_bytes, const char *gold, size_t gold_bytes)
{
    span marked = marked_answer(gold, gold_bytes);
    ls_rational mine, theirs;
    if (!marked.bytes || !ls_rational_last(marked.text, marked.bytes, &theirs) || !ls_rational_last(reply, reply_bytes, &mine))
        return false;
    return ls_rational_equal(mine, theirs) || (mine.percent && ls_rational_equal(without_percent(mine), theirs));
}

/* Behind the first run of '#' and blanks. */
static bool marked_number(const char *text, size_t bytes, ls_rational *value)
{
    const char *mark = memchr(text, '#', bytes);
    size_t at = mark ? (size_t)(mark - text) : bytes;
    while (at < bytes && (text[at] == '#' || text[at] == ' '))
        at++;
    return at < bytes && ls_rational_read(text + at, bytes - at, value) > 0;
}

static bool right_by_mark(const char *reply, size_t reply_bytes, const char *gold, size_t gold_bytes)
{
    ls_rational mine, theirs;
    if (!marked_number(gold, gold_bytes, &theirs) && !ls_rational_last(gold, gold_bytes, &theirs))
        return false;
    return marked_number(reply, reply_bytes, &mine) && ls_rational_equal(mine, theirs);
}

bool ls_answer_right(ls_answer_rule rule, const char *reply, size_t reply_bytes, const char *gold, size_t gold_bytes)
{
    if (rule == LS_ANSWER_MARKED)
        return right_by_mark(reply, reply_bytes, gold, gold_bytes);
    return rule == LS_ANSWER_GSM8K ? ls_gsm8k_right(reply, reply_bytes, gold, gold_bytes)
                                   : ls_gsm8k_right_leniently(reply, reply_bytes, gold, gold_bytes);
}

static size_t skip_blanks(const char *text, size_t bytes, size_t at)
{
    while (at < bytes && (text[at] == ' ' || text[at] == '$'))
        at++;
    return at;
}

/* Digits with a decimal part, copied to *to. */
static size_t copy_number(const char *text, size_t bytes, size_t at, char **to)
{
    const size_t begin = at;
    for (; at < bytes && (is_digit(text[at]) || (text[at] == '.' && at + 1 < bytes && is_digit(text[at + 1]))); at++)
        *(*to)++ = text[at];
    return at > begin ? at : 0;
}

/* The equation that begins at text[at], copied to *to; where it ends, 0: there is none, and *to is as before. */
static size_t copy_equation(const char *text, size_t bytes, size_t at, char **to)
{
    char *const begin = *to;
    bool combined = false;
    *to += text[at] == '-' ? (**to = '-', 1) : 0;
    at += text[at] == '-';
    for (;;) {
        at = copy_number(text, bytes, at, to);
        const size_t sign = at ? skip_blanks(text, bytes, at) : bytes;
        if (sign >= bytes)
            break;
        if (text[sign] == '=' && combined) {
            *(*to)++ = '=';
            at = skip_blanks(text, bytes, sign + 1);
            if (at < bytes && text[at] == '-')
                *(*to)++ = text[at++];
            at = copy_number(text, bytes, at, to);
            if (!at)
                break;
            *(*to)++ = ';';
            return at;
        }
        if (!strchr("+-*/x", text[sign]))
            break;
        *(*to)++ = text[sign] == 'x' ? '*' : text[sign];
        combined = true;
        at = skip_blanks(text, bytes, sign + 1);
    }
    *to = begin;
    return 0;
}

char *ls_equations(const char *text, size_t bytes)
{
    char *all = malloc(2 * bytes + 2), *to = all;
    if (!all)
        return NULL;
    for (size_t at = 0; at < bytes;) {
        const bool number = is_digit(text[at]) || is_sign(text, at);
        const size_t end = number ? copy_equation(text, bytes, at, &to) : 0;
        at = end ? end : at + 1;
        while (!end && number && at < bytes && (is_digit(text[at]) || text[at] == '.'))
            at++; /* the tail of a number begins no equation */
    }
    if (to == all) {
        memcpy(all, text, bytes);
        to += bytes;
    }
    *to = '\0';
    return all;
}

void ls_wilson_interval(int64_t right, int64_t of, double *low, double *high)
{
    *low = 0, *high = 1;
    if (of < 1)
        return;
    const double z = 1.959963984540054, n = (double)of, share = (double)right / n;
    const double scale = 1 / (1 + z * z / n), middle = share + z * z / (2 * n);
    const double half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n));
    *low = right == 0 ? 0 : scale * (middle - half);
    *high = right == of ? 1 : scale * (middle + half);
}
