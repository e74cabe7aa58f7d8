/* Hugging Face's tokenizer.json: byte-level BPE as GPT-2, Llama-3 and Qwen2 use it, and SentencePiece's (pieces_reader.c).
 *
 *     {"added_tokens": [{"id", "content", "special", "normalized", "lstrip", "rstrip", "single_word"}, ...],
 *      "normalizer": null | {"type": "NFC"} | {"type": "Sequence", "normalizers": [...]},
 *      "pre_tokenizer": null | {"type": "ByteLevel", "add_prefix_space", "use_regex"}
 *                     | {"type": "Split", "pattern": {"Regex": "..."}, "behavior": "Isolated", "invert": false}
 *                     | {"type": "Sequence", "pretokenizers": [...]},
 *      "decoder": null | {"type": "ByteLevel"},
 *      "model": {"type": "BPE", "vocab": {"token": id, ...}, "merges": ["a b", ...] or [["a", "b"], ...],
 *                "ignore_merges", "byte_fallback", ...}}
 *
 * Members may come in any order, so the places of those that others depend on are noted first and read after. What
 * would change ids and is not known here is refused by name. Not read, because it never changes the ids of a text:
 * post_processor (it only adds tokens around the text), truncation, padding, version, fuse_unk, unk_token (where it
 * would be used, encoding fails instead). */
#include "datasets/tokenizer/added_reader.h"
#include "datasets/tokenizer/alphabet.h"
#include "datasets/tokenizer/json.h"
#include "datasets/tokenizer/parts.h"
#include "datasets/tokenizer/pieces_reader.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    ls_tokenizer *tokenizer;
    ls_json added, normalizer, pre_tokenizer, decoder, vocabulary, merges; /* places; `at` NULL: not in the file */
    bool byte_level;                                                       /* a ByteLevel pre-tokenizer has been read */
    char *bytes;                                                           /* a key or half a merge as bytes */
    size_t bytes_room;
} reading;

/* Reads one object: each member is handed to `member`, which must read or skip its value. */
typedef ls_status (*read_member)(ls_json *json, reading *read, const ls_json_text *key, void *into);
static ls_status members(ls_json *json, reading *read, read_member member, void *into)
{
    ls_json_text key;
    ls_status status = ls_json_object(json);
    while (!status && (status = ls_json_key(json, &key)) == LS_OK && key.text)
        status = member(json, read, &key, into);
    return status;
}

typedef ls_status (*read_item)(ls_json *json, reading *read, int64_t index);
static ls_status items(ls_json *json, reading *read, read_item item)
{
    bool more = true;
    ls_status status = ls_json_array(json);
    for (int64_t i = 0; !status && (status = ls_json_item(json, &more)) == LS_OK && more; i++)
        status = item(json, read, i);
    return status;
}

/* A place in front of ls_vocabulary_put's and others' sentences. */
static ls_status place(const ls_json *json, ls_status status)
{
    return status == LS_EFORMAT ? ls_json_refuse(json, "%s", ls_fail_sentence()) : status;
}

/* The bytes that a key of the vocabulary stands for, in read->bytes. False: it is not in the byte alphabet. */
static ls_status key_bytes(reading *read, const char *text, size_t length, size_t *bytes, bool *in_alphabet)
{
    if (length > read->bytes_room || !read->bytes) {
        free(read->bytes);
        read->bytes_room = 2 * length + 64;
        read->bytes = malloc(read->bytes_room);
        if (!read->bytes) {
            read->bytes_room = 0;
            return ls_fail(LS_EMEM, "no memory for a token of %zu bytes", length);
        }
    }
    *in_alphabet = ls_alphabet_read(text, length, read->bytes, bytes);
    return LS_OK;
}

static ls_status read_vocabulary_entry(ls_json *json, reading *read, const ls_json_text *key, void *into)
{
    (void)into;
    size_t bytes = 0;
    bool in_alphabet = false;
    int64_t id;
    ls_status status = key_bytes(read, key->text, key->bytes, &bytes, &in_alphabet);
    if (!status)
        status = ls_json_integer(json, &id);
    if (status)
        return status;
    if (read->tokenizer->pieces)
        return place(json, ls_pieces_put(read->tokenizer, id, key->text, key->bytes));
    if (!in_alphabet)
        memcpy(read->bytes, key->text, bytes = key->bytes);
    return place(json, ls_vocabulary_put(&read->tokenizer->vocabulary, id, read->bytes, bytes,
                                         in_alphabet ? LS_TOKEN_BYTES : LS_TOKEN_RAW));
}

/* A token of a merge by its key. */
static ls_status merge_part(ls_json *json, reading *read, const char *text, size_t length, int32_t *id)
{
    size_t bytes = 0;
    bool in_alphabet = false;
    ls_status status = key_bytes(read, text, length, &bytes, &in_alphabet);
    if (status)
        return status;
    if (read->tokenizer->pieces)
        *id = ls_vocabulary_find(&read->tokenizer->vocabulary, read->bytes, ls_pieces_blanks(text, length, read->bytes));
    else
        *id = in_alphabet ? ls_vocabulary_find(&read->tokenizer->vocabulary, read->bytes, bytes) : -1;
    return *id >= 0 ? LS_OK
                    : ls_json_refuse(json, "the merge's part \"%.*s\" is not in the vocabulary", (int)length, text);
}

/* Both parts of a merge: "a b", the form of all files until 2024, or ["a", "b"]. */
static ls_status merge_parts(ls_json *json, reading *read, int32_t *left, int32_t *right)
{
    ls_json_text text;
    bool more;
    ls_status status;
    if (ls_json_peek(json) == '"') {
        if ((status = ls_json_string(json, &text)) != LS_OK)
            return status;
        const char *blank = memchr(text.text, ' ', text.bytes);
        if (!blank || memchr(blank + 1, ' ', text.bytes - (size_t)(blank + 1 - text.text)))
            return ls_json_refuse(json, "the merge \"%s\" is not two tokens with one blank between them", text.text);
        size_t first = (size_t)(blank - text.text);
        status = merge_part(json, read, text.text, first, left);
        return status ? status : merge_part(json, read, blank + 1, text.bytes - first - 1, right);
    }
    if ((status = ls_json_array(json)) != LS_OK)
        return status;
    for (int i = 0; i < 2; i++) {
        if ((status = ls_json_item(json, &more)) != LS_OK)
            return status;
        if (!more)
            return ls_json_refuse(json, "a merge of fewer than two tokens");
        if ((status = ls_json_string(json, &text)) != LS_OK ||
            (status = merge_part(json, read, text.text, text.bytes, i ? right : left)) != LS_OK)
            return status;
    }
    if ((status = ls_json_item(json, &more)) != LS_OK)
        return status;
    return more ? ls_json_refuse(json, "a merge of more than two tokens") : LS_OK;
}

static ls_status read_merge(ls_json *json, reading *read, int64_t index)
{
    int32_t left = -1, right = -1;
    ls_status status = merge_parts(json, read, &left, &right);
    return status ? status : place(json, ls_tokenizer_put_merge(read->tokenizer, left, right, index));
}

static ls_status read_added_token(ls_json *json, reading *read, int64_t index)
{
    (void)index;
    return ls_tokenizer_read_added(json, read->tokenizer, -1);
}

static ls_status read_normalizer(ls_json *json, reading *read, int64_t index);

static ls_status read_normalizer_member(ls_json *json, reading *read, const ls_json_text *key, void *into)
{
    (void)into;
    return ls_json_is(key, "normalizers") ? items(json, read, read_normalizer) : ls_json_skip(json);
}

static ls_status read_normalizer(ls_json *json, reading *read, int64_t index)
{
    (void)index;
    char type[32];
    if (ls_json_peek(json) == 'n')
        return ls_json_skip(json);
    ls_status status = ls_json_peek_type(json, type);
    if (status)
        return status;
    if (strcmp(type, "NFC") != 0 && strcmp(type, "Sequence") != 0)
        return ls_json_refuse(json, "normalizer \"%s\"; those known are NFC and Sequence", type);
    read->tokenizer->nfc |= type[0] == 'N';
    return members(json, read, read_normalizer_member, NULL);
}

static ls_status add_pattern(ls_json *json, reading *read, const char *pattern, size_t bytes)
{
    return place(json, ls_split_add(read->tokenizer->split, pattern, bytes));
}

static ls_status read_byte_level_member(ls_json *json, reading *read, const ls_json_text *key, void *into)
{
    bool *use_regex = into;
    if (ls_json_is(key, "use_regex"))
        return ls_json_bool(json, use_regex);
    return ls_json_is(key, "add_prefix_space") ? ls_json_bool(json, &read->tokenizer->prefix_blank)
                                               : ls_json_skip(json);
}

static ls_status read_byte_level(ls_json *json, reading *read)
{
    bool use_regex = true; /* what files from before the option mean */
    if (read->byte_level)
        return ls_json_refuse(json, "two ByteLevel pre-tokenizers");
    int before = ls_split_patterns(read->tokenizer->split);
    ls_status status = members(json, read, read_byte_level_member, &use_regex);
    if (status)
        return status;
    if (before && read->tokenizer->prefix_blank)
        return ls_json_refuse(json, "add_prefix_space behind another pre-tokenizer, which lockstep does not do");
    read->byte_level = true;
    const char *pattern = ls_pattern_named("gpt2");
    return use_regex ? add_pattern(json, read, pattern, strlen(pattern)) : LS_OK;
}

static ls_status read_pattern_member(ls_json *json, reading *read, const ls_json_text *key, void *into)
{
    (void)into;
    ls_json_text pattern;
    if (!ls_json_is(key, "Regex"))
        return ls_json_refuse(json, "a pattern of kind \"%s\"; only \"Regex\" is known", key->text);
    ls_status status = ls_json_string(json, &pattern);
    return status ? status : add_pattern(json, read, pattern.text, pattern.bytes);
}

static ls_status read_split_member(ls_json *json, reading *read, const ls_json_text *key, void *into)
{
    (void)into;
    ls_json_text text;
    bool invert;
    ls_status status;
    if (ls_json_is(key, "pattern"))
        return members(json, read, read_pattern_member, NULL);
    if (ls_json_is(key, "behavior")) {
        if ((status = ls_json_string(json, &text)) != LS_OK || ls_json_is(&text, "Isolated"))
            return status;
        return ls_json_refuse(json, "a Split with behavior \"%s\"; only \"Isolated\" is known", text.text);
    }
    if (ls_json_is(key, "invert")) {
        if ((status = ls_json_bool(json, &invert)) != LS_OK || !invert)
            return status;
        return ls_json_refuse(json, "a Split with \"invert\": true, which lockstep does not do");
    }
    return ls_json_skip(json);
}

static ls_status read_pre_tokenizer(ls_json *json, reading *read, int64_t index);

static ls_status read_sequence_member(ls_json *json, reading *read, const ls_json_text *key, void *into)
{
    (void)into;
    return ls_json_is(key, "pretokenizers") ? items(json, read, read_pre_tokenizer) : ls_json_skip(json);
}

static ls_status read_pre_tokenizer(ls_json *json, reading *read, int64_t index)
{
    (void)index;
    char type[32];
    if (ls_json_peek(json) == 'n')
        return ls_json_skip(json);
    ls_status status = ls_json_peek_type(json, type);
    if (status)
        return status;
    if (read->byte_level && strcmp(type, "Sequence") != 0)
        return ls_json_refuse(json, "pre-tokenizer \"%s\" behind ByteLevel, which lockstep does not do", type);
    if (strcmp(type, "ByteLevel") == 0)
        return read_byte_level(json, read);
    if (strcmp(type, "Split") == 0)
        return members(json, read, read_split_member, NULL);
    if (strcmp(type, "Sequence") == 0)
        return members(json, read, read_sequence_member, NULL);
    return ls_json_refuse(json, "pre-tokenizer \"%s\"; those known are ByteLevel, Split and Sequence", type);
}

static ls_status check_decoder(ls_json *json)
{
    char type[32];
    if (ls_json_peek(json) == 'n')
        return ls_json_skip(json);
    ls_status status = ls_json_peek_type(json, type);
    if (status || strcmp(type, "ByteLevel") == 0)
        return status;
    return ls_json_refuse(
        json, "decoder \"%s\"; only ByteLevel is known: lockstep reads byte-level BPE (GPT-2, Llama-3, Qwen)", type);
}

/* A member of the model that must be absent, null, false, 0 or "". */
static ls_status must_be_off(ls_json *json, const char *name)
{
    ls_json_text text;
    const char *at;
    switch (ls_json_peek(json)) {
    case 'n': return ls_json_skip(json);
    case 'f': return ls_json_skip(json);
    case '"':
        if (ls_json_string(json, &text) == LS_OK && !text.bytes)
            return LS_OK;
        break;
    case '0':
        for (at = json->at; at < json->end && (*at == '0' || *at == '.'); at++)
            ;
        if (ls_json_skip(json) == LS_OK && json->at == at)
            return LS_OK;
        break;
    default: break;
    }
    return ls_json_refuse(
        json, "the model has \"%s\", which lockstep does not do: it reads byte-level BPE (GPT-2, Llama-3, Qwen)", name);
}

static ls_status read_model_member(ls_json *json, reading *read, const ls_json_text *key, void *into)
{
    static const char *const off[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix"};
    ls_json_text text;
    ls_status status;
    (void)into;
    for (size_t i = 0; i < sizeof off / sizeof *off; i++)
        if (ls_json_is(key, off[i]))
            return must_be_off(json, off[i]);
    if (ls_json_is(key, "type")) {
        if ((status = ls_json_string(json, &text)) != LS_OK || ls_json_is(&text, "BPE"))
            return status;
        return ls_json_refuse(json, "a model of type \"%s\"; only \"BPE\" is known", text.text);
    }
    if (ls_json_is(key, "byte_fallback"))
        return ls_json_bool(json, &read->tokenizer->pieces);
    if (ls_json_is(key, "ignore_merges"))
        return ls_json_bool(json, &read->tokenizer->whole_words);
    bool vocabulary = ls_json_is(key, "vocab"), merges = ls_json_is(key, "merges");
    (void)ls_json_peek(json); /* past blanks, so that the place is the value's */
    if (vocabulary)
        read->vocabulary = *json;
    if (merges)
        read->merges = *json;
    return ls_json_skip(json);
}

static ls_status read_top_member(ls_json *json, reading *read, const ls_json_text *key, void *into)
{
    (void)into;
    if (ls_json_is(key, "model"))
        return members(json, read, read_model_member, NULL);
    ls_json *noted = ls_json_is(key, "added_tokens")    ? &read->added
                     : ls_json_is(key, "normalizer")    ? &read->normalizer
                     : ls_json_is(key, "pre_tokenizer") ? &read->pre_tokenizer
                     : ls_json_is(key, "decoder")       ? &read->decoder
                                                        : NULL;
    (void)ls_json_peek(json);
    if (noted)
        *noted = *json;
    return ls_json_skip(json);
}

/* SentencePiece's model begins with characters; blanks are what the parts around it say. */
static ls_status read_pieces(reading *read)
{
    ls_tokenizer *tokenizer = read->tokenizer;
    ls_status status = LS_OK;
    tokenizer->marks = true;
    tokenizer->front = LS_FRONT_NEVER;
    if (read->normalizer.at)
        status = ls_pieces_read_normalizer(&read->normalizer, tokenizer);
    if (!status && read->pre_tokenizer.at)
        status = ls_pieces_read_pre_tokenizer(&read->pre_tokenizer, tokenizer);
    if (!status && read->decoder.at)
        status = ls_pieces_check_decoder(&read->decoder);
    return status;
}

static ls_status read_byte_level_parts(ls_json *json, reading *read)
{
    ls_status status = LS_OK;
    if (read->normalizer.at)
        status = read_normalizer(&read->normalizer, read, 0);
    if (!status && read->pre_tokenizer.at)
        status = read_pre_tokenizer(&read->pre_tokenizer, read, 0);
    if (!status && !read->byte_level)
        status = ls_json_refuse(json, "no ByteLevel pre-tokenizer and no byte_fallback; lockstep reads byte-level BPE (GPT-2, Llama-3, Qwen) and "
                                      "SentencePiece's (Llama-2, Mistral)");
    if (!status && read->decoder.at)
        status = check_decoder(&read->decoder);
    return status;
}

/* The noted parts in the order in which they depend on each other. */
static ls_status read_parts(ls_json *json, reading *read)
{
    ls_status status = LS_OK;
    if (!read->vocabulary.at || !read->merges.at)
        return ls_json_refuse(json, "no \"%s\" in its \"model\"; is this a tokenizer.json?",
                              read->vocabulary.at ? "merges" : "vocab");
    memset(read->tokenizer->byte_id, 0xff, sizeof read->tokenizer->byte_id);
    status = members(&read->vocabulary, read, read_vocabulary_entry, NULL);
    if (!status)
        status = items(&read->merges, read, read_merge);
    if (!status)
        status = read->tokenizer->pieces ? read_pieces(read) : read_byte_level_parts(json, read);
    if (!status && read->added.at)
        status = items(&read->added, read, read_added_token);
    return status;
}

ls_status ls_tokenizer_read_json(ls_tokenizer **out, const char *name, const char *bytes, size_t size)
{
    reading read = {0};
    ls_json json = {0};
    ls_status status = ls_tokenizer_create(out);
    if (status)
        return status;
    read.tokenizer = *out;
    if ((status = ls_json_open(&json, name, bytes, size)) == LS_OK &&
        (status = members(&json, &read, read_top_member, NULL)) == LS_OK && (status = ls_json_finish(&json)) == LS_OK)
        status = read_parts(&json, &read);
    ls_json_close(&json);
    free(read.bytes);
    if (status) {
        ls_tokenizer_free(*out);
        *out = NULL;
    }
    return status;
}
