/* tiktoken's files (GPT-2's and GPT-4's *.tiktoken, Llama-3's tokenizer.model): a token a line,
 *
 *     base64 of its bytes, a blank, its rank, which is its id
 *
 * Two neighbours merge when their bytes joined are a token, the lowest rank first; a word that is a token is taken
 * whole. The file holds neither pattern nor special tokens: those come from the program that goes with it, here by the
 * file's name. Special tokens follow the last rank, where GPT-2 and Llama-3 have them. */
#include "datasets/tokenizer/parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const gpt2_specials[] = {"<|endoftext|>", NULL};
static const char *const qwen_specials[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>", NULL};
/* Llama-3's list (Meta's llama3, llama/tokenizer.py); 256 ids in all, the rest is reserved. */
static const char *const llama3_specials[] = {"<|begin_of_text|>",
                                              "<|end_of_text|>",
                                              "<|reserved_special_token_0|>",
                                              "<|reserved_special_token_1|>",
                                              "<|reserved_special_token_2|>",
                                              "<|reserved_special_token_3|>",
                                              "<|start_header_id|>",
                                              "<|end_header_id|>",
                                              "<|reserved_special_token_4|>",
                                              "<|eot_id|>",
                                              NULL};

static const struct {
    const char *ending, *pattern;
    const char *const *specials;
    int reserved; /* special tokens in all, filled up with <|reserved_special_token_N|> from N = 5 */
} by_name[] = {
    {"qwen.tiktoken", "qwen2", qwen_specials, 3},
    {".model", "llama3", llama3_specials, 256},
    {"", "gpt2", gpt2_specials, 1},
};

static int digit_of(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

/* RFC 4648, and Whisper's "=" for an id that no text has; `bytes` has room for length / 4 * 3. False: not base64. */
static bool from_base64(const char *text, size_t length, char *bytes, size_t *count)
{
    *count = 0;
    if (length == 1 && *text == '=')
        return true;
    if (!length || length % 4)
        return false;
    size_t padding = (size_t)(text[length - 1] == '=') + (text[length - 1] == '=' && text[length - 2] == '=');
    for (size_t at = 0; at < length; at += 4) {
        uint32_t bits = 0;
        for (size_t i = at; i < at + 4; i++) {
            int digit = i >= length - padding ? 0 : digit_of(text[i]);
            if (digit < 0)
                return false;
            bits = bits << 6 | (uint32_t)digit;
        }
        for (int shift = 16; shift >= 0; shift -= 8)
            bytes[(*count)++] = (char)(bits >> shift);
    }
    *count -= padding;
    return true;
}

/* One to nine digits; -1: something else. */
static int64_t rank_of(const char *text, size_t length)
{
    int64_t rank = 0;
    for (size_t i = 0; i < length; i++) {
        if (length > 9 || text[i] < '0' || text[i] > '9')
            return -1;
        rank = 10 * rank + (text[i] - '0');
    }
    return length ? rank : -1;
}

static ls_status read_line(ls_tokenizer *tokenizer, const char *line, size_t length)
{
    const char *blank = memchr(line, ' ', length);
    size_t bytes, base64 = blank ? (size_t)(blank - line) : 0;
    int64_t rank = blank ? rank_of(blank + 1, length - base64 - 1) : -1;
    if (rank < 0 || rank >= LS_TOKENIZER_IDS)
        return ls_fail(LS_EFORMAT, "not \"base64 rank\" with a rank below %d", LS_TOKENIZER_IDS);
    ls_status status = ls_tokenizer_grow_prefixed(tokenizer, base64);
    if (status)
        return status;
    if (!from_base64(line, base64, tokenizer->prefixed, &bytes))
        return ls_fail(LS_EFORMAT, "\"%.*s\" is not base64", (int)(base64 < 64 ? base64 : 64), line);
    return ls_vocabulary_put(&tokenizer->vocabulary, rank, tokenizer->prefixed, bytes,
                             bytes ? LS_TOKEN_BYTES : LS_TOKEN_RAW);
}

static ls_status read_lines(ls_tokenizer *tokenizer, const char *name, const char *bytes, size_t size)
{
    const char *end = bytes + size;
    int64_t number = 1;
    for (const char *line = bytes; line < end; number++) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        stop = stop ? stop : end;
        size_t length = (size_t)(stop - line);
        length -= length && line[length - 1] == '\r';
        ls_status status = length ? read_line(tokenizer, line, length) : LS_OK;
        if (status)
            return ls_fail_at(status, "%s:%lld", name, (long long)number);
        line = stop + 1;
    }
    return LS_OK;
}

static ls_status add_specials(ls_tokenizer *tokenizer, const char *const *names, int count)
{
    int64_t id = tokenizer->vocabulary.size;
    for (int i = 0; i < count; i++) {
        char reserved[48];
        snprintf(reserved, sizeof reserved, "<|reserved_special_token_%d|>", i - 5);
        const char *name = *names ? *names++ : reserved;
        ls_status status = ls_tokenizer_add_token(tokenizer, name, strlen(name), id++, true, false);
        if (status)
            return status;
    }
    return LS_OK;
}

static bool ends_in(const char *name, const char *ending)
{
    size_t length = strlen(name), tail = strlen(ending);
    return length >= tail && strcmp(name + length - tail, ending) == 0;
}

/* Merges, special tokens and pattern: all that is not in the file. */
static ls_status complete(ls_tokenizer *tokenizer, const char *name)
{
    size_t row = 0;
    while (!ends_in(name, by_name[row].ending))
        row++;
    const char *pattern = ls_pattern_named(by_name[row].pattern);
    int64_t tokens = tokenizer->vocabulary.size;
    uint32_t *rank = malloc(((size_t)tokens + 1) * sizeof *rank);
    if (!rank)
        return ls_fail(LS_EMEM, "%s: no memory for %lld ranks", name, (long long)tokens);
    for (int64_t id = 0; id < tokens; id++)
        rank[id] = (uint32_t)id;
    ls_status status = ls_tokenizer_merges_from_ranks(tokenizer, rank);
    free(rank);
    if (!status)
        status = add_specials(tokenizer, by_name[row].specials, by_name[row].reserved);
    return status ? ls_fail_at(status, "%s", name) : ls_split_add(tokenizer->split, pattern, strlen(pattern));
}

ls_status ls_tokenizer_read_tiktoken(ls_tokenizer **out, const char *name, const char *bytes, size_t size)
{
    ls_status status = ls_tokenizer_create(out);
    if (status)
        return status;
    (*out)->whole_words = true;
    status = read_lines(*out, name, bytes, size);
    if (!status)
        status = complete(*out, name);
    if (status) {
        ls_tokenizer_free(*out);
        *out = NULL;
    }
    return status;
}
