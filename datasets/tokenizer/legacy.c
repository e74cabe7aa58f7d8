/* The older pairs of files: vocab.json + merges.txt, which GPT-2's authors called encoder.json + vocab.bpe.
 *
 *     vocab.json  {"token in the byte alphabet": id, ...}
 *     merges.txt  "#version: 0.2", then a merge a line: two tokens with a blank between them, the first merge first
 *
 * Neither says how text is cut into words: GPT-2's pattern, unless tokenizer_config.json names a class. */
#include "datasets/tokenizer/alphabet.h"
#include "datasets/tokenizer/json.h"
#include "datasets/tokenizer/parts.h"
#include "datasets/utf8.h"

#include <stdlib.h>
#include <string.h>

static ls_status read_vocabulary(ls_tokenizer *tokenizer, ls_json *json)
{
    ls_json_text key;
    ls_status status = ls_json_object(json);
    while (!status && (status = ls_json_key(json, &key)) == LS_OK && key.text) {
        int64_t id;
        size_t bytes = key.bytes;
        bool in_alphabet = false;
        if ((status = ls_tokenizer_grow_prefixed(tokenizer, key.bytes)) != LS_OK ||
            (status = ls_json_integer(json, &id)) != LS_OK)
            return status;
        in_alphabet = ls_alphabet_read(key.text, key.bytes, tokenizer->prefixed, &bytes);
        const char *token = in_alphabet ? tokenizer->prefixed : key.text;
        status = ls_vocabulary_put(&tokenizer->vocabulary, id, token, in_alphabet ? bytes : key.bytes,
                                   in_alphabet ? LS_TOKEN_BYTES : LS_TOKEN_RAW);
        if (status == LS_EFORMAT)
            status = ls_json_refuse(json, "%s", ls_fail_sentence());
    }
    return status ? status : ls_json_finish(json);
}

/* One half of a merge. */
static int32_t find(ls_tokenizer *tokenizer, const char *text, size_t length)
{
    size_t bytes;
    if (!length || ls_tokenizer_grow_prefixed(tokenizer, length) ||
        !ls_alphabet_read(text, length, tokenizer->prefixed, &bytes))
        return -1;
    return ls_vocabulary_find(&tokenizer->vocabulary, tokenizer->prefixed, bytes);
}

static ls_status read_merge(ls_tokenizer *tokenizer, const char *line, size_t length, int64_t rank)
{
    const char *blank = memchr(line, ' ', length);
    if (!blank || memchr(blank + 1, ' ', length - (size_t)(blank + 1 - line)))
        return ls_fail(LS_EFORMAT, "\"%.*s\" is not two tokens with one blank between them", (int)length, line);
    int32_t left = find(tokenizer, line, (size_t)(blank - line));
    int32_t right = find(tokenizer, blank + 1, length - (size_t)(blank + 1 - line));
    if (left < 0 || right < 0)
        return ls_fail(LS_EFORMAT, "a token of the merge \"%.*s\" is not in the vocabulary", (int)length, line);
    return ls_tokenizer_put_merge(tokenizer, left, right, rank);
}

static ls_status read_merges(ls_tokenizer *tokenizer, const char *name, const char *bytes, size_t size)
{
    const char *end = bytes + size;
    int64_t rank = 0, number = 1;
    size_t valid = ls_utf8_prefix(bytes, size);
    if (valid < size)
        return ls_fail(LS_EFORMAT, "%s: byte %zu (0x%02x) is not UTF-8: the file is damaged", name, valid,
                       (unsigned)(unsigned char)bytes[valid]);
    for (const char *line = bytes; line < end; number++) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        stop = stop ? stop : end;
        size_t length = (size_t)(stop - line);
        length -= length && line[length - 1] == '\r';
        bool comment = number == 1 && length >= 8 && memcmp(line, "#version", 8) == 0;
        ls_status status = comment || !length ? LS_OK : read_merge(tokenizer, line, length, rank++);
        if (status)
            return ls_fail_at(status, "%s:%lld", name, (long long)number);
        line = stop + 1;
    }
    return LS_OK;
}

/* GPT-2's one special token is an entry of its vocabulary; nothing marks it. */
static ls_status mark_end_of_text(ls_tokenizer *tokenizer)
{
    static const char text[] = "<|endoftext|>";
    int32_t id = ls_vocabulary_find(&tokenizer->vocabulary, text, sizeof text - 1);
    return id < 0 ? LS_OK : ls_tokenizer_add_token(tokenizer, text, sizeof text - 1, id, true, false);
}

ls_status ls_tokenizer_read_legacy(ls_tokenizer **out, const char *vocabulary_name, const char *vocabulary,
                                   size_t vocabulary_size, const char *merges_name, const char *merges,
                                   size_t merges_size)
{
    ls_json json = {0};
    ls_status status = ls_tokenizer_create(out);
    if (status)
        return status;
    if ((status = ls_json_open(&json, vocabulary_name, vocabulary, vocabulary_size)) == LS_OK &&
        (status = read_vocabulary(*out, &json)) == LS_OK &&
        (status = read_merges(*out, merges_name, merges, merges_size)) == LS_OK)
        status = mark_end_of_text(*out);
    ls_json_close(&json);
    if (status) {
        ls_tokenizer_free(*out);
        *out = NULL;
    }
    return status;
}
