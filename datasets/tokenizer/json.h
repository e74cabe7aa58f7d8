/* A pull reader for JSON (RFC 8259) in memory, for tokenizer files.
 *
 * jansson reads everything else in lockstep. Tokenizer files need what it does not do: keys that hold U+0000 (real
 * vocabularies have them), a line and column for errors of meaning found long after the syntax was read, and a
 * vocabulary of 128,000 keys without a tree of them in memory.
 *
 * The caller walks: object, then key and value until there are no more keys; array, then item until there are none.
 *     ls_json_object(json);
 *     while ((status = ls_json_key(json, &key)) == LS_OK && key.text) status = read or ls_json_skip(json);
 * The struct may be copied to come back to a place later; the copy shares the string buffer. */
#pragma once
#include "base/error.h"
#include "base/type.h"

typedef struct {
    const char *text; /* NUL-terminated, but may hold NULs; NULL: no more */
    size_t bytes;
} ls_json_text;

typedef struct {
    const char *name;              /* of the file, for messages */
    const char *begin, *at, *end;
    int depth;
    uint64_t not_first;            /* bit d: an element at depth d has been read, so a comma comes next */
    struct ls_json_buffer *buffer; /* the current string, unescaped */
} ls_json;

/* LS_EFORMAT: not UTF-8 ("name:line:column"). Free with ls_json_close. */
ls_status ls_json_open(ls_json *json, const char *name, const char *bytes, size_t size);
void ls_json_close(ls_json *json);

/* The kind of the next value: one of { [ " t f n 0, or '?' for none. */
char ls_json_peek(ls_json *json);
ls_status ls_json_object(ls_json *json);
ls_status ls_json_array(ls_json *json);
ls_status ls_json_key(ls_json *json, ls_json_text *key);   /* key->text NULL: the object is closed */
ls_status ls_json_item(ls_json *json, bool *more);         /* false: the array is closed */
ls_status ls_json_string(ls_json *json, ls_json_text *text); /* valid until the next string or key */
ls_status ls_json_integer(ls_json *json, int64_t *value);
ls_status ls_json_bool(ls_json *json, bool *value);
ls_status ls_json_skip(ls_json *json);                     /* any value, checked all the same */
ls_status ls_json_peek_type(const ls_json *json, char type[32]); /* the "type" of the object that comes next, without moving; "": none */
ls_status ls_json_finish(ls_json *json);                   /* nothing but blanks may follow */
bool ls_json_is(const ls_json_text *text, const char *word);

/* LS_EFORMAT with "name:line:column: " of the place reached, in front of the sentence. */
__attribute__((format(printf, 2, 3))) ls_status ls_json_refuse(const ls_json *json, const char *format, ...);
