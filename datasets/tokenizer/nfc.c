/* See nfc.h. */
#include "datasets/tokenizer/nfc.h"
#include "datasets/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

void ls_nfc_space_free(ls_nfc_space *space)
{
    free(space->text);
    free(space->code);
    memset(space, 0, sizeof *space);
}

/* Characters that neither change nor join with what stands beside them. Not all of them: those of which most text is
 * made. Unicode's stability policy keeps it true. (A Hangul syllable joins only with a jamo, which is not listed.) */
static bool is_inert(uint32_t code)
{
    return code < 0x300 || (code >= 0x400 && code < 0x483) || (code >= 0x3400 && code < 0xa000) ||
           (code >= 0x3000 && code < 0x302a) || (code >= 0x3041 && code < 0x3095) ||
           (code >= 0x30a1 && code < 0x30fb) || (code >= 0xac00 && code < 0xd7a4) || (code >= 0xff01 && code < 0xff61);
}

static bool all_inert(const char *text, size_t bytes)
{
    for (size_t at = 0, length; at < bytes; at += length) {
        if ((unsigned char)text[at] < 0xcc) { /* up to U+02FF, whose lead byte is 0xcb; or a byte that is not UTF-8 */
            length = 1;
            continue;
        }
        if (ls_utf8_prefix(text + at, bytes - at < 4 ? bytes - at : 4) == 0)
            length = 1;
        else if (!is_inert(ls_utf8_decode(text + at, &length)))
            return false;
    }
    return true;
}

/* Hugging Face's library normalises by Unicode 9.0: to it, these characters of Unicode 10 to 15 neither move nor join.
 * Models were trained on its ids, so they stay where they stand here too. Ranges of characters with a combining class
 * or a canonical decomposition that it does not know (tests/golden/make_tokenizer_golden.py finds them). */
static const uint32_t newer[][2] = {
    {0x07fd, 0x07fd},   {0x0898, 0x089f},   {0x08ca, 0x08d3},   {0x09fe, 0x09fe},   {0x0c3c, 0x0c3c},
    {0x0d3b, 0x0d3c},   {0x0eba, 0x0eba},   {0x1715, 0x1715},   {0x1abf, 0x1ace},   {0x1df6, 0x1dfa},
    {0xa82c, 0xa82c},   {0x10d24, 0x10d27}, {0x10eab, 0x10eac}, {0x10efd, 0x10eff}, {0x10f46, 0x10f50},
    {0x10f82, 0x10f85}, {0x11070, 0x11070}, {0x1133b, 0x1133b}, {0x1145e, 0x1145e}, {0x11839, 0x1183a},
    {0x11938, 0x11938}, {0x1193d, 0x1193e}, {0x11943, 0x11943}, {0x119e0, 0x119e0}, {0x11a34, 0x11a34},
    {0x11a47, 0x11a47}, {0x11a99, 0x11a99}, {0x11d42, 0x11d42}, {0x11d44, 0x11d45}, {0x11d97, 0x11d97},
    {0x11f41, 0x11f42}, {0x16ff0, 0x16ff1}, {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae},
    {0x1e2ec, 0x1e2ef}, {0x1e4ec, 0x1e4ef},
};

static bool is_newer(uint32_t code)
{
    size_t low = 0, high = sizeof newer / sizeof *newer;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (newer[middle][1] < code)
            low = middle + 1;
        else
            high = middle;
    }
    return low < sizeof newer / sizeof *newer && code >= newer[low][0];
}

static ls_status no_memory(size_t bytes)
{
    return ls_fail(LS_EMEM, "no memory to normalise a text of %zu bytes", bytes);
}

/* Room for `more` bytes behind the `used` ones. */
static bool grow_text(ls_nfc_space *space, size_t used, size_t more)
{
    if (used + more <= space->text_room)
        return true;
    size_t room = 2 * (used + more);
    char *text = realloc(space->text, room);
    if (!text)
        return false;
    space->text = text;
    space->text_room = room;
    return true;
}

/* Appends form C of valid UTF-8 to space->text. */
static ls_status append_normal(ls_nfc_space *space, const char *text, size_t bytes, size_t *used)
{
    const utf8proc_option_t form = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    utf8proc_ssize_t codes;
    for (;;) {
        codes = utf8proc_decompose((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)bytes, space->code,
                                   (utf8proc_ssize_t)space->code_room, form);
        if (codes < 0)
            return ls_fail(LS_EFORMAT, "cannot normalise the text: %s", utf8proc_errmsg(codes));
        if ((size_t)codes < space->code_room) /* one place more: the encoder ends in a NUL */
            break;
        size_t room = 2 * (size_t)codes + 64;
        free(space->code);
        space->code_room = 0;
        if (!(space->code = malloc(room * sizeof *space->code)))
            return no_memory(bytes);
        space->code_room = room;
    }
    utf8proc_ssize_t length = utf8proc_reencode(space->code, codes, form); /* composes and encodes in place */
    if (length < 0)
        return ls_fail(LS_EFORMAT, "cannot normalise the text: %s", utf8proc_errmsg(length));
    if (!grow_text(space, *used, (size_t)length))
        return no_memory(bytes);
    memcpy(space->text + *used, space->code, (size_t)length);
    *used += (size_t)length;
    return LS_OK;
}

ls_status ls_nfc(ls_nfc_space *space, const char *text, size_t bytes, const char **normal, size_t *normal_bytes)
{
    *normal = text;
    *normal_bytes = bytes;
    if (all_inert(text, bytes))
        return LS_OK;
    size_t used = 0;
    for (size_t at = 0; at < bytes;) {
        size_t valid = ls_utf8_prefix(text + at, bytes - at), known = 0, length = 1;
        while (known < valid && !is_newer(ls_utf8_decode(text + at + known, &length)))
            known += length;
        ls_status status = known ? append_normal(space, text + at, known, &used) : LS_OK;
        if (status)
            return status;
        at += known;
        if (at == bytes)
            break;
        if (known == valid)
            length = 1; /* a byte that is not UTF-8 */
        if (!grow_text(space, used, length))
            return no_memory(bytes);
        memcpy(space->text + used, text + at, length);
        used += length;
        at += length;
    }
    *normal = space->text;
    *normal_bytes = used;
    return LS_OK;
}
