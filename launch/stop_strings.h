/* Stop strings: texts at which a row ends. Tokens do not respect them, so they are looked for in the text that the
 * tokens make; the text that is handed out ends before the first of them. */
#pragma once
#include "base/error.h"
#include "base/type.h"
#include "datasets/tokenizer.h"

enum { LS_STOP_STRINGS = 16 };

/* Zero it, then add. The texts are the caller's. */
typedef struct {
    const char *text[LS_STOP_STRINGS];
    size_t bytes[LS_STOP_STRINGS], longest;
    int count;
} ls_stop_strings;
ls_status ls_stop_strings_add(ls_stop_strings *stops, const char *text); /* LS_EARG: empty, or too many */
/* Bytes of `text` before the first stop string in it; `bytes` when there is none. */
size_t ls_stop_strings_cut(const ls_stop_strings *stops, const char *text, size_t bytes);
/* How many bytes at the end of `text` might be the beginning of a stop string: not to be shown yet. */
size_t ls_stop_strings_pending(const ls_stop_strings *stops, const char *text, size_t bytes);

/* Follows rows while they grow. LS_EMEM. */
typedef struct ls_stop_watch ls_stop_watch;
ls_status ls_stop_watch_open(ls_stop_watch **watch, const ls_stop_strings *stops, ls_tokenizer *tokenizer,
                             int64_t rows);
void ls_stop_watch_close(ls_stop_watch *watch);
/* The row's next token; false: a stop string is complete. */
bool ls_stop_watch_goes_on(ls_stop_watch *watch, int64_t row, int32_t id);
