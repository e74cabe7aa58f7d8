/* Packing: text files to a data set of HDF5 shards.
 *
 *     read (one thread)  ->  encode (a team of threads, one tokenizer each)  ->  write (one thread, in input order)
 *
 * A file called *.jsonl, *.ndjson or *.json is read as JSON lines, any other as plain text. What a line becomes:
 *     prompt and response given    a conversation of two messages; the response is learnt
 *     text given                   a document: its fields, joined by a newline; all is learnt
 *     neither                      a conversation under `messages`: [{"role": R, "content": C}, ...] (or from / value)
 *     pairs                        two conversations, of which `chosen` was preferred to `rejected` (pack_pairs.c)
 *     outcome, besides             the answer has a number there: was it right?
 * Order and bytes of the result depend on the inputs and these options alone, never on the number of threads. */
#pragma once
#include "datasets/documents.h"
#include "datasets/template.h"

struct ls_pack_report;
typedef struct {
    int inputs;
    const char *const *input;
    const char *text;             /* field names, "question,answer" */
    const char *prompt, *response;
    const char *messages;         /* NULL: "messages" */
    bool pairs;                   /* `prompt` may then name another field than "prompt" */
    const char *outcome;          /* field; NULL: none */
    const char *template_name;    /* NULL: "plain" */
    ls_document_kind documents;   /* of plain text files */
    const char *tokenizer;        /* what ls_tokenizer_open takes */
    const char *end;              /* text of the end-of-text token; NULL: the tokenizer's */
    const char *out;              /* folder */
    /* Share that goes to OUT-holdout instead, in [0, 1): samples by the counter RNG; of a plain text that is one document,
     * its end, cut behind a line. */
    double holdout;
    uint64_t seed;
    bool replace;                 /* older sets of these names */
    int threads;                  /* 0: as ls_team_create */
    int64_t samples_per_shard;    /* 0: the writer's */
    void (*progress)(void *context, const struct ls_pack_report *so_far); /* NULL: none */
    void *context;
} ls_pack_options;

typedef struct ls_pack_report {
    struct {
        int64_t samples, tokens, learnt;
    } kept, held; /* in OUT, in OUT-holdout */
    int64_t text_bytes; /* that were encoded */
    int64_t alike;      /* pairs of two equal texts, left out */
    int64_t empty;      /* lines and documents without text, left out */
    int64_t longest;    /* tokens */
    char longest_at[512]; /* "file:line" */
    int64_t vocabulary;
    double seconds, cpu_seconds; /* that passed; of processor time, all threads */
    int threads;
} ls_pack_report;

/* LS_EARG: options that do not fit together. LS_EFORMAT: "file:line: what is wrong". All that reading, the tokenizer and
 * the writer say. After a failure there is no OUT that was not there before. */
ls_status ls_pack(const ls_pack_options *options, ls_pack_report *report);
