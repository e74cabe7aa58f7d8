/* Counting words: each distinct byte string once, with how often it came. All zero: empty. */
#pragma once
#include "base/error.h"
#include "base/type.h"

typedef struct {
    size_t begin; /* in text */
    uint32_t length;
    int64_t count;
} ls_counted_word;

typedef struct {
    char *text;
    size_t text_used, text_room;
    ls_counted_word *word; /* in order of first appearance */
    size_t words, word_room;
    uint32_t *slot; /* [slots], indices into `word` by hash, open addressing; UINT32_MAX: empty */
    size_t slots;
} ls_word_counts;

void ls_word_counts_free(ls_word_counts *counts);
ls_status ls_word_counts_add(ls_word_counts *counts, const char *at, size_t length); /* LS_EMEM */
