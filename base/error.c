/* The calling thread's last failure. See error.h. */
#include "base/error.h"

#include <stdio.h>
#include <string.h>

enum { SENTENCE_SIZE = 2048 };

static _Thread_local char sentence[SENTENCE_SIZE];

ls_status ls_fail(ls_status code, const char *format, ...)
{
    char text[SENTENCE_SIZE]; /* an argument may be the old sentence itself */
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    memcpy(sentence, text, sizeof sentence);
    return code;
}

ls_status ls_fail_at(ls_status code, const char *format, ...)
{
    if (code == LS_OK)
        return code;
    char place[512];
    va_list args;
    va_start(args, format);
    vsnprintf(place, sizeof place, format, args);
    va_end(args);
    char text[SENTENCE_SIZE + sizeof place + 2];
    snprintf(text, sizeof text, "%s: %s", place, sentence);
    text[SENTENCE_SIZE - 1] = '\0';
    memcpy(sentence, text, SENTENCE_SIZE);
    return code;
}

const char *ls_fail_sentence(void)
{
    return sentence;
}

ls_status ls_fail_copy(ls_status code, const char *from)
{
    return code == LS_OK ? code : ls_fail(code, "%s", from);
}

void ls_fail_clear(void)
{
    sentence[0] = '\0';
}

static const struct {
    const char *name, *text;
    int exit_code;
} status_rows[] = {
#define X(code, text, exit_code) {#code, text, exit_code},
    LS_STATUS_LIST(X)
#undef X
};

static unsigned row_of(ls_status code)
{
    unsigned row = (unsigned)code;
    return row < sizeof status_rows / sizeof *status_rows ? row : (unsigned)LS_EARG;
}

const char *ls_status_name(ls_status code)
{
    return status_rows[row_of(code)].name;
}

const char *ls_status_text(ls_status code)
{
    return status_rows[row_of(code)].text;
}

int ls_status_exit_code(ls_status code)
{
    return status_rows[row_of(code)].exit_code;
}
