/* Tokenisers: text to ids and back. Byte-level BPE (own trainer; Hugging Face tokenizer.json of GPT-2, Llama-3 and Qwen
 * style; tiktoken files) and the SentencePiece-style scores of llama2.c's tok*.bin. */
#pragma once
#include "base/error.h"
#include "base/type.h"

typedef struct ls_tokenizer ls_tokenizer;

typedef struct {
    int32_t *id;
    int64_t count, room;
} ls_ids; /* grows; free(id) when done */

/* By content: tokenizer.json, *.tiktoken (pattern: GPT-2's unless named otherwise), llama2.c's tok*.bin, or a folder
 * that holds tokenizer.json, or vocab.json/encoder.json + merges.txt/vocab.bpe. Every size is checked before use.
 * LS_EFORMAT names the file, the place and what is not understood. */
ls_status ls_tokenizer_open(ls_tokenizer **tokenizer, const char *path);
void ls_tokenizer_free(ls_tokenizer *tokenizer);
/* Appends the ids of `text` [bytes]. Special tokens are recognised only with `specials`. LS_EFORMAT: a byte that the
 * vocabulary cannot express (with its offset). Thread-safe with one `ls_tokenizer` per thread only (word cache). */
ls_status ls_tokenizer_encode(ls_tokenizer *tokenizer, const char *text, size_t bytes, bool specials, ls_ids *ids);
/* Appends the bytes of `count` ids to *text (malloc'ed, NUL-terminated, *bytes long). Unknown ids: LS_EARG. */
ls_status ls_tokenizer_decode(ls_tokenizer *tokenizer, const int32_t *id, int64_t count, char **text, size_t *bytes);
int64_t ls_tokenizer_size(const ls_tokenizer *tokenizer); /* ids are [0, size) */
/* Id of a token by its text ("<|endoftext|>"), -1: none. */
int32_t ls_tokenizer_id(const ls_tokenizer *tokenizer, const char *token);
/* End-of-text and begin-of-text ids by the usual names, -1: none. */
int32_t ls_tokenizer_eot(const ls_tokenizer *tokenizer);
int32_t ls_tokenizer_bos(const ls_tokenizer *tokenizer);
uint64_t ls_tokenizer_hash(const ls_tokenizer *tokenizer); /* of vocabulary, merges and pattern: stored in shards */
ls_status ls_tokenizer_write(const ls_tokenizer *tokenizer, const char *path); /* as tokenizer.json that Hugging Face reads */
void ls_tokenizer_forget_words(ls_tokenizer *tokenizer); /* empties the word cache (bench) */

typedef struct {
    int64_t vocabulary;      /* wanted size, specials included */
    const char *pattern;     /* "gpt2", "llama3", "qwen2" */
    const char *const *specials; /* NULL-terminated; the first is end-of-text */
} ls_tokenizer_training;
/* Byte-pair encoding (Sennrich et al. 2016) over bytes; ties go to the pair of lower ids, so the result is a function
 * of the texts' bytes and order alone. Texts come from `next`, which returns false at the end. */
typedef bool (*ls_next_text)(void *context, const char **text, size_t *bytes);
ls_status ls_tokenizer_train(ls_tokenizer **tokenizer, const ls_tokenizer_training *how, ls_next_text next, void *context);
