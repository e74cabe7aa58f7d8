/* See added.h. */
#include "datasets/tokenizer/added.h"

#include <stdlib.h>
#include <string.h>

void ls_added_free(ls_added *added)
{
    for (int64_t i = 0; i < added->count; i++)
        free(added->token[i].text);
    free(added->token);
    memset(added, 0, sizeof *added);
}

const ls_added_token *ls_added_named(const ls_added *added, const char *text, size_t bytes)
{
    for (int64_t i = 0; i < added->count; i++)
        if (added->token[i].bytes == bytes && memcmp(added->token[i].text, text, bytes) == 0)
            return &added->token[i];
    return NULL;
}

ls_status ls_added_put(ls_added *added, const char *text, size_t bytes, int32_t id, bool special, bool normalized)
{
    if (!bytes)
        return ls_fail(LS_EFORMAT, "the added token of id %d is empty", id);
    const ls_added_token *twin = ls_added_named(added, text, bytes);
    if (twin && twin->id == id)
        return LS_OK;
    if (twin)
        return ls_fail(LS_EFORMAT, "added token \"%.*s\" has the ids %d and %d", (int)bytes, text, twin->id, id);
    if (added->count == LS_ADDED_TOKENS)
        return ls_fail(LS_EFORMAT, "more than %d added tokens", LS_ADDED_TOKENS);
    if (added->count == added->room) {
        int64_t room = added->room ? 2 * added->room : 16;
        ls_added_token *token = realloc(added->token, (size_t)room * sizeof *token);
        if (!token)
            return ls_fail(LS_EMEM, "no memory for %lld added tokens", (long long)room);
        added->token = token;
        added->room = room;
    }
    char *copy = malloc(bytes + 1);
    if (!copy)
        return ls_fail(LS_EMEM, "no memory for an added token of %zu bytes", bytes);
    memcpy(copy, text, bytes);
    copy[bytes] = '\0';
    added->token[added->count++] = (ls_added_token){copy, bytes, id, special, normalized};
    return LS_OK;
}

static int by_first_byte(const void *a, const void *b)
{
    const ls_added_token *x = a, *y = b;
    unsigned char first_x = (unsigned char)x->text[0], first_y = (unsigned char)y->text[0];
    if (first_x != first_y)
        return first_x < first_y ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    return memcmp(x->text, y->text, x->bytes);
}

void ls_added_sort(ls_added *added)
{
    if (added->count)
        qsort(added->token, (size_t)added->count, sizeof *added->token, by_first_byte);
    int64_t at = 0;
    for (int byte = 0; byte < 256; byte++) {
        added->first[byte] = at;
        while (at < added->count && (unsigned char)added->token[at].text[0] == byte)
            at++;
    }
    added->first[256] = at;
}

static bool is_wanted(const ls_added_token *token, bool normalized, bool specials)
{
    return token->normalized == normalized && (specials || !token->special);
}

bool ls_added_any(const ls_added *added, bool normalized, bool specials)
{
    for (int64_t i = 0; i < added->count; i++)
        if (is_wanted(&added->token[i], normalized, specials))
            return true;
    return false;
}

const ls_added_token *ls_added_find(const ls_added *added, bool normalized, bool specials, const char *at,
                                    const char *end, const char **hit)
{
    for (; at < end; at++) {
        size_t left = (size_t)(end - at);
        unsigned char byte = (unsigned char)*at;
        for (int64_t i = added->first[byte]; i < added->first[byte + 1]; i++) {
            const ls_added_token *token = &added->token[i];
            if (token->bytes <= left && is_wanted(token, normalized, specials) &&
                memcmp(token->text, at, token->bytes) == 0) {
                *hit = at;
                return token;
            }
        }
    }
    *hit = end;
    return NULL;
}
