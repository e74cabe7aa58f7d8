/* Pre-tokenisation: cutting text into words, inside which merging happens.
 *
 * A tokenizer has zero or more patterns; each cuts what the one before it left, matches and what lies between matches
 * both being pieces (Hugging Face's Split with behaviour "Isolated"). Bytes that are not UTF-8 are words of one byte.
 *
 * Patterns are regular expressions in the dialect of Hugging Face's library (Oniguruma), run by PCRE2's JIT. Where the
 * two dialects could differ the pattern is translated (\s) or refused, never run with another meaning. The three
 * patterns below also have a scanner written by hand for ASCII text, equal to the expression and 3.4 times faster
 * (tests/datasets/test_tokenizer_split.c compares them on every short string). */
#pragma once
#include "base/error.h"
#include "base/type.h"

typedef struct ls_split ls_split;

/* The pattern called "gpt2", "llama3" or "qwen2"; NULL: no such name. */
const char *ls_pattern_named(const char *name);
/* "gpt2, llama3, qwen2", for messages. */
const char *ls_pattern_names(void);

ls_status ls_split_create(ls_split **split); /* no pattern yet: all text is one word */
void ls_split_free(ls_split *split);
/* LS_EFORMAT: not a regular expression, or one whose meaning may differ from Hugging Face's; more than 8 patterns. */
ls_status ls_split_add(ls_split *split, const char *pattern, size_t bytes);
int ls_split_patterns(const ls_split *split);
const char *ls_split_pattern(const ls_split *split, int index);
/* For the tests: never use the ASCII scanners. */
void ls_split_without_scanners(ls_split *split);

typedef ls_status (*ls_word_found)(void *context, const char *at, size_t bytes);
/* Calls `found` for each word in order until it fails. The words joined are the text. LS_EFORMAT: a pattern needs
 * more steps on this text than is sane. */
ls_status ls_split_text(ls_split *split, const char *text, size_t bytes, ls_word_found found, void *context);
