/* UTF-8 as RFC 3629 defines it: no overlong forms, no surrogates, nothing above U+10FFFF. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* Length of the longest prefix of `text` that is whole, valid UTF-8: `bytes` if all of it is. */
size_t ls_utf8_prefix(const char *text, size_t bytes);

/* The code point at `at` (valid UTF-8, at least one byte) and its length of 1 to 4 bytes. */
uint32_t ls_utf8_decode(const char *at, size_t *length);

/* Writes `code` (a scalar value) as 1 to 4 bytes and returns how many. */
size_t ls_utf8_encode(uint32_t code, char out[4]);
