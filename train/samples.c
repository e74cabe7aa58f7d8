/* See samples.h. */
#include "train/samples.h"

#include "base/log.h"
#include "datasets/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_ESCAPED = 6 /* bytes that one byte becomes: \u001f */, NUMBERS = 256 };

struct ls_samples {
    int file; /* -1: given up */
    size_t longest, room;
    char *line; /* [room] */
};

/* Where the first line of a step after `step` begins, or the end of the file; a line that a crash cut off ends it too.
 */
static ls_status find_end(FILE *in, int64_t step, long *end)
{
    char *line = NULL;
    size_t room = 0;
    *end = 0;
    for (ssize_t got; (got = getline(&line, &room, in)) > 0; *end += (long)got) {
        long long its;
        if (line[got - 1] != '\n' || (sscanf(line, "{\"step\": %lld", &its) == 1 && its > step))
            break;
    }
    const bool failed = ferror(in);
    free(line);
    return failed ? LS_EIO : LS_OK;
}

static ls_status cut_off(const char *path, int64_t step)
{
    long end;
    FILE *in = fopen(path, "rb");
    if (!in)
        return errno == ENOENT ? LS_OK : ls_fail(LS_EIO, "%s: cannot read (%s)", path, strerror(errno));
    const ls_status status = find_end(in, step, &end);
    fclose(in);
    if (status != LS_OK || truncate(path, end) != 0)
        return ls_fail(LS_EIO, "%s: cannot read and shorten (%s)", path, strerror(errno));
    return LS_OK;
}

ls_status ls_samples_open(ls_samples **out, const char *run, int64_t step, size_t longest)
{
    char path[4096];
    *out = NULL;
    snprintf(path, sizeof path, "%s/samples.jsonl", run);
    ls_status status = cut_off(path, step);
    if (status != LS_OK)
        return status;
    ls_samples *samples = calloc(1, sizeof *samples);
    if (samples) {
        samples->longest = longest;
        samples->room = 2 * MOST_ESCAPED * longest + NUMBERS;
        samples->line = malloc(samples->room);
        samples->file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    }
    if (!samples || !samples->line)
        status = ls_fail(LS_EMEM, "%s: no memory for lines of texts of %zu bytes", path, longest);
    else if (samples->file < 0)
        status = ls_fail(LS_EIO, "%s: cannot open (%s)", path, strerror(errno));
    if (status == LS_OK)
        *out = samples;
    else
        ls_samples_close(samples);
    return status;
}

void ls_samples_close(ls_samples *samples)
{
    if (!samples)
        return;
    if (samples->file >= 0)
        close(samples->file);
    free(samples->line);
    free(samples);
}

/* A JSON string, quotes included; where it ends. */
static char *put_text(char *to, const char *text, size_t bytes)
{
    *to++ = '"';
    for (size_t at = 0; at < bytes;) {
        const size_t whole = ls_utf8_prefix(text + at, bytes - at);
        for (const char *end = text + at + whole; text + at < end; at++) {
            const unsigned char c = (unsigned char)text[at];
            if (c < 0x20)
                to += sprintf(to, c == '\n' ? "\\n" : c == '\t' ? "\\t" : "\\u%04x", c);
            else if (c == '"' || c == '\\')
                *to++ = '\\', *to++ = (char)c;
            else
                *to++ = (char)c;
        }
        if (at < bytes) {
            to += sprintf(to, "\\ufffd");
            at++;
        }
    }
    *to++ = '"';
    return to;
}

ls_status ls_samples_add(ls_samples *samples, const ls_sample *s)
{
    if (s->prompt_bytes > samples->longest || s->text_bytes > samples->longest)
        return ls_fail(LS_EARG, "a sample of %zu and %zu bytes, with room for %zu each", s->prompt_bytes, s->text_bytes,
                       samples->longest);
    if (samples->file < 0)
        return LS_OK;
    char *to = samples->line;
    to += sprintf(to, "{\"step\": %lld, \"prompt\": ", (long long)s->step);
    to = put_text(to, s->prompt, s->prompt_bytes);
    to += sprintf(to, ", \"text\": ");
    to = put_text(to, s->text, s->text_bytes);
    to += sprintf(to, ", \"reward\": %.9g, \"right\": %s, \"ended\": %s", s->reward, s->right ? "true" : "false",
                  s->ended ? "true" : "false");
    if (s->scored)
        to += sprintf(to, ", \"score\": %.9g", s->score);
    to += sprintf(to, "}\n");
    const ssize_t length = to - samples->line;
    if (write(samples->file, samples->line, (size_t)length) != length) {
        ls_log_write(LS_LOG_WARN, "train", "samples.jsonl: cannot write (%s); training goes on without samples",
                     strerror(errno));
        close(samples->file);
        samples->file = -1;
    }
    return LS_OK;
}
