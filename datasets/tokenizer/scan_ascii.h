/* The next word of ASCII text by the GPT-2, Llama-3 and Qwen2 patterns, without a regular-expression engine. */
#pragma once
#include <stddef.h>

/* Length of the word at `at` (before `end`); 0: a byte above 0x7f takes part in the decision, so ask the expression. */
typedef size_t (*ls_scan)(const char *at, const char *end);
size_t ls_scan_gpt2(const char *at, const char *end);
size_t ls_scan_llama3(const char *at, const char *end);
size_t ls_scan_qwen2(const char *at, const char *end);
