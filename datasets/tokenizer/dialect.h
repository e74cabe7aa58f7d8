/* Regular expressions of tokenizer.json, written for Oniguruma (Ruby's syntax), in PCRE2's dialect. */
#pragma once
#include "base/error.h"
#include "base/type.h"

enum { LS_DIALECT_PATTERN = 2048, LS_DIALECT_ROOM = 8 * LS_DIALECT_PATTERN };

/* Writes the expression of `bytes` bytes, translated and NUL-terminated. LS_EFORMAT names the first thing that the two
 * dialects read differently, or that this function does not know to be the same. */
ls_status ls_dialect_translate(const char *pattern, size_t bytes, char out[LS_DIALECT_ROOM]);
