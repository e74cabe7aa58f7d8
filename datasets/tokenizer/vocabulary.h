/* The vocabulary: id to bytes, and bytes to id.
 *
 * Ids need not be dense (Llama-3's added tokens start at 128000 whatever the file holds), so every id has a kind.
 * Only LS_TOKEN_BYTES are found by their bytes: they are what merging can produce. */
#pragma once
#include "base/error.h"
#include "base/type.h"

/* More than any vocabulary has: what a lying file may make us allocate and compute. */
enum { LS_TOKENIZER_IDS = 1 << 22, LS_TOKEN_LENGTH = 4096 };

typedef enum {
    LS_TOKEN_NONE = 0,    /* a hole: no token has this id */
    LS_TOKEN_BYTES = 1,   /* stands for its bytes */
    LS_TOKEN_RAW = 2,     /* a tokenizer.json key outside the byte alphabet: decodes to its text, merging cannot reach it */
    LS_TOKEN_CONTROL = 3, /* an added token that the vocabulary itself does not list, or SentencePiece's <unk>, <s>, </s> */
    LS_TOKEN_BYTE = 4,    /* SentencePiece's <0x41>: decodes to one byte, used where no piece has the character */
} ls_token_kind;

typedef struct {
    char *text; /* all tokens' bytes, one after another */
    size_t text_used, text_room;
    size_t *begin;    /* [size], where the id's bytes are in `text` */
    uint32_t *length; /* [size] */
    uint8_t *kind;    /* [size], ls_token_kind */
    int64_t size, room;
    int32_t *slot; /* [slots], ids by hash of their bytes, open addressing; -1: empty */
    size_t slots, indexed;
} ls_vocabulary; /* all zero: empty */

void ls_vocabulary_free(ls_vocabulary *vocabulary);
/* LS_EFORMAT: id out of range or taken, too long, or another token has these bytes. LS_EMEM. */
ls_status ls_vocabulary_put(ls_vocabulary *vocabulary, int64_t id, const char *bytes, size_t length, ls_token_kind kind);
/* The id of the LS_TOKEN_BYTES token with exactly these bytes, -1: none. */
int32_t ls_vocabulary_find(const ls_vocabulary *vocabulary, const char *bytes, size_t length);
/* The id of the LS_TOKEN_RAW or LS_TOKEN_CONTROL token with this text, -1: none. */
int32_t ls_vocabulary_find_text(const ls_vocabulary *vocabulary, const char *text, size_t length);
bool ls_vocabulary_has(const ls_vocabulary *vocabulary, int64_t id);
/* The bytes of an id that is there; not NUL-terminated; valid until the next put. */
const char *ls_vocabulary_bytes(const ls_vocabulary *vocabulary, int64_t id, size_t *length);
