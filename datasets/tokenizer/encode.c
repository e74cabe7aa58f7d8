/* Text to ids and back.
 *
 *     text -> added tokens cut out -> form C, or SentencePiece's rules -> added tokens of normalised text -> a blank in front -> words -> ids
 *
 * the order of Hugging Face's library; a step that the tokenizer does not have costs nothing. A word is looked up in
 * the cache, else merged; nothing is allocated once the work space has grown to the longest text. */
#include "datasets/tokenizer/parts.h"
#include "datasets/tokenizer/pieces_reader.h"
#include "datasets/utf8.h"

#include <stdlib.h>
#include <string.h>

/* One call of ls_tokenizer_encode on its way down. */
typedef struct {
    ls_tokenizer *tokenizer;
    ls_ids *ids;
    bool specials;
    const char *text, *end; /* what is being cut into words: the caller's text, or a changed copy of part of it */
    int64_t shift;          /* from offsets in `text` to the caller's, for messages */
    bool changed;           /* offsets are those of the normalised text */
} encoding;

static ls_status append(ls_ids *ids, const int32_t *id, size_t count)
{
    if ((size_t)(ids->room - ids->count) < count) {
        int64_t room = 2 * ids->room + (int64_t)count + 64;
        int32_t *grown = realloc(ids->id, (size_t)room * sizeof *grown);
        if (!grown)
            return ls_fail(LS_EMEM, "no memory for %lld token ids", (long long)room);
        ids->id = grown;
        ids->room = room;
    }
    memcpy(ids->id + ids->count, id, count * sizeof *id);
    ids->count += (int64_t)count;
    return LS_OK;
}

static ls_status inexpressible(const encoding *run, const char *at)
{
    return ls_fail(LS_EFORMAT, "byte %lld%s, 0x%02x, cannot be expressed: no token of the vocabulary stands for it",
                   (long long)(at - run->text) + (long long)run->shift, run->changed ? " of the normalised text" : "",
                   (unsigned)(unsigned char)*at);
}

/* The word as ids of its bytes, in space->id. */
static ls_status begin_as_bytes(const encoding *run, const char *at, size_t bytes)
{
    const ls_tokenizer *tokenizer = run->tokenizer;
    for (size_t i = 0; i < bytes; i++) {
        tokenizer->space.id[i] = tokenizer->byte_id[(unsigned char)at[i]];
        if (tokenizer->space.id[i] < 0)
            return inexpressible(run, at + i);
    }
    return LS_OK;
}

/* The word as ids of its characters; one that is no piece falls back to its bytes' tokens. */
static ls_status begin_as_pieces(const encoding *run, const char *at, size_t bytes, size_t *count)
{
    const ls_tokenizer *tokenizer = run->tokenizer;
    *count = 0;
    for (size_t i = 0, length; i < bytes; i += length) {
        size_t room = bytes - i < 4 ? bytes - i : 4;
        length = 1;
        if (ls_utf8_prefix(at + i, room))
            ls_utf8_decode(at + i, &length);
        int32_t piece = ls_vocabulary_find(&tokenizer->vocabulary, at + i, length);
        if (piece >= 0) {
            tokenizer->space.id[(*count)++] = piece;
            continue;
        }
        for (size_t byte = 0; byte < length; byte++) {
            int32_t id = tokenizer->byte_id[(unsigned char)at[i + byte]];
            if (id < 0)
                return inexpressible(run, at + i + byte);
            tokenizer->space.id[(*count)++] = id;
        }
    }
    return LS_OK;
}

static ls_status merge_word(const encoding *run, const char *at, size_t bytes, size_t *count)
{
    ls_tokenizer *tokenizer = run->tokenizer;
    if (bytes > INT32_MAX / 4)
        return ls_fail(LS_EARG, "a word of %zu bytes without a place to cut it; at most %d", bytes, INT32_MAX / 4);
    ls_status status = ls_merge_space_grow(&tokenizer->space, bytes);
    if (status)
        return status;
    if (tokenizer->whole_words) {
        int32_t whole = ls_vocabulary_find(&tokenizer->vocabulary, at, bytes);
        if (whole >= 0) {
            tokenizer->space.id[0] = whole;
            *count = 1;
            return LS_OK;
        }
    }
    *count = bytes;
    status = tokenizer->pieces ? begin_as_pieces(run, at, bytes, count) : begin_as_bytes(run, at, bytes);
    if (!status)
        *count = ls_merge_word(&tokenizer->merges, &tokenizer->space, *count);
    return status;
}

static ls_status encode_word(void *context, const char *at, size_t bytes)
{
    const encoding *run = context;
    ls_tokenizer *tokenizer = run->tokenizer;
    uint64_t key[4];
    bool short_word = ls_word_key(at, bytes, (size_t)(run->end - at), key);
    const ls_word *known = short_word ? ls_words_find(&tokenizer->words, key) : NULL;
    if (known)
        return append(run->ids, known->id, (size_t)ls_word_count(known));
    size_t count = 0;
    ls_status status = merge_word(run, at, bytes, &count);
    if (status)
        return status;
    if (short_word)
        ls_words_put(&tokenizer->words, key, tokenizer->space.id, count);
    return append(run->ids, tokenizer->space.id, count);
}

/* A run of characters that neither pieces nor bytes stand for is one unknown token. */
static ls_status put_unknown(const encoding *run, const char *at, size_t bytes, bool *unknown)
{
    const ls_tokenizer *tokenizer = run->tokenizer;
    int32_t id[4];
    size_t known = 0;
    while (known < bytes && (id[known] = tokenizer->byte_id[(unsigned char)at[known]]) >= 0)
        known++;
    if (known == bytes)
        return append(run->ids, id, bytes);
    const bool goes_on = *unknown;
    *unknown = true;
    return goes_on ? LS_OK : append(run->ids, &tokenizer->unigram.unknown, 1);
}

static ls_status encode_unigram(encoding *run)
{
    ls_unigram *unigram = &run->tokenizer->unigram;
    const size_t bytes = (size_t)(run->end - run->text);
    ls_status status = ls_unigram_cut(unigram, &run->tokenizer->vocabulary, run->text, bytes);
    bool unknown = false;
    for (size_t at = 0, length; at < bytes && !status; at += length) {
        const int32_t id = ls_unigram_piece(unigram, at, &length);
        unknown &= id < 0;
        status = id < 0 ? put_unknown(run, run->text + at, length, &unknown) : append(run->ids, &id, 1);
    }
    return status;
}

/* SentencePiece has no patterns: pairs merge wherever they stand. But no piece has a blank behind another character
 * (checked when the file was read), so no merge crosses the front of a blank, and cutting there changes nothing. */
static ls_status split_at_blanks(encoding *run)
{
    const bool each = run->tokenizer->each_blank; /* that is the file's wish, whatever pieces there are */
    if (!each && run->tokenizer->inner_blanks)
        return encode_word(run, run->text, (size_t)(run->end - run->text));
    ls_status status = LS_OK;
    for (const char *at = run->text; at < run->end && !status;) {
        const char *stop = at + each;
        while (!each && stop < run->end && *stop == ' ')
            stop++;
        while (stop < run->end && *stop != ' ')
            stop++;
        status = encode_word(run, at, (size_t)(stop - at));
        at = stop;
    }
    return status;
}

/* Does the text get a blank in front? */
static bool wants_blank(const encoding *run)
{
    const ls_tokenizer *tokenizer = run->tokenizer;
    const bool has = *run->text == ' ' || (tokenizer->marks && ls_pieces_begin_blank(run->text, (size_t)(run->end - run->text)));
    if (!tokenizer->pieces)
        return tokenizer->prefix_blank && !has;
    switch (tokenizer->front) {
    case LS_FRONT_PREPEND: return true;
    case LS_FRONT_ALWAYS: return !has;
    case LS_FRONT_FIRST: return !has && run->shift == 0;
    default: return false;
    }
}

/* A copy of the text, with its blank in front, and blanks for their marks. */
static ls_status put_blanks(encoding *run, bool front)
{
    ls_tokenizer *tokenizer = run->tokenizer;
    const size_t bytes = (size_t)(run->end - run->text);
    const ls_status status = ls_tokenizer_grow_prefixed(tokenizer, bytes + 1);
    if (status)
        return status;
    size_t length = bytes;
    tokenizer->prefixed[0] = ' ';
    if (tokenizer->marks)
        length = ls_pieces_blanks(run->text, bytes, tokenizer->prefixed + front);
    else
        memcpy(tokenizer->prefixed + front, run->text, bytes);
    run->changed |= length != bytes;
    run->text = tokenizer->prefixed;
    run->end = run->text + front + length;
    run->shift -= front;
    return LS_OK;
}

/* Text in which no added token is left. */
static ls_status encode_plain(encoding *run)
{
    ls_tokenizer *tokenizer = run->tokenizer;
    if (run->text == run->end)
        return LS_OK;
    const bool front = wants_blank(run);
    if (front || tokenizer->marks) {
        const ls_status status = put_blanks(run, front);
        if (status)
            return status;
    }
    if (tokenizer->unigram.score)
        return encode_unigram(run);
    if (tokenizer->pieces)
        return split_at_blanks(run);
    return ls_split_text(tokenizer->split, run->text, (size_t)(run->end - run->text), encode_word, run);
}

/* Normalises, then cuts out what is only found in normalised text. */
static ls_status encode_raw(encoding *run)
{
    ls_tokenizer *tokenizer = run->tokenizer;
    ls_status status = LS_OK;
    if (tokenizer->nfc) {
        const char *text = run->text;
        size_t bytes;
        status = ls_nfc(&tokenizer->nfc_space, text, (size_t)(run->end - text), &run->text, &bytes);
        run->end = run->text + bytes;
        run->changed = run->text != text;
    }
    if (ls_charsmap_any(&tokenizer->charsmap)) {
        size_t bytes;
        status = ls_charsmap_apply(&tokenizer->charsmap, run->text, (size_t)(run->end - run->text), &run->text, &bytes);
        run->end = run->text + bytes;
        run->changed = true;
    }
    if (status || !ls_added_any(&tokenizer->added, true, run->specials))
        return status ? status : encode_plain(run);
    for (const char *at = run->text; at < run->end && !status;) {
        const char *hit;
        const ls_added_token *token = ls_added_find(&tokenizer->added, true, run->specials, at, run->end, &hit);
        encoding part = *run;
        part.text = at;
        part.end = hit;
        part.shift += at - run->text;
        status = encode_plain(&part);
        if (!status && token)
            status = append(run->ids, &token->id, 1);
        at = token ? hit + token->bytes : run->end;
    }
    return status;
}

ls_status ls_tokenizer_encode(ls_tokenizer *tokenizer, const char *text, size_t bytes, bool specials, ls_ids *ids)
{
    int64_t before = ids->count;
    const char *end = text + bytes;
    ls_status status = LS_OK;
    bool cut = ls_added_any(&tokenizer->added, false, specials);
    for (const char *at = text; at < end && !status;) {
        const char *hit = end;
        const ls_added_token *token = cut ? ls_added_find(&tokenizer->added, false, specials, at, end, &hit) : NULL;
        encoding run = {tokenizer, ids, specials, at, hit, at - text, false};
        status = encode_raw(&run);
        if (!status && token)
            status = append(ids, &token->id, 1);
        at = token ? hit + token->bytes : end;
    }
    if (status)
        ids->count = before;
    return status;
}

/* The bytes that the tokens have together. */
static ls_status count_bytes(const ls_vocabulary *vocabulary, const int32_t *id, int64_t count, size_t *total)
{
    *total = 0;
    for (int64_t i = 0; i < count; i++) {
        if (!ls_vocabulary_has(vocabulary, id[i]))
            return ls_fail(LS_EARG, "id %d, number %lld of those to decode, is not in the vocabulary of %lld", id[i],
                           (long long)i, (long long)vocabulary->size);
        *total += vocabulary->length[id[i]];
    }
    return LS_OK;
}

static size_t put_bytes(const ls_tokenizer *tokenizer, const int32_t *id, int64_t count, char *text)
{
    char *at = text;
    size_t length;
    for (int64_t i = 0; i < count; i++) {
        const char *token = ls_vocabulary_bytes(&tokenizer->vocabulary, id[i], &length);
        if (tokenizer->pieces && tokenizer->front != LS_FRONT_NEVER && i && id[i - 1] == tokenizer->bos && length && *token == ' ')
            token++, length--; /* the blank that encoding put in front */
        memcpy(at, token, length);
        at += length;
    }
    return (size_t)(at - text);
}

ls_status ls_tokenizer_decode(ls_tokenizer *tokenizer, const int32_t *id, int64_t count, char **text, size_t *bytes)
{
    size_t total;
    *text = NULL;
    *bytes = 0;
    const ls_status status = count_bytes(&tokenizer->vocabulary, id, count, &total);
    if (status)
        return status;
    *text = malloc(total + 1);
    if (!*text)
        return ls_fail(LS_EMEM, "no memory for a text of %zu bytes", total);
    *bytes = put_bytes(tokenizer, id, count, *text);
    (*text)[*bytes] = '\0';
    return LS_OK;
}

ls_status ls_tokenizer_decode_into(const ls_tokenizer *tokenizer, const int32_t *id, int64_t count, char *text,
                                   size_t room, size_t *bytes)
{
    size_t total;
    *bytes = 0;
    const ls_status status = count_bytes(&tokenizer->vocabulary, id, count, &total);
    if (status)
        return status;
    if (total > room)
        return ls_fail(LS_EARG, "a text of %zu bytes, with room for %zu", total, room);
    *bytes = put_bytes(tokenizer, id, count, text);
    return LS_OK;
}

size_t ls_tokenizer_longest(const ls_tokenizer *tokenizer)
{
    const ls_vocabulary *vocabulary = &tokenizer->vocabulary;
    size_t most = 0;
    for (int64_t id = 0; id < vocabulary->size; id++)
        if (ls_vocabulary_has(vocabulary, (int32_t)id) && vocabulary->length[id] > most)
            most = vocabulary->length[id];
    return most;
}
