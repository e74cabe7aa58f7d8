/* The tokenizer file of karpathy/llama2.c (tok512.bin, tokenizer.bin), little-endian:
 *
 *     int32 longest token, then for each id: float32 score, int32 length, that many bytes
 *
 * with 0 <unk>, 1 <s>, 2 </s>, 3..258 the bytes as "<0x00>".."<0xFF>", then the pieces, SentencePiece's blank sign
 * already turned into a blank. Text gets a blank in front and begins as characters; what is no piece falls back to
 * bytes; the neighbours whose joined bytes are the piece of highest score merge, the leftmost of equal ones. */
#include "datasets/tokenizer/parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { UNKNOWN = 0, BEGIN = 1, END = 2, FIRST_BYTE = 3, FIRST_PIECE = 259 };

static ls_status put(ls_tokenizer *tokenizer, int64_t id, const char *bytes, size_t length)
{
    char name[8], byte = (char)(id - FIRST_BYTE);
    if (id < FIRST_BYTE)
        return ls_vocabulary_put(&tokenizer->vocabulary, id, bytes, length, LS_TOKEN_CONTROL);
    if (id >= FIRST_PIECE)
        return ls_vocabulary_put(&tokenizer->vocabulary, id, bytes, length, LS_TOKEN_BYTES);
    snprintf(name, sizeof name, "<0x%02X>", (unsigned)(unsigned char)byte);
    if (length != strlen(name) || memcmp(bytes, name, length) != 0)
        return ls_fail(LS_EFORMAT, "token %lld is \"%.*s\", but llama2.c has the byte %s there", (long long)id,
                       (int)(length < 64 ? length : 64), bytes, name);
    tokenizer->byte_id[(unsigned char)byte] = (int32_t)id;
    return ls_vocabulary_put(&tokenizer->vocabulary, id, &byte, 1, LS_TOKEN_BYTE);
}

/* Token by token to the end of the file. `score` has room for as many as the file can hold. */
static ls_status read_tokens(ls_tokenizer *tokenizer, const char *bytes, size_t size, float *score, int64_t *count)
{
    int32_t longest, length;
    memcpy(&longest, bytes, 4);
    *count = 0;
    for (size_t at = 4; at < size; at += 8 + (size_t)length) {
        if (size - at < 8)
            return ls_fail(LS_EFORMAT, "byte %zu: the file ends inside token %lld (cut short?)", at, (long long)*count);
        memcpy(&score[*count], bytes + at, 4);
        memcpy(&length, bytes + at + 4, 4);
        if (length < 0 || length > longest || (size_t)length > size - at - 8)
            return ls_fail(LS_EFORMAT,
                           "byte %zu: token %lld has %d bytes; the longest is said to have %d, and %zu are left",
                           at + 4, (long long)*count, length, longest, size - at - 8);
        if (!isfinite(score[*count]) || (!length && *count >= FIRST_PIECE))
            return ls_fail(LS_EFORMAT, "byte %zu: token %lld is empty, or its score is not a number", at,
                           (long long)*count);
        ls_status status = put(tokenizer, *count, bytes + at + 8, (size_t)length);
        if (status)
            return ls_fail_at(status, "byte %zu", at);
        ++*count;
    }
    return *count >= FIRST_PIECE ? LS_OK
                                 : ls_fail(LS_EFORMAT, "%lld tokens; llama2.c has %d before the first piece",
                                           (long long)*count, FIRST_PIECE);
}

static ls_status read(ls_tokenizer *tokenizer, const char *bytes, size_t size)
{
    int64_t count = 0;
    if (size < 12)
        return ls_fail(LS_EFORMAT, "%zu bytes are too few", size);
    float *score = malloc((size / 8 + 1) * sizeof *score);
    ls_status status = score ? read_tokens(tokenizer, bytes, size, score, &count) : ls_fail(LS_EMEM, "no memory for its tokens");
    if (!status)
        status = ls_tokenizer_merges_from_scores(tokenizer, score);
    free(score);
    return status;
}

ls_status ls_tokenizer_read_llama2c(ls_tokenizer **out, const char *name, const char *bytes, size_t size)
{
    ls_status status = ls_tokenizer_create(out);
    if (status)
        return status;
    (*out)->pieces = true;
    (*out)->bos = BEGIN;
    (*out)->eot = END;
    status = read(*out, bytes, size);
    if (status) {
        ls_tokenizer_free(*out);
        *out = NULL;
        return ls_fail_at(status, "%s: read as llama2.c's tokenizer, being neither JSON nor tiktoken's base64 nor SentencePiece's model", name);
    }
    return LS_OK;
}
