/* Added tokens: strings that are found in the text before it is cut into words, each one id ("<|endoftext|>").
 *
 * As in Hugging Face's library: the leftmost match wins, of several there the longest. Tokens marked "normalized" are
 * looked for after normalisation, the others before. Special ones (`special`) only when the caller asks for them; the
 * rest is part of the language, as Qwen's "<tool_call>". */
#pragma once
#include "base/error.h"
#include "base/type.h"

enum { LS_ADDED_TOKENS = 1 << 14 }; /* Gemma 3 has 6,400 */

typedef struct {
    char *text; /* NUL-terminated, may hold NULs */
    size_t bytes;
    int32_t id;
    bool special, normalized;
} ls_added_token;

typedef struct {
    ls_added_token *token; /* by first byte, then longest first, then bytes (after ls_added_sort) */
    int64_t count, room;
    int64_t first[257]; /* tokens that begin with byte b: [first[b], first[b + 1]) */
} ls_added; /* all zero: none */

void ls_added_free(ls_added *added);
/* LS_EFORMAT: empty text, or this text is there under another id. The same token again is ignored. LS_EMEM. */
ls_status ls_added_put(ls_added *added, const char *text, size_t bytes, int32_t id, bool special, bool normalized);
void ls_added_sort(ls_added *added); /* after the last put, before the first find */
bool ls_added_any(const ls_added *added, bool normalized, bool specials);
/* The first token in [at, end) of this kind, NULL: none; *hit is where it starts. */
const ls_added_token *ls_added_find(const ls_added *added, bool normalized, bool specials, const char *at, const char *end,
                                    const char **hit);
/* By its whole text, NULL: none. */
const ls_added_token *ls_added_named(const ls_added *added, const char *text, size_t bytes);
