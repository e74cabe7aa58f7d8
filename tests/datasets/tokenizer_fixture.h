/* What the tokenizer's tests share. */
#pragma once
#include "datasets/tokenizer.h"

/* $LS_SOURCE/name, in one of a few rotating buffers. */
const char *source_path(const char *name);
/* A fresh folder under /tmp, and a file in it made of `bytes`. Both stay until the process ends. */
const char *scratch_folder(void);
const char *scratch_file(const char *folder, const char *name, const void *bytes, size_t size);
const char *scratch_copy(const char *folder, const char *name, const char *source_name);

/* The whole file, NUL-terminated; free it. */
char *read_whole(const char *path, size_t *size);

/* Opens or fails the test with the sentence. */
ls_tokenizer *open_tokenizer(const char *path);
/* Encodes or fails the test; free(ids.id). */
ls_ids encode(ls_tokenizer *tokenizer, const char *text, size_t bytes, bool specials);
/* decode(encode(text)) is text, byte for byte. */
void check_round_trip(ls_tokenizer *tokenizer, const char *text, size_t bytes);

/* A tokenizer of `vocabulary` tokens trained on the questions and answers of data-sets/gsm8k/train.jsonl, or on its
 * first `rows` rows (0: all), with the special token <|endoftext|>. */
ls_tokenizer *train_on_gsm8k(int64_t vocabulary, const char *pattern, int64_t rows);
