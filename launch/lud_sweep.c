/* See lud_sweep.h. */
#include "launch/lud_sweep.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const double thresholds[] = {0.5, 0.7, 0.9, 0.97, 0.99};
enum { THRESHOLDS = sizeof thresholds / sizeof *thresholds };

typedef struct {
    ls_world *world;
    const ls_model_folder *folder;
    ls_draw_options how;
    const char *path; /* of the file that is written */
    FILE *out;        /* rank 0's; NULL elsewhere */
    char *plain;      /* plain decoding's ids, a line a row: rank 0's */
} sweep;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Ids, a line a row: texts could hide that two answers differ. */
static ls_status format_ids(void *context, const ls_drawn_prompt *prompt, FILE *out)
{
    (void)context;
    for (int64_t s = 0; s < prompt->samples; s++) {
        for (int64_t i = 0; i < prompt->sample[s].count; i++)
            fprintf(out, "%d ", prompt->sample[s].ids[i]);
        fprintf(out, "%d\n", (int)prompt->sample[s].end);
    }
    return LS_OK;
}

/* Rows of `got`, and how many of them are those of `want`. */
static void compare(const char *got, const char *want, int64_t *rows, int64_t *same)
{
    *rows = *same = 0;
    while (*got && *want) {
        const size_t a = strcspn(got, "\n"), b = strcspn(want, "\n");
        ++*rows;
        *same += a == b && !memcmp(got, want, a);
        got += a + (got[a] != '\0');
        want += b + (want[b] != '\0');
    }
}

static ls_status write_line(const sweep *s, const ls_lud_decoding *lud, const ls_lud_work *work, int64_t rows, int64_t same, double seconds)
{
    const bool plain = lud->window == 1;
    const double passes = work->passes ? (double)work->passes : 1;
    json_t *line = json_pack("{s:s, s:I, s:I, s:o, s:b, s:I, s:I, s:I, s:f}", "prompts", s->how.path, "rows", (json_int_t)rows, "window",
                             (json_int_t)lud->window, "threshold", plain ? json_null() : json_real(lud->threshold), "verify", (int)lud->verify, "tokens",
                             (json_int_t)work->tokens, "passes", (json_int_t)work->passes, "same", (json_int_t)same, "seconds", seconds);
    if (!line)
        return ls_fail(LS_EMEM, "no memory for a line of JSON (or the name %s is no UTF-8)", s->how.path);
    const int failed = json_dumpf(line, s->out, JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6));
    json_decref(line);
    if (failed || fputc('\n', s->out) == EOF)
        return ls_fail(LS_EIO, "%s: %s", s->path, strerror(errno));
    char threshold[16] = "";
    snprintf(threshold, sizeof threshold, plain ? "-" : "%g", lud->threshold);
    printf("%6lld  %9s  %13.3f  %10lld of %lld  %9.1f\n", (long long)lud->window, threshold, (double)work->tokens / passes, (long long)same, (long long)rows,
           seconds > 0 ? (double)work->tokens / seconds : 0);
    fflush(stdout);
    return LS_OK;
}

/* Decodes all prompts once. The first decoding, which is plain, is what others are compared with. */
static ls_status decode(sweep *s, const ls_lud_decoding *lud)
{
    ls_lud_work work = {0};
    char *text = NULL;
    size_t bytes = 0;
    s->how.lud = lud;
    s->how.work = &work;
    FILE *rows_out = s->out ? open_memstream(&text, &bytes) : NULL;
    ls_status status = ls_agree(s->world, s->out && !rows_out ? ls_fail(LS_EMEM, "no memory for the sweep's answers") : LS_OK, "the sweep");
    const double begin = now();
    if (status == LS_OK)
        status = ls_draw_file(s->world, s->folder, &s->how, format_ids, NULL, rows_out);
    const double seconds = now() - begin;
    if (rows_out && fclose(rows_out) && status == LS_OK)
        status = ls_fail(LS_EMEM, "no memory for the sweep's answers");
    if (status == LS_OK && s->out) {
        if (!s->plain)
            s->plain = strdup(text);
        int64_t rows = 0, same = 0;
        if (s->plain)
            compare(text, s->plain, &rows, &same);
        status = s->plain ? write_line(s, lud, &work, rows, same, seconds) : ls_fail(LS_EMEM, "no memory for the sweep's answers");
    }
    free(text);
    return ls_agree(s->world, status, "the sweep");
}

/* 2, 4, 8 .. and the last itself; above it when all are done. */
static int64_t next_window(int64_t window, int64_t last)
{
    return window < last && 2 * window > last ? last : 2 * window;
}

static ls_status decode_all(sweep *s, const ls_lud_decoding *decoding)
{
    ls_lud_decoding lud = *decoding;
    lud.window = 1;
    ls_status status = decode(s, &lud);
    for (int64_t window = 2; window <= decoding->window && status == LS_OK; window = next_window(window, decoding->window))
        for (int i = 0; i < THRESHOLDS && status == LS_OK; i++) {
            lud.window = window;
            lud.threshold = thresholds[i];
            status = decode(s, &lud);
        }
    return status;
}

ls_status ls_lud_sweep(ls_world *world, const ls_model_folder *folder, const ls_draw_options *options, const ls_lud_decoding *decoding, const char *out)
{
    sweep s = {.world = world, .folder = folder, .how = *options, .path = out};
    char partial[4096];
    const bool first = ls_world_rank(world) == 0, fits = snprintf(partial, sizeof partial, "%s.partial", out) < (int)sizeof partial;
    if (first && fits)
        s.out = fopen(partial, "w");
    ls_status status = ls_agree(world, first && !s.out ? ls_fail(LS_EIO, "%s: %s", out, fits ? strerror(errno) : "the name is too long") : LS_OK, "opening the sweep's file");
    if (status == LS_OK && first)
        printf("window  threshold  tokens a pass   as plain decoding   tokens/s\n");
    if (status == LS_OK)
        status = decode_all(&s, decoding);
    if (s.out && fclose(s.out) && status == LS_OK)
        status = ls_fail(LS_EIO, "%s: %s", partial, strerror(errno));
    if (first && s.out && status == LS_OK && rename(partial, out))
        status = ls_fail(LS_EIO, "%s: %s", out, strerror(errno));
    if (first && s.out && status != LS_OK)
        unlink(partial);
    free(s.plain);
    return ls_agree(world, status, "the sweep's file");
}
