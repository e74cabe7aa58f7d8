/* SentencePiece's BPE as a tokenizer.json tells it (Llama 2, Mistral). A blank is U+2581 there, and one is put in front of a text:
 *
 *     old   "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"},
 *                          {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]}, "pre_tokenizer": null
 *     new   "normalizer": null, "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581",
 *                          "prepend_scheme": "always" | "first" | "never", "split": bool}
 *
 * Prepend puts its blank in front of every text between added tokens, Metaspace only where none stands, and with "first" only in
 * front of the whole. With "split" each blank begins a word; else pieces may reach over blanks. Inside lockstep a blank is a blank. */
#include "datasets/tokenizer/pieces_reader.h"

#include <stdlib.h>
#include <string.h>

#define MARK "\xe2\x96\x81" /* U+2581 */
enum { MARK_BYTES = 3 };

bool ls_pieces_begin_blank(const char *text, size_t bytes)
{
    return bytes >= MARK_BYTES && !memcmp(text, MARK, MARK_BYTES);
}

size_t ls_pieces_blanks(const char *text, size_t bytes, char *to)
{
    size_t length = 0;
    for (size_t at = 0; at < bytes; length++) {
        const bool mark = ls_pieces_begin_blank(text + at, bytes - at);
        to[length] = mark ? ' ' : text[at];
        at += mark ? MARK_BYTES : 1;
    }
    return length;
}

/* The byte of "<0x41>", -1: it is none. */
static int byte_of(const char *key, size_t bytes)
{
    static const char digits[] = "0123456789ABCDEF";
    if (bytes != 6 || memcmp(key, "<0x", 3) || key[5] != '>')
        return -1;
    const char *high = memchr(digits, key[3], 16), *low = memchr(digits, key[4], 16);
    return high && low ? (int)(high - digits) << 4 | (int)(low - digits) : -1;
}

ls_status ls_pieces_put(ls_tokenizer *tokenizer, int64_t id, const char *key, size_t bytes)
{
    const int byte = byte_of(key, bytes);
    if (byte >= 0) {
        const char text = (char)byte;
        const ls_status status = ls_vocabulary_put(&tokenizer->vocabulary, id, &text, 1, LS_TOKEN_BYTE);
        if (!status)
            tokenizer->byte_id[byte] = (int32_t)id;
        return status;
    }
    ls_status status = ls_tokenizer_grow_prefixed(tokenizer, bytes + 1);
    if (status)
        return status;
    const size_t length = ls_pieces_blanks(key, bytes, tokenizer->prefixed);
    return ls_vocabulary_put(&tokenizer->vocabulary, id, tokenizer->prefixed, length, LS_TOKEN_BYTES);
}

/* A text that must be what it always is. */
static ls_status must_be(ls_json *json, const char *part, const char *member, const char *want)
{
    ls_json_text text;
    const ls_status status = ls_json_string(json, &text);
    if (status || ls_json_is(&text, want))
        return status;
    return ls_json_refuse(json, "%s with \"%s\": \"%s\"; only \"%s\" is known", part, member, text.text, want);
}

static ls_status read_pattern(ls_json *json)
{
    ls_json_text key;
    ls_status status = ls_json_object(json);
    while (!status && (status = ls_json_key(json, &key)) == LS_OK && key.text)
        status = ls_json_is(&key, "String") ? must_be(json, "normalizer Replace", "String", " ")
                                            : ls_json_refuse(json, "normalizer Replace with a pattern of kind \"%s\"; only \"String\" is known", key.text);
    return status;
}

ls_status ls_pieces_read_normalizer(ls_json *json, ls_tokenizer *tokenizer)
{
    char type[32];
    bool more;
    ls_json_text key;
    if (ls_json_peek(json) == 'n')
        return ls_json_skip(json);
    ls_status status = ls_json_peek_type(json, type);
    const bool prepend = !strcmp(type, "Prepend"), replace = !strcmp(type, "Replace");
    if (!status && !prepend && !replace && strcmp(type, "Sequence"))
        return ls_json_refuse(json, "normalizer \"%s\" beside byte_fallback; those known are Prepend, Replace and Sequence", type);
    if (!status)
        status = ls_json_object(json);
    while (!status && (status = ls_json_key(json, &key)) == LS_OK && key.text) {
        if (prepend && ls_json_is(&key, "prepend")) {
            status = must_be(json, "normalizer Prepend", "prepend", MARK);
        } else if (replace && ls_json_is(&key, "pattern")) {
            status = read_pattern(json);
        } else if (replace && ls_json_is(&key, "content")) {
            status = must_be(json, "normalizer Replace", "content", MARK);
        } else if (ls_json_is(&key, "normalizers")) {
            status = ls_json_array(json);
            while (!status && (status = ls_json_item(json, &more)) == LS_OK && more)
                status = ls_pieces_read_normalizer(json, tokenizer);
        } else {
            status = ls_json_skip(json);
        }
    }
    if (prepend)
        tokenizer->front = LS_FRONT_PREPEND;
    return status;
}

static ls_status read_scheme(ls_json *json, ls_tokenizer *tokenizer)
{
    static const struct {
        const char *name;
        ls_front front;
    } schemes[] = {{"always", LS_FRONT_ALWAYS}, {"first", LS_FRONT_FIRST}, {"never", LS_FRONT_NEVER}};
    ls_json_text text;
    const ls_status status = ls_json_string(json, &text);
    for (size_t i = 0; !status && i < sizeof schemes / sizeof *schemes; i++)
        if (ls_json_is(&text, schemes[i].name)) {
            tokenizer->front = schemes[i].front;
            return LS_OK;
        }
    return status ? status : ls_json_refuse(json, "Metaspace with \"prepend_scheme\": \"%s\"; those known are always, first and never", text.text);
}

ls_status ls_pieces_read_pre_tokenizer(ls_json *json, ls_tokenizer *tokenizer)
{
    char type[32];
    bool old = true; /* add_prefix_space: what files said before prepend_scheme */
    bool scheme = false;
    ls_json_text key;
    if (ls_json_peek(json) == 'n')
        return ls_json_skip(json);
    ls_status status = ls_json_peek_type(json, type);
    if (!status && strcmp(type, "Metaspace"))
        return ls_json_refuse(json, "pre-tokenizer \"%s\" beside byte_fallback; only Metaspace is known", type);
    if (!status && tokenizer->front != LS_FRONT_NEVER)
        return ls_json_refuse(json, "a Metaspace pre-tokenizer behind a Prepend normalizer, which lockstep does not do");
    tokenizer->each_blank = true;
    if (!status)
        status = ls_json_object(json);
    while (!status && (status = ls_json_key(json, &key)) == LS_OK && key.text) {
        if (ls_json_is(&key, "replacement")) {
            status = must_be(json, "Metaspace", "replacement", MARK);
        } else if (ls_json_is(&key, "prepend_scheme")) {
            scheme = true;
            status = read_scheme(json, tokenizer);
        } else if (ls_json_is(&key, "add_prefix_space")) {
            status = ls_json_bool(json, &old);
        } else if (ls_json_is(&key, "split")) {
            status = ls_json_bool(json, &tokenizer->each_blank);
        } else {
            status = ls_json_skip(json);
        }
    }
    if (!scheme)
        tokenizer->front = old ? LS_FRONT_ALWAYS : LS_FRONT_NEVER;
    return status;
}

ls_status ls_pieces_check_decoder(ls_json *json)
{
    static const char *const known[] = {"Replace", "ByteFallback", "Fuse", "Strip", "Metaspace", "Sequence"};
    char type[32];
    bool more, found = false;
    ls_json_text key;
    if (ls_json_peek(json) == 'n')
        return ls_json_skip(json);
    ls_status status = ls_json_peek_type(json, type);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        found |= !strcmp(type, known[i]);
    if (!status && !found)
        return ls_json_refuse(json, "decoder \"%s\" beside byte_fallback; those known are Replace, ByteFallback, Fuse, Strip, Metaspace and Sequence", type);
    if (!status)
        status = ls_json_object(json);
    while (!status && (status = ls_json_key(json, &key)) == LS_OK && key.text) {
        if (!ls_json_is(&key, "decoders")) {
            status = ls_json_skip(json);
            continue;
        }
        status = ls_json_array(json);
        while (!status && (status = ls_json_item(json, &more)) == LS_OK && more)
            status = ls_pieces_check_decoder(json);
    }
    return status;
}
