/* See json.h. */
#include "datasets/tokenizer/json.h"
#include "datasets/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH = 63 }; /* tokenizer files nest about six deep; a bound keeps ls_json_skip off the stack's end */

struct ls_json_buffer {
    char *text;
    size_t used, room;
};

ls_status ls_json_refuse(const ls_json *json, const char *format, ...)
{
    char sentence[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    long long line = 1;
    const char *start = json->begin;
    for (const char *at = json->begin; at < json->at; at++)
        if (*at == '\n')
            line++, start = at + 1;
    return ls_fail(LS_EFORMAT, "%s:%lld:%lld: %s", json->name, line, (long long)(json->at - start) + 1, sentence);
}

ls_status ls_json_open(ls_json *json, const char *name, const char *bytes, size_t size)
{
    *json = (ls_json){.name = name, .begin = bytes, .at = bytes, .end = bytes + size};
    size_t valid = ls_utf8_prefix(bytes, size);
    if (valid < size) {
        json->at += valid;
        return ls_json_refuse(json, "byte 0x%02x is not UTF-8: the file is damaged or not JSON",
                              (unsigned char)bytes[valid]);
    }
    if (size >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0)
        json->at += 3;
    json->buffer = calloc(1, sizeof *json->buffer);
    return json->buffer ? LS_OK : ls_fail(LS_EMEM, "%s: no memory for its reader", name);
}

void ls_json_close(ls_json *json)
{
    if (json->buffer)
        free(json->buffer->text);
    free(json->buffer);
    json->buffer = NULL;
}

static void skip_blanks(ls_json *json)
{
    while (json->at < json->end && (*json->at == ' ' || *json->at == '\n' || *json->at == '\t' || *json->at == '\r'))
        json->at++;
}

char ls_json_peek(ls_json *json)
{
    skip_blanks(json);
    if (json->at == json->end)
        return '?';
    char c = *json->at;
    if (c == '-' || (c >= '0' && c <= '9'))
        return '0';
    return c && strchr("{[\"tfn", c) ? c : '?';
}

static const char *found(const ls_json *json)
{
    return json->at == json->end ? "the end of the file (cut short?)" : "something else";
}

/* The next character after blanks must be `c`. */
static ls_status expect(ls_json *json, char c, const char *what)
{
    skip_blanks(json);
    if (json->at == json->end || *json->at != c)
        return ls_json_refuse(json, "%s expected, found %s", what, found(json));
    json->at++;
    return LS_OK;
}

static ls_status open_level(ls_json *json, char c, const char *what)
{
    ls_status status = expect(json, c, what);
    if (status)
        return status;
    if (json->depth == DEPTH)
        return ls_json_refuse(json, "nested deeper than %d", DEPTH);
    json->depth++;
    json->not_first &= ~(UINT64_C(1) << json->depth);
    return LS_OK;
}

ls_status ls_json_object(ls_json *json)
{
    return open_level(json, '{', "an object");
}

ls_status ls_json_array(ls_json *json)
{
    return open_level(json, '[', "an array");
}

/* In front of the next element: its comma, or `close`, which ends the level. */
static ls_status next_element(ls_json *json, char close, bool *more)
{
    uint64_t bit = UINT64_C(1) << json->depth;
    skip_blanks(json);
    *more = !(json->at < json->end && *json->at == close);
    if (!*more) {
        json->at++;
        json->depth--;
        return LS_OK;
    }
    if (json->not_first & bit)
        return expect(json, ',', close == '}' ? "a comma or }" : "a comma or ]");
    json->not_first |= bit;
    return LS_OK;
}

ls_status ls_json_item(ls_json *json, bool *more)
{
    return next_element(json, ']', more);
}

ls_status ls_json_key(ls_json *json, ls_json_text *key)
{
    bool more;
    *key = (ls_json_text){NULL, 0};
    ls_status status = next_element(json, '}', &more);
    if (status || !more)
        return status;
    if ((status = ls_json_string(json, key)) == LS_OK)
        status = expect(json, ':', "a colon behind the key");
    if (status)
        key->text = NULL;
    return status;
}

/* Room for `more` bytes and a NUL. */
static bool room_for(struct ls_json_buffer *buffer, size_t more)
{
    if (buffer->used + more + 1 <= buffer->room)
        return true;
    size_t room = 2 * (buffer->used + more) + 64;
    char *text = realloc(buffer->text, room);
    if (!text)
        return false;
    buffer->text = text;
    buffer->room = room;
    return true;
}

/* Four hexadecimal digits. */
static bool read_hex(ls_json *json, uint32_t *code)
{
    *code = 0;
    for (int i = 0; i < 4; i++, json->at++) {
        if (json->at == json->end)
            return false;
        char c = *json->at;
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                                : 16;
        if (digit == 16)
            return false;
        *code = *code << 4 | digit;
    }
    return true;
}

/* What stands behind a backslash, as a code point. */
static ls_status read_escape(ls_json *json, uint32_t *code)
{
    static const char letters[] = "\"\\/bfnrt", stands_for[] = "\"\\/\b\f\n\r\t";
    const char *letter = json->at < json->end && *json->at ? strchr(letters, *json->at) : NULL;
    if (letter) {
        *code = (uint32_t)stands_for[letter - letters];
        json->at++;
        return LS_OK;
    }
    if (json->at == json->end || *json->at != 'u')
        return ls_json_refuse(json, "unknown escape in a string");
    json->at++;
    if (!read_hex(json, code))
        return ls_json_refuse(json, "\\u wants four hexadecimal digits");
    if (*code < 0xd800 || *code > 0xdfff)
        return LS_OK;
    uint32_t low;
    if (*code > 0xdbff || json->end - json->at < 2 || json->at[0] != '\\' || json->at[1] != 'u' || !(json->at += 2) ||
        !read_hex(json, &low) || low < 0xdc00 || low > 0xdfff)
        return ls_json_refuse(json, "half of a surrogate pair: \\u%04x stands for no character alone", *code);
    *code = 0x10000 + ((*code - 0xd800) << 10) + (low - 0xdc00);
    return LS_OK;
}

ls_status ls_json_string(ls_json *json, ls_json_text *text)
{
    struct ls_json_buffer *buffer = json->buffer;
    ls_status status = expect(json, '"', "a string");
    buffer->used = 0;
    while (!status) {
        const char *plain = json->at;
        while (json->at < json->end && *json->at != '"' && *json->at != '\\' && (unsigned char)*json->at >= 0x20)
            json->at++;
        size_t run = (size_t)(json->at - plain);
        if (!room_for(buffer, run + 4))
            return ls_fail(LS_EMEM, "%s: no memory for a string of %zu bytes", json->name, buffer->used + run);
        memcpy(buffer->text + buffer->used, plain, run);
        buffer->used += run;
        if (json->at == json->end)
            return ls_json_refuse(json, "the file ends inside a string (cut short?)");
        if (*json->at == '"')
            break;
        if (*json->at != '\\')
            return ls_json_refuse(json, "control character 0x%02x inside a string", (unsigned char)*json->at);
        json->at++;
        uint32_t code = 0;
        if ((status = read_escape(json, &code)) == LS_OK)
            buffer->used += ls_utf8_encode(code, buffer->text + buffer->used);
    }
    if (status)
        return status;
    json->at++;
    buffer->text[buffer->used] = '\0';
    *text = (ls_json_text){buffer->text, buffer->used};
    return LS_OK;
}

/* Past digits; false when there is none. */
static bool digits(ls_json *json)
{
    const char *from = json->at;
    while (json->at < json->end && *json->at >= '0' && *json->at <= '9')
        json->at++;
    return json->at > from;
}

static ls_status skip_number(ls_json *json)
{
    if (*json->at == '-')
        json->at++;
    bool good = digits(json);
    if (good && json->at < json->end && *json->at == '.') {
        json->at++;
        good = digits(json);
    }
    if (good && json->at < json->end && (*json->at == 'e' || *json->at == 'E')) {
        json->at++;
        if (json->at < json->end && (*json->at == '+' || *json->at == '-'))
            json->at++;
        good = digits(json);
    }
    return good ? LS_OK : ls_json_refuse(json, "not a number");
}

ls_status ls_json_integer(ls_json *json, int64_t *value)
{
    if (ls_json_peek(json) != '0')
        return ls_json_refuse(json, "a whole number expected, found %s", found(json));
    bool negative = *json->at == '-';
    json->at += negative;
    const char *from = json->at;
    int64_t read = 0;
    for (; json->at < json->end && *json->at >= '0' && *json->at <= '9'; json->at++) {
        if (json->at - from >= 18)
            return ls_json_refuse(json, "a number of more than 18 digits");
        read = 10 * read + (*json->at - '0');
    }
    if (json->at == from || (json->at < json->end && strchr(".eE", *json->at) && *json->at))
        return ls_json_refuse(json, "a whole number expected");
    *value = negative ? -read : read;
    return LS_OK;
}

static ls_status word(ls_json *json, const char *wanted)
{
    size_t length = strlen(wanted);
    if ((size_t)(json->end - json->at) < length || memcmp(json->at, wanted, length) != 0)
        return ls_json_refuse(json, "%s expected", wanted);
    json->at += length;
    return LS_OK;
}

ls_status ls_json_bool(ls_json *json, bool *value)
{
    char kind = ls_json_peek(json);
    if (kind != 't' && kind != 'f')
        return ls_json_refuse(json, "true or false expected, found %s", found(json));
    *value = kind == 't';
    return word(json, *value ? "true" : "false");
}

static ls_status skip_object(ls_json *json)
{
    ls_json_text key;
    ls_status status = ls_json_object(json);
    while (!status && (status = ls_json_key(json, &key)) == LS_OK && key.text)
        status = ls_json_skip(json);
    return status;
}

static ls_status skip_array(ls_json *json)
{
    bool more = true;
    ls_status status = ls_json_array(json);
    while (!status && (status = ls_json_item(json, &more)) == LS_OK && more)
        status = ls_json_skip(json);
    return status;
}

ls_status ls_json_skip(ls_json *json)
{
    ls_json_text ignored;
    switch (ls_json_peek(json)) {
    case '{': return skip_object(json);
    case '[': return skip_array(json);
    case '"': return ls_json_string(json, &ignored);
    case 't': return word(json, "true");
    case 'f': return word(json, "false");
    case 'n': return word(json, "null");
    case '0': return skip_number(json);
    default: return ls_json_refuse(json, "a value expected, found %s", found(json));
    }
}

ls_status ls_json_finish(ls_json *json)
{
    skip_blanks(json);
    return json->at == json->end ? LS_OK : ls_json_refuse(json, "more text behind the end of the JSON value");
}

bool ls_json_is(const ls_json_text *text, const char *wanted)
{
    return text->text && strlen(wanted) == text->bytes && memcmp(text->text, wanted, text->bytes) == 0;
}

ls_status ls_json_peek_type(const ls_json *json, char type[32])
{
    ls_json ahead = *json;
    ls_json_text key = {NULL, 0}, text;
    ls_status status = ls_json_object(&ahead);
    *type = '\0';
    while (!status && (status = ls_json_key(&ahead, &key)) == LS_OK && key.text) {
        if (!ls_json_is(&key, "type")) {
            status = ls_json_skip(&ahead);
        } else if ((status = ls_json_string(&ahead, &text)) == LS_OK) {
            strncpy(type, text.text, 31);
            type[31] = '\0';
        }
    }
    return status;
}
