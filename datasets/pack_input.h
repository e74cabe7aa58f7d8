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

bool ls_pack_is_json(const char *path); /* by its name */
ls_status ls_pack_input_open(ls_pack_input *input, const char *path, const ls_pack_options *options);
void ls_pack_input_close(ls_pack_input *input);
/* *more = false at the end. The record's document is valid until close. */
ls_status ls_pack_input_next(ls_pack_input *input, ls_pack_record *record, bool *more);
void ls_pack_record_free(ls_pack_record *record);
/* Appends the record's tokens. *text_bytes: of text that was encoded, 0 for an empty record, which adds nothing.
 * Fails without naming the place; the caller does. */
ls_status ls_pack_record_encode(const ls_pack_record *record, const ls_pack_options *options, const ls_template *template,
                                ls_tokenizer *tokenizer, ls_masked_ids *ids, int64_t *text_bytes);
