/* `lockstep generate --decode lud --sweep`: the same prompts by plain greedy decoding and by several windows and thresholds, so
 * that a threshold can be chosen by what it costs and gains. Rank 0 prints a table and writes a line of JSON for each decoding:
 *
 *     {"prompts": "dev.jsonl", "rows": 150, "window": 4, "threshold": 0.9, "verify": false, "tokens": 2461, "passes": 1270, "same": 139, "seconds": 2.1}
 *
 * `same` counts the rows that are plain decoding's to the last token; the first line, window 1 without a threshold, is plain
 * decoding. `lockstep report` draws RUN/lud.jsonl. */
#pragma once
#include "launch/draw.h"

/* Collective. options->lud and ->work are not looked at; windows are 2, 4, 8 .. below decoding->window, and that one.
 * `out` is replaced as a whole. LS_EIO, and what ls_draw_file says. */
ls_status ls_lud_sweep(ls_world *world, const ls_model_folder *folder, const ls_draw_options *options, const ls_lud_decoding *decoding, const char *out);
