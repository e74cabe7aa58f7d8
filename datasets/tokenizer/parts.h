/* The inside of an ls_tokenizer: what readers fill, and encoding, decoding, writing and hashing use. */
#pragma once
#include "datasets/tokenizer.h"
#include "datasets/tokenizer/added.h"
#include "datasets/tokenizer/bpe.h"
#include "datasets/tokenizer/charsmap.h"
#include "datasets/tokenizer/nfc.h"
#include "datasets/tokenizer/split.h"
#include "datasets/tokenizer/unigram.h"
#include "datasets/tokenizer/vocabulary.h"
#include "datasets/tokenizer/words.h"

/* Where `pieces` puts a blank in front: of every text between added tokens; of those without one; of the first of those; nowhere. */
typedef enum { LS_FRONT_PREPEND, LS_FRONT_ALWAYS, LS_FRONT_FIRST, LS_FRONT_NEVER } ls_front;

struct ls_tokenizer {
    /* Filled by the readers and the trainer. */
    ls_vocabulary vocabulary;
    ls_merges merges;
    ls_added added;
    ls_split *split;
    bool pieces;        /* SentencePiece style (llama2c.c): words begin as characters, not bytes */
    ls_front front;     /* `pieces` only */
    bool marks;         /* `pieces` only: U+2581 in a text is a blank, as SentencePiece has it */
    bool each_blank;    /* `pieces` only: every blank begins a word */
    ls_unigram unigram; /* `pieces` only: in place of merges */
    ls_charsmap charsmap; /* text is normalised first, SentencePiece's way */
    bool nfc;           /* text is normalised first */
    bool prefix_blank;  /* ByteLevel's add_prefix_space: a text that does not begin with a blank gets one */
    bool whole_words;   /* ignore_merges: a word that is a token is that token, whatever the merges would make of it */
    int32_t bos, eot;   /* -1: none */

    /* Worked out by ls_tokenizer_ready. */
    int32_t byte_id[256];   /* the token of one byte, -1: the vocabulary cannot express it */
    bool inner_blanks;      /* `pieces` only: a piece has a blank behind another character, so text cannot be cut at blanks */

    /* Work space: why a tokenizer belongs to one thread. */
    ls_words words;
    ls_merge_space space;
    ls_nfc_space nfc_space;
    char *prefixed;         /* the text with its blank in front; two tokens joined */
    size_t prefixed_room;
};

/* An empty one for a reader to fill; freed by ls_tokenizer_free. LS_EMEM. */
ls_status ls_tokenizer_create(ls_tokenizer **tokenizer);
/* After the last token, merge and pattern. LS_EFORMAT: no tokens at all; LS_EMEM. */
ls_status ls_tokenizer_ready(ls_tokenizer *tokenizer);
/* The two tokens merge, into the one that has their bytes joined. LS_EFORMAT: there is none. */
ls_status ls_tokenizer_put_merge(ls_tokenizer *tokenizer, int32_t left, int32_t right, int64_t rank);
/* Every way that a token's bytes fall into two tokens becomes a merge of rank `rank(id)`: files that list tokens with
 * ranks or scores, but no merges (tiktoken, SentencePiece), mean just that. */
ls_status ls_tokenizer_merges_from_ranks(ls_tokenizer *tokenizer, const uint32_t *rank);
/* The same where the file has scores: the highest comes first, equal ones are equal. score [vocabulary's size], finite. */
ls_status ls_tokenizer_merges_from_scores(ls_tokenizer *tokenizer, const float *score);
/* Adds a token that stands outside the vocabulary proper, or marks one that is in it. LS_EFORMAT: the id is another's. */
ls_status ls_tokenizer_add_token(ls_tokenizer *tokenizer, const char *text, size_t bytes, int64_t id, bool special,
                                 bool normalized);

/* The text in tokenizer->prefixed, made longer if it must be; its contents are lost. LS_EMEM. */
ls_status ls_tokenizer_grow_prefixed(ls_tokenizer *tokenizer, size_t bytes);

/* The readers. `name` is the file in messages; the bytes are in memory and may be freed afterwards. */
ls_status ls_tokenizer_read_json(ls_tokenizer **tokenizer, const char *name, const char *bytes, size_t size);
ls_status ls_tokenizer_read_tiktoken(ls_tokenizer **tokenizer, const char *name, const char *bytes, size_t size);
ls_status ls_tokenizer_read_llama2c(ls_tokenizer **tokenizer, const char *name, const char *bytes, size_t size);
ls_status ls_tokenizer_read_sentencepiece(ls_tokenizer **tokenizer, const char *name, const char *bytes, size_t size);
ls_status ls_tokenizer_read_legacy(ls_tokenizer **tokenizer, const char *vocabulary_name, const char *vocabulary, size_t vocabulary_size,
                                   const char *merges_name, const char *merges, size_t merges_size);
/* tokenizer_config.json, which may stand beside any of them: more added tokens, the names of bos and eos, and, for
 * vocab.json + merges.txt, by the model's class which pattern is meant. */
ls_status ls_tokenizer_read_config(ls_tokenizer *tokenizer, const char *name, const char *bytes, size_t size);
