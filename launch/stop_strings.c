/* See stop_strings.h. */
#include "launch/stop_strings.h"

#include <stdlib.h>
#include <string.h>

ls_status ls_stop_strings_add(ls_stop_strings *stops, const char *text)
{
    const size_t bytes = strlen(text);
    if (!bytes)
        return ls_fail(LS_EARG, "a stop string is empty; every text would end before it begins");
    if (stops->count == LS_STOP_STRINGS)
        return ls_fail(LS_EARG, "more than %d stop strings", LS_STOP_STRINGS);
    stops->text[stops->count] = text;
    stops->bytes[stops->count++] = bytes;
    stops->longest = bytes > stops->longest ? bytes : stops->longest;
    return LS_OK;
}

size_t ls_stop_strings_cut(const ls_stop_strings *stops, const char *text, size_t bytes)
{
    size_t cut = bytes;
    for (int i = 0; i < stops->count; i++) {
        const char *found = memmem(text, bytes, stops->text[i], stops->bytes[i]);
        if (found && (size_t)(found - text) < cut)
            cut = (size_t)(found - text);
    }
    return cut;
}

size_t ls_stop_strings_pending(const ls_stop_strings *stops, const char *text, size_t bytes)
{
    size_t pending = 0;
    for (int i = 0; i < stops->count; i++)
        for (size_t n = stops->bytes[i] - 1; n > pending; n--)
            if (n <= bytes && !memcmp(text + bytes - n, stops->text[i], n)) {
                pending = n;
                break;
            }
    return pending;
}

struct ls_stop_watch {
    const ls_stop_strings *stops;
    ls_tokenizer *tokenizer;
    char *tail;    /* [rows, longest - 1] the last bytes of each row */
    size_t *bytes; /* [rows] of them */
    char *text;    /* tail and a token's text */
    size_t room;
};

ls_status ls_stop_watch_open(ls_stop_watch **out, const ls_stop_strings *stops, ls_tokenizer *tokenizer, int64_t rows)
{
    *out = NULL;
    ls_stop_watch *watch = calloc(1, sizeof *watch);
    if (watch) {
        *watch = (ls_stop_watch){.stops = stops, .tokenizer = tokenizer};
        watch->tail = calloc((size_t)rows, stops->longest + 1);
        watch->bytes = calloc((size_t)rows, sizeof *watch->bytes);
    }
    if (!watch || !watch->tail || !watch->bytes) {
        ls_stop_watch_close(watch);
        return ls_fail(LS_EMEM, "no memory to watch %lld rows for stop strings", (long long)rows);
    }
    *out = watch;
    return LS_OK;
}

void ls_stop_watch_close(ls_stop_watch *watch)
{
    if (!watch)
        return;
    free(watch->tail);
    free(watch->bytes);
    free(watch->text);
    free(watch);
}

bool ls_stop_watch_goes_on(ls_stop_watch *watch, int64_t row, int32_t id)
{
    const ls_stop_strings *stops = watch->stops;
    if (!stops->count)
        return true;
    char *token, *tail = watch->tail + (size_t)row * (stops->longest + 1);
    size_t more;
    if (ls_tokenizer_decode(watch->tokenizer, &id, 1, &token, &more))
        return true; /* an id without a text ends nothing; whoever decodes the row says so */
    const size_t before = watch->bytes[row], all = before + more;
    if (all > watch->room) {
        char *grown = realloc(watch->text, 2 * all);
        if (!grown) {
            free(token);
            return false;
        }
        watch->text = grown;
        watch->room = 2 * all;
    }
    memcpy(watch->text, tail, before);
    memcpy(watch->text + before, token, more);
    free(token);
    const bool stopped = ls_stop_strings_cut(stops, watch->text, all) < all;
    const size_t kept = all < stops->longest - 1 ? all : stops->longest - 1;
    memcpy(tail, watch->text + all - kept, kept);
    watch->bytes[row] = kept;
    return !stopped;
}
