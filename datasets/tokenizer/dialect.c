/* See dialect.h. What is let through means the same in both dialects:
 *
 *     literals, . | * + ? *+ ++ ?+ *? +? ?? {n} {n,} {n,m}   (but {n}? and {n}+ differ, and {,m} is literal to PCRE2)
 *     (?: (?= (?! (?<= (?<! (?i:                             (but (?i) without a colon nests differently)
 *     [...] and [^...] without [ && or [:...:] inside        (Oniguruma nests classes)
 *     \p{L} \p{Lu} \P{...}, general categories only          (scripts: PCRE2 means Script_Extensions)
 *     \d \D \r \n \t, and a backslash before punctuation     (\w and \h differ; ^ and $ are line ends to Ruby)
 *     \s \S, spelt out: Unicode's White_Space to Oniguruma, while PCRE2 adds U+180E */
#include "datasets/tokenizer/dialect.h"

#include <string.h>

typedef struct {
    const char *at, *end, *begin;
    char *out;
} translation;

static char ahead(const translation *t, int by)
{
    return t->end - t->at > by ? t->at[by] : '\0';
}

static ls_status differs(const translation *t, int length)
{
    int left = t->end - t->at < length ? (int)(t->end - t->at) : length;
    return ls_fail(LS_EFORMAT,
                   "\"%.*s\", at byte %lld of the pattern %.*s, may not mean what it means to Hugging Face's library",
                   left, t->at, (long long)(t->at - t->begin), (int)(t->end - t->begin), t->begin);
}

static void copy(translation *t, int count)
{
    for (; count; count--)
        *t->out++ = *t->at++;
}

static void write(translation *t, const char *text)
{
    for (; *text; text++)
        *t->out++ = *text;
}

static bool is_alphanumeric(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* At a backslash. */
static ls_status escape(translation *t)
{
    char next = ahead(t, 1);
    if (next == 's' || next == 'S') {
        write(t, next == 's' ? "\\p{White_Space}" : "\\P{White_Space}");
        t->at += 2;
        return LS_OK;
    }
    if (next == 'p' || next == 'P') { /* \p{L} or \p{Lu} */
        int length = ahead(t, 4) == '}' ? 5 : 6;
        bool category = ahead(t, 2) == '{' && ahead(t, 3) && strchr("LMNPSZC", ahead(t, 3)) &&
                        ahead(t, length - 1) == '}' && (length == 5 || (ahead(t, 4) >= 'a' && ahead(t, 4) <= 'z'));
        if (!category)
            return differs(t, 8);
        copy(t, length);
        return LS_OK;
    }
    if (!next || (unsigned char)next >= 0x80 || (is_alphanumeric(next) && !strchr("dDrnt", next)))
        return differs(t, 2);
    copy(t, 2);
    return LS_OK;
}

/* At the [ of a class. */
static ls_status class(translation *t)
{
    copy(t, ahead(t, 1) == '^' ? 2 : 1);
    if (ahead(t, 0) == ']')
        return differs(t, 1);
    while (t->at < t->end && *t->at != ']') {
        ls_status status = LS_OK;
        if (*t->at == '[' || (*t->at == '&' && ahead(t, 1) == '&'))
            return differs(t, 2);
        if (*t->at == '\\')
            status = escape(t);
        else
            copy(t, 1);
        if (status)
            return status;
    }
    if (t->at == t->end)
        return differs(t, 1);
    copy(t, 1);
    return LS_OK;
}

/* At a ( : only the groups listed above. */
static ls_status group(translation *t)
{
    static const char *const same[] = {"?:", "?=", "?!", "?<=", "?<!", "?i:"};
    if (ahead(t, 1) == '*')
        return differs(t, 2);
    if (ahead(t, 1) != '?') {
        copy(t, 1);
        return LS_OK;
    }
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        size_t length = strlen(same[i]);
        if ((size_t)(t->end - t->at) > length && memcmp(t->at + 1, same[i], length) == 0) {
            copy(t, 1 + (int)length);
            return LS_OK;
        }
    }
    return differs(t, 4);
}

ls_status ls_dialect_translate(const char *pattern, size_t bytes, char out[LS_DIALECT_ROOM])
{
    translation t = {.at = pattern, .end = pattern + bytes, .begin = pattern, .out = out};
    ls_status status = LS_OK;
    if (bytes > LS_DIALECT_PATTERN)
        return ls_fail(LS_EFORMAT, "a pattern of %zu bytes; at most %d are read", bytes, LS_DIALECT_PATTERN);
    if (memchr(pattern, '\0', bytes))
        return ls_fail(LS_EFORMAT, "the pattern holds U+0000");
    while (t.at < t.end && !status) {
        char next = ahead(&t, 1);
        if (*t.at == '\\')
            status = escape(&t);
        else if (*t.at == '[')
            status = class(&t);
        else if (*t.at == '(')
            status = group(&t);
        else if (*t.at == '^' || *t.at == '$' || (*t.at == '{' && next == ',') ||
                 (*t.at == '}' && (next == '+' || next == '?')))
            status = differs(&t, 2);
        else
            copy(&t, 1);
    }
    *t.out = '\0';
    return status;
}
