/* Tokenisers: text to ids and back. Byte-level BPE (own trainer; Hugging Face tokenizer.json of GPT-2, Llama-3 and Qwen
 * style; tiktoken files), and SentencePiece's: tokenizer.json with byte_fallback (Llama-2, Mistral), its own tokenizer.model (BPE and unigram), llama2.c's tok*.bin. */
#pragma once
#include "base/error.h"
#include "base/type.h"

typedef struct ls_tokenizer ls_tokenizer;

typedef struct {
    int32_t *id;
    int64_t count, room;
} ls_ids; /* grows; free(id) when done */

/* A file by its content: tokenizer.json (BPE, byte-level or SentencePiece's), tiktoken's "base64 rank" lines, SentencePiece's tokenizer.model, or llama2.c's tok*.bin. A
 * folder: tokenizer.json, tokenizer.model, tokenizer.bin, or vocab.json/encoder.json + merges.txt/vocab.bpe, and
 * tokenizer_config.json beside any of them. Every size and reference is checked before use.
 * tiktoken's lines name neither pattern nor special tokens; the file's name decides: *.model is Llama-3's,
 * qwen.tiktoken Qwen's, any other GPT-2's.
 * LS_EFORMAT names the file, the place and what is not understood; LS_ENOTFOUND, LS_EIO, LS_EMEM. */
ls_status ls_tokenizer_open(ls_tokenizer **tokenizer, const char *path);
/* The same for a file that is in memory; `name` stands for its path. The bytes may be freed afterwards. */
ls_status ls_tokenizer_open_bytes(ls_tokenizer **tokenizer, const char *name, const char *bytes, size_t size);
void ls_tokenizer_free(ls_tokenizer *tokenizer);
/* Appends the ids of `text` [bytes], the ids that Hugging Face's library gives without add_special_tokens. Special
 * tokens are recognised only with `specials`; added tokens that are not special always. On failure nothing is appended.
 * LS_EFORMAT: a byte that the vocabulary cannot express, with its offset (a unigram model has its unknown token for it). One ls_tokenizer
 * belongs to one thread (word cache, work space). */
ls_status ls_tokenizer_encode(ls_tokenizer *tokenizer, const char *text, size_t bytes, bool specials, ls_ids *ids);
/* The bytes of `count` ids in *text (malloc'ed, NUL-terminated, *bytes long); decoding what encode gave is the text
 * again, byte for byte, unless the tokenizer normalises it. SentencePiece's tokenizers put a blank in front of each text,
 * which is taken away behind a begin-of-text id only. Unknown ids: LS_EARG. */
ls_status ls_tokenizer_decode(ls_tokenizer *tokenizer, const int32_t *id, int64_t count, char **text, size_t *bytes);
/* The same into text [room], without a NUL and without the heap. LS_EARG also when it does not fit; ls_tokenizer_longest bytes an id
 * are always enough. */
ls_status ls_tokenizer_decode_into(const ls_tokenizer *tokenizer, const int32_t *id, int64_t count, char *text, size_t room,
                                   size_t *bytes);
size_t ls_tokenizer_longest(const ls_tokenizer *tokenizer); /* bytes of the longest token */
int64_t ls_tokenizer_size(const ls_tokenizer *tokenizer); /* ids are [0, size) */
/* Id of a token by its text ("<|endoftext|>", " the"), -1: none. */
int32_t ls_tokenizer_id(const ls_tokenizer *tokenizer, const char *token);
/* End-of-text and begin-of-text ids: as tokenizer_config.json says, else by the usual names ("<|endoftext|>",
 * "<|end_of_text|>", "</s>", "<eos>"; "<|begin_of_text|>", "<s>", "<bos>"). -1: none. */
int32_t ls_tokenizer_eot(const ls_tokenizer *tokenizer);
int32_t ls_tokenizer_bos(const ls_tokenizer *tokenizer);
uint64_t ls_tokenizer_hash(const ls_tokenizer *tokenizer); /* of vocabulary, merges and pattern: stored in shards */
/* As a tokenizer.json that Hugging Face reads to the same ids; written aside and renamed. LS_EARG: SentencePiece's,
 * which are copied instead; LS_EIO, LS_ESPACE with the path. */
ls_status ls_tokenizer_write(const ls_tokenizer *tokenizer, const char *path); 
void ls_tokenizer_forget_words(ls_tokenizer *tokenizer); /* empties the word cache (bench) */

typedef struct {
    int64_t vocabulary;          /* wanted size, 256 bytes and specials included */
    const char *pattern;         /* "gpt2", "llama3", "qwen2" (which also normalises to form C) */
    const char *const *specials; /* NULL-terminated, or NULL; they take the ids 0, 1, ... as in Hugging Face's trainer */
} ls_tokenizer_training;
/* Byte-pair encoding (Sennrich et al. 2016) over bytes; ties go to the pair of lower ids, so the result is a function
 * of the texts' bytes alone. Texts come from `next`, which returns false at the end. When the texts have no pair left to
 * merge the vocabulary stays smaller than wanted: ask ls_tokenizer_size.
 * LS_EARG: unknown pattern, a vocabulary without room for bytes and specials, a special token that is not plain ASCII. */
typedef bool (*ls_next_text)(void *context, const char **text, size_t *bytes);
ls_status ls_tokenizer_train(ls_tokenizer **tokenizer, const ls_tokenizer_training *how, ls_next_text next, void *context);
