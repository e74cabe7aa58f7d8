/* Records of a text file, before they are encoded: lines of JSON, or documents of plain text. */
#pragma once
#include "datasets/jsonl.h"
#include "datasets/pack.h"

typedef enum { LS_PACK_BY_CHANCE, LS_PACK_KEPT, LS_PACK_HELD } ls_pack_part;

typedef struct {
    const char *path;
    int64_t line;        /* on which it begins */
    json_t *object;      /* a line of JSON, owned; else NULL */
    const char *text;    /* a document, of the open file */
    int64_t bytes;       /* of the document; of JSON a guess, to size batches */
    ls_pack_part part;
} ls_pack_record;

typedef struct {
    const ls_pack_options *options;
    ls_jsonl *lines;        /* a file of JSON lines; else NULL */
    ls_documents documents;
    const char *rest;       /* the held-out end of a document that was cut */
    int64_t rest_bytes, rest_line;
} ls_pack_input;

/* What becomes of a record. Zero it to begin with; buffers stay from record to record. */
typedef struct {
    ls_masked_ids ids;
    int64_t first;      /* of a pair: the tokens of the preferred one, which stands in front; 0: there is one sample */
    float value;        /* of a pair its margin, of an answer its outcome */
    int64_t text_bytes; /* of text that was encoded; 0: an empty record, which adds nothing */
    bool alike;         /* a pair whose two texts are equal: nothing to learn, empty too */
} ls_packed;

bool ls_pack_is_json(const char *path); /* by its name */
ls_status ls_pack_input_open(ls_pack_input *input, const char *path, const ls_pack_options *options);
void ls_pack_input_close(ls_pack_input *input);
/* *more = false at the end. The record's document is valid until close. */
ls_status ls_pack_input_next(ls_pack_input *input, ls_pack_record *record, bool *more);
void ls_pack_record_free(ls_pack_record *record);
/* Puts the record's tokens in place of what `packed` held. Fails without naming the place; the caller does. */
ls_status ls_pack_record_encode(const ls_pack_record *record, const ls_pack_options *options, const ls_template *template,
                                ls_tokenizer *tokenizer, ls_packed *packed);

/* For pack_pairs.c. The string under `key`; LS_EFORMAT names the keys there are. */
ls_status ls_pack_text_of(const json_t *object, const char *key, size_t key_bytes, const char **text, size_t *bytes);
enum { LS_PACK_MESSAGES = 1024 }; /* the most of one conversation */
/* Appends the messages of a list; *count of them so far. `key` is for errors. */
ls_status ls_pack_messages_of(const json_t *list, const char *key, ls_message message[LS_PACK_MESSAGES], int *count);
/* A line with `chosen` and `rejected` (datasets/pack.h). */
ls_status ls_pack_encode_preference(const json_t *object, const ls_pack_options *options, const ls_template *template,
                                    ls_tokenizer *tokenizer, ls_packed *packed);
