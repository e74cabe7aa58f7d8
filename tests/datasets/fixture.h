/* What the tests of data sets share: a folder of their own, and small sets whose every token is known. */
#pragma once
#include "datasets/loader.h"

/* A fresh folder under /tmp for this test, removed by fixture_clean. */
const char *fixture_folder(void);
void fixture_clean(void);
/* folder/name, in one of a few rotating buffers. */
const char *fixture_path(const char *name);

/* Token t of sample s: every one differs from its neighbours, all below FIXTURE_VOCABULARY. */
enum { FIXTURE_VOCABULARY = 5000 };
int32_t fixture_token(int64_t sample, int64_t t);
/* loss_mask of it: the first third of a sample is a prompt (`masked`), else all 1. */
uint8_t fixture_mask(int64_t t, int64_t length, bool masked);

/* Packs samples of these lengths as folder/name; asserts success. samples_per_shard 0: one shard. */
void fixture_pack(const char *name, const int64_t *lengths, int64_t samples, int64_t samples_per_shard, bool masked);
/* Options for one source, with shuffle, epochs 1, seed 17. */
ls_data_options fixture_options(const char *name, int64_t tokens, int64_t grain);

/* Reads and writes whole files, for damage. */
uint8_t *fixture_read(const char *path, size_t *bytes);
void fixture_write(const char *path, const uint8_t *bytes, size_t count);
