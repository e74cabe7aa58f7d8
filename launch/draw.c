/* See draw.h. The file is read in windows of prompts, by every rank; of each window a rank draws every ranks-th prompt.
 */
#include "launch/draw.h"

#include "datasets/jsonl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { WINDOW = 512 }; /* prompts; how far the file is read ahead of the output, never seen in it */

typedef struct {
    char *text;
    json_t *object;
} line;

typedef struct {
    ls_world *world;
    int rank, ranks;
    const ls_model_folder *folder;
    const ls_draw_options *options;
    ls_draw_format format;
    void *context;
    FILE *out;
    ls_engine *engine;
    ls_lud_decoder *lud;
    FILE *lines; /* one of the two */
    ls_jsonl *objects;
    line prompts[WINDOW];
    int64_t first, count; /* of the window */
    /* this rank's part */
    ls_ids ids;
    int64_t offsets[WINDOW + 1], mine[WINDOW], mine_count;
    int64_t *row_ids, *lengths;
    int32_t *drawn;
    uint8_t *ends;
    ls_stop_watch *watch;
} drawing;

/* ---- reading ---- */

static ls_status read_object(drawing *d, line *p, bool *end)
{
    json_t *object;
    ls_status status = ls_jsonl_next(d->objects, &object);
    *end = !status && !object;
    if (status || *end)
        return status;
    const char *text, *field = d->options->field;
    size_t bytes;
    if (!field)
        field = json_object_get(object, "prompt") ? "prompt" : "question";
    status = ls_jsonl_text(d->objects, field, &text, &bytes);
    if (!status && strlen(text) < bytes)
        status = ls_fail(LS_EFORMAT, "%s:%lld: \"%s\" has the character \\u0000 after %zu bytes, which a prompt cannot", d->options->path,
                         (long long)ls_jsonl_line(d->objects), field, strlen(text));
    if (status)
        return status;
    p->object = json_incref(object);
    p->text = strdup(text);
    return p->text ? LS_OK : ls_fail(LS_EMEM, "no memory for a prompt");
}

static ls_status read_line(drawing *d, line *p, bool *end)
{
    size_t room = 0;
    const ssize_t got = getline(&p->text, &room, d->lines);
    *end = got < 0;
    if (got >= 0) {
        p->text[strcspn(p->text, "\r\n")] = '\0';
        return LS_OK;
    }
    free(p->text);
    p->text = NULL;
    return ferror(d->lines) ? ls_fail(LS_EIO, "%s: %s", d->options->path, strerror(errno)) : LS_OK;
}

static ls_status read_window(drawing *d)
{
    ls_status status = LS_OK;
    d->first += d->count;
    d->count = 0;
    for (bool end = false; !status && d->count < WINDOW; d->count += !status && !end) {
        line *p = &d->prompts[d->count];
        *p = (line){0};
        status = d->objects ? read_object(d, p, &end) : read_line(d, p, &end);
        if (end)
            break;
    }
    return status;
}

static void forget_window(drawing *d)
{
    for (int64_t i = 0; i < d->count; i++) {
        free(d->prompts[i].text);
        json_decref(d->prompts[i].object);
    }
}

static ls_status open_prompts(drawing *d)
{
    const char *path = d->options->path;
    const size_t length = strlen(path);
    if (length > 6 && !strcmp(path + length - 6, ".jsonl"))
        return ls_jsonl_open(&d->objects, path);
    d->lines = fopen(path, "r");
    return d->lines ? LS_OK : ls_fail(errno == ENOENT ? LS_ENOTFOUND : LS_EIO, "%s: %s", path, strerror(errno));
}

/* ---- drawing ---- */

static ls_status encode_mine(drawing *d)
{
    const ls_template *template = d->options->template;
    ls_status status = LS_OK;
    d->mine_count = d->ids.count = 0;
    for (int64_t i = d->rank; i < d->count && !status; i += d->ranks) {
        const char *text = d->prompts[i].text;
        d->mine[d->mine_count++] = i;
        status = template ? ls_model_folder_question(d->folder, template, text, strlen(text), &d->ids)
                          : ls_model_folder_prompt(d->folder, text, strlen(text), &d->ids);
        d->offsets[d->mine_count] = d->ids.count;
        if (!status && d->offsets[d->mine_count] - d->offsets[d->mine_count - 1] > d->folder->options.context)
            status = ls_fail(LS_EARG, "%s: prompt %lld has %lld tokens, the model's context is %lld; shorten it",
                             d->options->path, (long long)(d->first + i + 1),
                             (long long)(d->offsets[d->mine_count] - d->offsets[d->mine_count - 1]),
                             (long long)d->folder->options.context);
    }
    return status;
}

static bool watch_row(void *context, int64_t row, int32_t id)
{
    return ls_stop_watch_goes_on(context, row, id);
}

static ls_status run_rows(drawing *d, const ls_generate_rows *rows, ls_generate_token token, void *context)
{
    return d->lud ? ls_lud_run(d->lud, &d->options->how, rows, token, context) : ls_engine_run(d->engine, &d->options->how, rows, token, context);
}

static ls_status draw_mine(drawing *d)
{
    const int64_t samples = d->options->samples;
    for (int64_t r = 0; r < d->mine_count * samples; r++)
        d->row_ids[r] = (d->first + d->mine[r / samples]) * samples + r % samples;
    const ls_generate_rows rows = {.prompts = d->mine_count,
                                   .samples = samples,
                                   .ids = d->ids.id,
                                   .offsets = d->offsets,
                                   .row_ids = d->row_ids,
                                   .out = d->drawn,
                                   .lengths = d->lengths,
                                   .ends = d->ends};
    if (!d->options->stops.count)
        return run_rows(d, &rows, NULL, NULL);
    ls_status status = ls_stop_watch_open(&d->watch, &d->options->stops, d->folder->tokenizer, d->mine_count * samples);
    if (!status)
        status = run_rows(d, &rows, watch_row, d->watch);
    ls_stop_watch_close(d->watch);
    d->watch = NULL;
    return status;
}

/* The text of one row behind its prompt, cut at a stop string. */
static ls_status text_of(const drawing *d, int64_t m, int64_t row, ls_drawn_sample *sample)
{
    const int64_t prompt = d->offsets[m + 1] - d->offsets[m], length = d->lengths[row],
                  max = d->options->how.max_tokens;
    int32_t *all = malloc((size_t)(prompt + length) * sizeof *all);
    if (!all)
        return ls_fail(LS_EMEM, "no memory for a text of %lld tokens", (long long)length);
    memcpy(all, d->ids.id + d->offsets[m], (size_t)prompt * sizeof *all);
    memcpy(all + prompt, d->drawn + row * max, (size_t)length * sizeof *all);
    *sample = (ls_drawn_sample){.ids = d->drawn + row * max, .count = length, .end = (ls_generate_end)d->ends[row]};
    const ls_status status =
        ls_model_folder_text(d->folder, all, prompt, prompt + length, &sample->text, &sample->bytes);
    free(all);
    if (status)
        return status;
    sample->bytes = ls_stop_strings_cut(&d->options->stops, sample->text, sample->bytes);
    sample->text[sample->bytes] = '\0';
    return LS_OK;
}

/* What this rank's prompts give for the output, one after the other in *text; size[m]: bytes of each. */
static ls_status format_mine(drawing *d, char **text, size_t *bytes, int64_t *size)
{
    const int64_t samples = d->options->samples;
    FILE *out = open_memstream(text, bytes);
    ls_drawn_sample *sample = calloc((size_t)samples, sizeof *sample);
    ls_status status =
        out && sample ? LS_OK : ls_fail(LS_EMEM, "no memory for the texts of %lld prompts", (long long)d->mine_count);
    for (int64_t m = 0, at = 0; m < d->mine_count && !status; m++) {
        const int64_t i = d->mine[m];
        for (int64_t s = 0; s < samples && !status; s++)
            status = text_of(d, m, m * samples + s, &sample[s]);
        const ls_drawn_prompt prompt = {d->first + i, d->prompts[i].text, d->prompts[i].object, samples, sample};
        if (!status)
            status = d->format(d->context, &prompt, out);
        for (int64_t s = 0; s < samples; s++) {
            free(sample[s].text);
            sample[s].text = NULL;
        }
        fflush(out);
        size[i] = (int64_t)*bytes - at;
        at = (int64_t)*bytes;
    }
    free(sample);
    if (out && fclose(out) && !status)
        status = ls_fail(LS_EMEM, "no memory for the texts of %lld prompts", (long long)d->mine_count);
    return status;
}

/* ---- writing ---- */

/* Everybody's texts to rank 0, in the order of the file. */
static ls_status write_window(drawing *d, const char *text, const int64_t *size)
{
    static const char phase[] = "gathering texts";
    int64_t *sizes = malloc((size_t)(d->ranks * WINDOW) * sizeof *sizes);
    size_t *each = calloc((size_t)d->ranks, sizeof *each), whole = 0;
    ls_status status = sizes && each ? LS_OK : ls_fail(LS_EMEM, "no memory to gather texts");
    status = ls_agree(d->world, status, phase);
    if (!status)
        status = ls_all_gather_bytes(d->world, size, WINDOW * sizeof *size, sizes, phase);
    for (int64_t i = 0; i < d->count && !status; i++)
        each[i % d->ranks] += (size_t)sizes[i % d->ranks * WINDOW + i];
    for (int r = 0; r < d->ranks && !status; r++)
        whole += each[r];
    char *all = status ? NULL : malloc(whole + 1);
    if (!status)
        status = ls_agree(d->world, all ? LS_OK : ls_fail(LS_EMEM, "no memory for %zu bytes of texts", whole), phase);
    if (!status)
        status = ls_all_gather_varying(d->world, text, all, each, phase);
    for (int64_t i = 0; i < d->count && !status && d->rank == 0; i++) {
        size_t at = 0;
        const int64_t rank = i % d->ranks;
        for (int64_t r = 0; r < rank; r++)
            at += each[r];
        for (int64_t k = rank; k < i; k += d->ranks)
            at += (size_t)sizes[rank * WINDOW + k];
        fwrite(all + at, 1, (size_t)sizes[rank * WINDOW + i], d->out);
    }
    if (!status && d->rank == 0 && (fflush(d->out) || ferror(d->out)))
        status = ls_fail(LS_EIO, "cannot write the texts: %s", strerror(errno));
    free(all);
    free(sizes);
    free(each);
    return ls_agree(d->world, status, phase);
}

static ls_status draw_window(drawing *d)
{
    int64_t size[WINDOW] = {0};
    char *text = NULL;
    size_t bytes = 0;
    ls_status status = encode_mine(d);
    if (!status)
        status = draw_mine(d);
    if (!status)
        status = format_mine(d, &text, &bytes, size);
    status = ls_agree(d->world, status, "drawing texts");
    if (!status)
        status = write_window(d, text, size);
    free(text);
    return status;
}

/* What all ranks did: whole numbers, so the order of adding is no matter. */
static ls_status add_work(drawing *d)
{
    ls_lud_work *all = calloc((size_t)d->ranks, sizeof *all);
    ls_status status = ls_agree(d->world, all ? LS_OK : ls_fail(LS_EMEM, "no memory to count passes"), "counting passes");
    if (!status)
        status = ls_all_gather_bytes(d->world, ls_lud_done(d->lud), sizeof *all, all, "counting passes");
    for (int r = 0; r < d->ranks && !status; r++)
        ls_lud_work_add(d->options->work, &all[r]);
    free(all);
    return status;
}

static ls_status open_rooms(drawing *d)
{
    const size_t rows = (size_t)((WINDOW + d->ranks - 1) / d->ranks * d->options->samples);
    d->row_ids = malloc(rows * sizeof *d->row_ids);
    d->lengths = malloc(rows * sizeof *d->lengths);
    d->ends = malloc(rows);
    d->drawn = malloc(rows * (size_t)d->options->how.max_tokens * sizeof *d->drawn);
    if (!d->row_ids || !d->lengths || !d->ends || !d->drawn)
        return ls_fail(LS_EMEM, "no memory for %zu rows of %lld tokens", rows, (long long)d->options->how.max_tokens);
    if (d->options->lud)
        return ls_lud_open(&d->lud, d->folder->model, d->folder->device, d->options->batch, d->options->lud);
    return ls_engine_open(&d->engine, d->folder->model, d->folder->device,
                          &(ls_engine_options){.slots = d->options->batch, .weights_stay = true});
}

ls_status ls_draw_file(ls_world *world, const ls_model_folder *folder, const ls_draw_options *options,
                       ls_draw_format format, void *context, FILE *out)
{
    drawing *d = calloc(1, sizeof *d);
    if (!d)
        return ls_fail(LS_EMEM, "no memory to draw");
    *d = (drawing){.world = world,
                   .rank = ls_world_rank(world),
                   .ranks = ls_world_ranks(world),
                   .folder = folder,
                   .options = options,
                   .format = format,
                   .context = context,
                   .out = out};
    ls_status status = open_prompts(d);
    if (!status)
        status = open_rooms(d);
    status = ls_agree(world, status, "opening the prompts");
    while (!status) {
        status = ls_agree(world, read_window(d), "reading the prompts");
        if (!status && !d->first && !d->count)
            status = ls_fail(LS_EFORMAT, "%s: empty; write one prompt a line", options->path);
        if (status || !d->count) {
            forget_window(d);
            break;
        }
        status = draw_window(d);
        forget_window(d);
    }
    if (!status && d->lud)
        status = add_work(d);
    ls_engine_close(d->engine);
    ls_lud_close(d->lud);
    if (d->lines)
        fclose(d->lines);
    ls_jsonl_close(d->objects);
    free(d->row_ids);
    free(d->lengths);
    free(d->ends);
    free(d->drawn);
    free(d->ids.id);
    free(d);
    return status;
}
