/* See flat_json.h. Packing spends a third of its time in jansson's lexer, which goes byte by byte through a stream and
 * checks UTF-8 once more; most lines need neither. Strings without an escape are found by memchr's speed, the others
 * are copied with the escapes of RFC 8259, section 7. Whatever is unusual (a number, nesting, a surrogate, U+0000, a
 * control character, a repeated key) is left to jansson, so both never differ in what they accept. */
#include "datasets/flat_json.h"

#include <string.h>

typedef struct {
    const char *at, *end;
    char *scratch; /* where the next string with escapes goes */
} cursor;

static void skip_blanks(cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\n' || *c->at == '\r'))
        c->at++;
}

/* Takes `wanted` after blanks. */
static bool take(cursor *c, char wanted)
{
    skip_blanks(c);
    if (c->at == c->end || *c->at != wanted)
        return false;
    c->at++;
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* \uXXXX of the basic plane, neither 0 nor a surrogate, as UTF-8; the new end of `to`, NULL: left to jansson. */
static char *unescape_unicode(cursor *c, char *to)
{
    unsigned code = 0;
    for (int i = 0; i < 4; i++) {
        const int digit = c->at < c->end ? hex_digit(*c->at++) : -1;
        if (digit < 0)
            return NULL;
        code = code * 16 + (unsigned)digit;
    }
    if (code == 0 || (code >= 0xd800 && code <= 0xdfff))
        return NULL;
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xc0 | code >> 6);
        *to++ = (char)(0x80 | (code & 0x3f));
    } else {
        *to++ = (char)(0xe0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code & 0x3f));
    }
    return to;
}

static char *unescape(cursor *c, char *to)
{
    static const char letters[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
    if (c->at == c->end)
        return NULL;
    const char letter = *c->at++;
    if (letter == 'u')
        return unescape_unicode(c, to);
    const char *found = letter ? strchr(letters, letter) : NULL;
    if (!found)
        return NULL;
    *to++ = bytes[found - letters];
    return to;
}

/* A string, from its opening quote on. *text points into the line where it has no escape, else into scratch. */
static bool take_string(cursor *c, const char **text, size_t *bytes)
{
    if (!take(c, '"'))
        return false;
    const char *begin = c->at;
    char *to = c->scratch;
    bool copied = false;
    for (const char *run = begin;; run = c->at) {
        while (c->at < c->end && *c->at != '"' && *c->at != '\\' && (unsigned char)*c->at >= 0x20)
            c->at++;
        if (c->at == c->end || (unsigned char)*c->at < 0x20)
            return false;
        const char stop = *c->at;
        const size_t length = (size_t)(c->at++ - run);
        if (stop == '"' && !copied) {
            *text = begin;
            *bytes = length;
            return true;
        }
        memcpy(to, run, length); /* never longer than the line: an escape is longer than what it stands for */
        to += length;
        copied = true;
        if (stop == '"')
            break;
        to = unescape(c, to);
        if (!to)
            return false;
    }
    *text = c->scratch;
    *bytes = (size_t)(to - c->scratch);
    c->scratch = to;
    return true;
}

/* "key": "text" into the object. */
static bool take_field(cursor *c, json_t *object)
{
    const char *key, *text;
    size_t key_bytes, bytes;
    if (!take_string(c, &key, &key_bytes) || !take(c, ':') || !take_string(c, &text, &bytes))
        return false;
    return !json_object_getn(object, key, key_bytes) &&
           json_object_setn_new_nocheck(object, key, key_bytes, json_stringn_nocheck(text, bytes)) == 0;
}

json_t *ls_flat_json(const char *text, size_t bytes, char *scratch)
{
    cursor c = {.at = text, .end = text + bytes, .scratch = scratch};
    json_t *object = take(&c, '{') ? json_object() : NULL;
    if (!object)
        return NULL;
    bool good = take_field(&c, object);
    while (good && take(&c, ','))
        good = take_field(&c, object);
    good = good && take(&c, '}');
    skip_blanks(&c);
    if (good && c.at == c.end)
        return object;
    json_decref(object);
    return NULL;
}
