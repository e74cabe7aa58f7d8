/* Unicode's normalization form C (UAX #15) as Qwen's tokenizers want it, by utf8proc. Bytes that are not UTF-8 stay. */
#pragma once
#include "base/error.h"
#include "base/type.h"

/* Work space that grows to the longest text seen. All zero: empty. */
typedef struct {
    char *text;
    int32_t *code;
    size_t text_room, code_room;
} ls_nfc_space;

void ls_nfc_space_free(ls_nfc_space *space);
/* *normal is `text` itself when that is in form C already, else lies in `space` until the next call. LS_EMEM. */
ls_status ls_nfc(ls_nfc_space *space, const char *text, size_t bytes, const char **normal, size_t *normal_bytes);
