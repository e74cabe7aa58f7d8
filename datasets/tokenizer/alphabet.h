/* GPT-2's byte alphabet: a printable character for each byte, so that a vocabulary of byte strings can be JSON keys.
 *
 * Bytes 33..126, 161..172 and 174..255 stand for themselves as code points; the other 68 (controls, the blank, 127..160
 * and 173) take U+0100, U+0101, ... in ascending order: the blank is U+0120 (Radford et al. 2019, their encoder.py). */
#pragma once
#include "base/error.h"
#include "base/type.h"

enum { LS_ALPHABET_END = 0x144 }; /* first code point behind the alphabet */

uint32_t ls_alphabet_code(unsigned char byte);
/* The byte that a code point stands for, -1: not of the alphabet. */
int ls_alphabet_byte(uint32_t code);
/* Turns text (valid UTF-8) in the alphabet into the bytes it stands for; `bytes` has room for `length`. False when a
 * character is not of the alphabet. */
bool ls_alphabet_read(const char *text, size_t length, char *bytes, size_t *count);
/* The other way; `text` has room for 2 * count. Returns its length. */
size_t ls_alphabet_write(const char *bytes, size_t count, char *text);
