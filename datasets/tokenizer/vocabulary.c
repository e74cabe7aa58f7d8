/* See vocabulary.h. */
#include "datasets/tokenizer/vocabulary.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

void ls_vocabulary_free(ls_vocabulary *vocabulary)
{
    free(vocabulary->text);
    free(vocabulary->begin);
    free(vocabulary->length);
    free(vocabulary->kind);
    free(vocabulary->slot);
    memset(vocabulary, 0, sizeof *vocabulary);
}

bool ls_vocabulary_has(const ls_vocabulary *vocabulary, int64_t id)
{
    return id >= 0 && id < vocabulary->size && vocabulary->kind[id] != LS_TOKEN_NONE;
}

const char *ls_vocabulary_bytes(const ls_vocabulary *vocabulary, int64_t id, size_t *length)
{
    *length = vocabulary->length[id];
    return vocabulary->text + vocabulary->begin[id];
}

/* Tokens that stand for bytes and tokens that are text are looked up apart: the key "é" of a tokenizer.json is the byte
 * 0xe9, while the added token "é" is two bytes of text. */
typedef enum { AS_BYTES, AS_TEXT, NOT_INDEXED } index_class;

static index_class class_of(ls_token_kind kind)
{
    switch (kind) {
    case LS_TOKEN_BYTES: return AS_BYTES;
    case LS_TOKEN_RAW:
    case LS_TOKEN_CONTROL: return AS_TEXT;
    default: return NOT_INDEXED;
    }
}

/* The slot that holds this token, or the empty one where it belongs. */
static size_t slot_of(const ls_vocabulary *vocabulary, const char *bytes, size_t length, index_class class)
{
    size_t mask = vocabulary->slots - 1, at = (size_t)XXH3_64bits_withSeed(bytes, length, class) & mask;
    for (;; at = (at + 1) & mask) {
        int32_t id = vocabulary->slot[at];
        if (id < 0 || (vocabulary->length[id] == length && class_of(vocabulary->kind[id]) == class &&
                       (length == 0 || memcmp(vocabulary->text + vocabulary->begin[id], bytes, length) == 0)))
            return at;
    }
}

static int32_t find(const ls_vocabulary *vocabulary, const char *bytes, size_t length, index_class class)
{
    return vocabulary->slots ? vocabulary->slot[slot_of(vocabulary, bytes, length, class)] : -1;
}

int32_t ls_vocabulary_find(const ls_vocabulary *vocabulary, const char *bytes, size_t length)
{
    return find(vocabulary, bytes, length, AS_BYTES);
}

int32_t ls_vocabulary_find_text(const ls_vocabulary *vocabulary, const char *text, size_t length)
{
    return find(vocabulary, text, length, AS_TEXT);
}

/* At most half full, so that a search ends soon. */
static bool grow_slots(ls_vocabulary *vocabulary)
{
    if (vocabulary->slots >= 2 * (vocabulary->indexed + 1))
        return true;
    size_t slots = vocabulary->slots ? vocabulary->slots * 2 : 1024;
    int32_t *slot = malloc(slots * sizeof *slot);
    if (!slot)
        return false;
    memset(slot, 0xff, slots * sizeof *slot);
    free(vocabulary->slot);
    vocabulary->slot = slot;
    vocabulary->slots = slots;
    for (int64_t id = 0; id < vocabulary->size; id++)
        if (class_of(vocabulary->kind[id]) != NOT_INDEXED)
            slot[slot_of(vocabulary, vocabulary->text + vocabulary->begin[id], vocabulary->length[id],
                         class_of(vocabulary->kind[id]))] = (int32_t)id;
    return true;
}

/* One of the arrays that are as long as the vocabulary; false leaves it as it was. */
static bool grow_array(void *array, size_t element, int64_t room)
{
    void **at = array, *grown = realloc(*at, element * (size_t)room);
    if (grown)
        *at = grown;
    return grown != NULL;
}

static bool grow_ids(ls_vocabulary *vocabulary, int64_t size)
{
    if (size > vocabulary->room) {
        int64_t room = vocabulary->room ? vocabulary->room : 512;
        while (room < size)
            room *= 2;
        if (!grow_array(&vocabulary->begin, sizeof *vocabulary->begin, room) ||
            !grow_array(&vocabulary->length, sizeof *vocabulary->length, room) ||
            !grow_array(&vocabulary->kind, sizeof *vocabulary->kind, room))
            return false;
        vocabulary->room = room;
    }
    for (; vocabulary->size < size; vocabulary->size++)
        vocabulary->kind[vocabulary->size] = LS_TOKEN_NONE;
    return true;
}

static bool grow_text(ls_vocabulary *vocabulary, size_t length)
{
    if (vocabulary->text && length <= vocabulary->text_room - vocabulary->text_used) /* never NULL, even for "" */
        return true;
    size_t room = 2 * vocabulary->text_room + length + 4096;
    char *text = realloc(vocabulary->text, room);
    if (!text)
        return false;
    vocabulary->text = text;
    vocabulary->text_room = room;
    return true;
}

ls_status ls_vocabulary_put(ls_vocabulary *vocabulary, int64_t id, const char *bytes, size_t length, ls_token_kind kind)
{
    if (id < 0 || id >= LS_TOKENIZER_IDS)
        return ls_fail(LS_EFORMAT, "id %lld is outside [0, %d)", (long long)id, LS_TOKENIZER_IDS);
    if (length > LS_TOKEN_LENGTH)
        return ls_fail(LS_EFORMAT, "the token of id %lld has %zu bytes; at most %d are read", (long long)id, length,
                       LS_TOKEN_LENGTH);
    if (ls_vocabulary_has(vocabulary, id))
        return ls_fail(LS_EFORMAT, "id %lld stands twice: for \"%.*s\" and for \"%.*s\"", (long long)id,
                       (int)vocabulary->length[id], vocabulary->text + vocabulary->begin[id], (int)length, bytes);
    index_class class = class_of(kind);
    int32_t twin = class == NOT_INDEXED ? -1 : find(vocabulary, bytes, length, class);
    if (twin >= 0)
        return ls_fail(LS_EFORMAT, "token \"%.*s\" stands twice: as id %d and as id %lld", (int)length, bytes, twin,
                       (long long)id);
    if (!grow_ids(vocabulary, id + 1) || !grow_text(vocabulary, length) || !grow_slots(vocabulary))
        return ls_fail(LS_EMEM, "no memory for a vocabulary of %lld tokens", (long long)id + 1);
    if (length)
        memcpy(vocabulary->text + vocabulary->text_used, bytes, length);
    vocabulary->begin[id] = vocabulary->text_used;
    vocabulary->length[id] = (uint32_t)length;
    vocabulary->kind[id] = (uint8_t)kind;
    vocabulary->text_used += length;
    if (class != NOT_INDEXED) {
        vocabulary->slot[slot_of(vocabulary, bytes, length, class)] = (int32_t)id;
        vocabulary->indexed++;
    }
    return LS_OK;
}
