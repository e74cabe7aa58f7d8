/* See split.h. PCRE2 at work: one code a pattern, matched over runs of valid UTF-8 (so that PCRE2 need not check the
 * text before every match), with a step limit, since patterns come from files. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "datasets/tokenizer/split.h"
#include "datasets/tokenizer/dialect.h"
#include "datasets/tokenizer/scan_ascii.h"
#include "datasets/utf8.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

enum { PATTERNS = 8, STEPS = 50 * 1000 * 1000, JIT_STACK = 1 << 20 };

/* As they stand in the models' own files: GPT-2's encoder.py, tokenizer.json of Meta-Llama-3 and Qwen2. */
static const struct {
    const char *name, *pattern;
    ls_scan scan;
} known[] = {
    {"gpt2", "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", ls_scan_gpt2},
    {"llama3",
     "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
     "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
     "\\s+(?!\\S)|\\s+",
     ls_scan_llama3},
    {"qwen2",
     "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
     "\\s+(?!\\S)|\\s+",
     ls_scan_qwen2},
};
enum { KNOWN = sizeof known / sizeof *known };

struct ls_split {
    struct {
        char *text; /* as it was given */
        pcre2_code *code;
        ls_scan scan; /* NULL: none */
        bool jit;
    } pattern[PATTERNS];
    int patterns;
    pcre2_match_data *match;
    pcre2_match_context *limits;
    pcre2_jit_stack *stack;
};

const char *ls_pattern_named(const char *name)
{
    for (int i = 0; i < KNOWN; i++)
        if (strcmp(known[i].name, name) == 0)
            return known[i].pattern;
    return NULL;
}

const char *ls_pattern_names(void)
{
    return "gpt2, llama3, qwen2";
}

ls_status ls_split_create(ls_split **out)
{
    ls_split *split = calloc(1, sizeof *split);
    *out = split;
    if (split) {
        split->match = pcre2_match_data_create(1, NULL);
        split->limits = pcre2_match_context_create(NULL);
        split->stack = pcre2_jit_stack_create(32 * 1024, JIT_STACK, NULL);
    }
    if (!split || !split->match || !split->limits || !split->stack) {
        ls_split_free(split);
        *out = NULL;
        return ls_fail(LS_EMEM, "no memory for a tokenizer's patterns");
    }
    pcre2_set_match_limit(split->limits, STEPS);
    pcre2_jit_stack_assign(split->limits, NULL, split->stack);
    return LS_OK;
}

void ls_split_free(ls_split *split)
{
    if (!split)
        return;
    for (int i = 0; i < split->patterns; i++) {
        free(split->pattern[i].text);
        pcre2_code_free(split->pattern[i].code);
    }
    pcre2_match_data_free(split->match);
    pcre2_match_context_free(split->limits);
    pcre2_jit_stack_free(split->stack);
    free(split);
}

int ls_split_patterns(const ls_split *split)
{
    return split->patterns;
}

const char *ls_split_pattern(const ls_split *split, int index)
{
    return split->pattern[index].text;
}

void ls_split_without_scanners(ls_split *split)
{
    for (int i = 0; i < split->patterns; i++)
        split->pattern[i].scan = NULL;
}

ls_status ls_split_add(ls_split *split, const char *pattern, size_t bytes)
{
    char translated[LS_DIALECT_ROOM];
    int error;
    PCRE2_SIZE place;
    if (split->patterns == PATTERNS)
        return ls_fail(LS_EFORMAT, "more than %d patterns", PATTERNS);
    ls_status status = ls_dialect_translate(pattern, bytes, translated);
    if (status)
        return status;
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)translated, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &error, &place, NULL);
    if (!code) {
        char reason[128];
        pcre2_get_error_message(error, (PCRE2_UCHAR *)reason, sizeof reason);
        return ls_fail(LS_EFORMAT, "the pattern is not a regular expression: %s, at byte %zu of %s", reason, place,
                       translated);
    }
    char *text = malloc(bytes + 1);
    if (!text) {
        pcre2_code_free(code);
        return ls_fail(LS_EMEM, "no memory for a pattern of %zu bytes", bytes);
    }
    memcpy(text, pattern, bytes);
    text[bytes] = '\0';
    int at = split->patterns++;
    split->pattern[at].text = text;
    split->pattern[at].code = code;
    split->pattern[at].jit = pcre2_jit_compile(code, PCRE2_JIT_COMPLETE) == 0; /* without: slower, the same words */
    for (int i = 0; i < KNOWN; i++)
        if (strcmp(known[i].pattern, text) == 0)
            split->pattern[at].scan = known[i].scan;
    return LS_OK;
}

typedef struct {
    ls_split *split;
    ls_word_found found;
    void *context;
} cutting;

/* The pattern's first match in [at, end), empty ones passed over; *from = end when there is none. `begin` is where the
 * text for look-behind starts. */
static ls_status find(const cutting *cut, int level, const char *begin, const char *at, const char *end,
                      const char **from, const char **to)
{
    ls_split *split = cut->split;
    uint32_t options = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY;
    size_t size = (size_t)(end - begin), offset = (size_t)(at - begin);
    int found = split->pattern[level].jit ? pcre2_jit_match(split->pattern[level].code, (PCRE2_SPTR)begin, size, offset,
                                                            options, split->match, split->limits)
                                          : pcre2_match(split->pattern[level].code, (PCRE2_SPTR)begin, size, offset,
                                                        options, split->match, split->limits);
    if (found == PCRE2_ERROR_NOMATCH) {
        *from = *to = end;
        return LS_OK;
    }
    if (found < 0) {
        char reason[128];
        pcre2_get_error_message(found, (PCRE2_UCHAR *)reason, sizeof reason);
        return ls_fail(LS_EFORMAT, "the tokenizer's pattern %s cannot cut the text at byte %zu: %s",
                       split->pattern[level].text, offset, reason);
    }
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(split->match);
    *from = begin + ends[0];
    *to = begin + ends[1];
    return LS_OK;
}

/* Cuts valid UTF-8 by the patterns from `level` on. */
static ls_status cut_valid(const cutting *cut, int level, const char *begin, const char *end)
{
    if (level == cut->split->patterns)
        return cut->found(cut->context, begin, (size_t)(end - begin));
    ls_scan scan = cut->split->pattern[level].scan;
    ls_status status = LS_OK;
    for (const char *at = begin; at < end && !status;) {
        size_t length = scan ? scan(at, end) : 0;
        const char *from = at, *to = at + length;
        if (!length)
            status = find(cut, level, begin, at, end, &from, &to);
        if (!status && from > at)
            status = cut_valid(cut, level + 1, at, from);
        if (!status && to > from)
            status = cut_valid(cut, level + 1, from, to);
        at = to;
    }
    return status;
}

ls_status ls_split_text(ls_split *split, const char *text, size_t bytes, ls_word_found found, void *context)
{
    cutting cut = {split, found, context};
    ls_status status = LS_OK;
    for (size_t at = 0; at < bytes && !status;) {
        size_t valid = ls_utf8_prefix(text + at, bytes - at);
        if (valid)
            status = cut_valid(&cut, 0, text + at, text + at + valid);
        at += valid;
        if (!status && at < bytes)
            status = found(context, text + at++, 1);
    }
    return status;
}
