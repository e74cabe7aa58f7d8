/* Texts for the prompts of a file: what `generate --prompts` and `rejection` share. Prompts are dealt to the ranks,
 * each rank draws its rows through the generation engine, and rank 0 writes what all of them made in the order of the
 * file. A row's draws come from {seed, its place in the file, position}: the bytes of the output are the same on any
 * rank count, and with any batch. */
#pragma once
#include "dist/world.h"
#include "launch/model_folder.h"
#include "launch/stop_strings.h"
#include "models/generate/engine.h"
#include "models/generate/lud.h"

#include <jansson.h>
#include <stdio.h>

typedef struct {
    const char *path;            /* prompts: one a line, or an object a line where it ends in .jsonl */
    const char *field;           /* of the object; NULL: "prompt", or "question" */
    const ls_template *template; /* prompts are questions; NULL: texts to go on with */
    ls_generate_options how;
    int64_t samples, batch;
    ls_stop_strings stops;
    const ls_lud_decoding *lud; /* decoded so; NULL: by the engine */
    ls_lud_work *work;          /* with lud: what all ranks did, added here on every rank */
} ls_draw_options;

typedef struct {
    char *text; /* ends before a stop string */
    size_t bytes;
    const int32_t *ids;
    int64_t count;
    ls_generate_end end;
} ls_drawn_sample;

typedef struct {
    int64_t number; /* of the prompt in the file, from 0 */
    const char *text;
    json_t *object; /* its line; NULL: a line of text */
    int64_t samples;
    const ls_drawn_sample *sample;
} ls_drawn_prompt;

/* Called on the rank that drew, in no order between ranks: writes what goes into the output for one prompt. */
typedef ls_status (*ls_draw_format)(void *context, const ls_drawn_prompt *prompt, FILE *out);

/* Collective. `out` is rank 0's, NULL elsewhere. LS_ENOTFOUND, LS_EFORMAT with file and line; LS_EARG: a prompt that
 * the model's context cannot hold. */
ls_status ls_draw_file(ls_world *world, const ls_model_folder *folder, const ls_draw_options *options,
                       ls_draw_format format, void *context, FILE *out);
