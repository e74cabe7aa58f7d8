/* Hash logs: reading, and finding where two part. See hashes.h. */
#include "launch/prove/hashes.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct ls_hashes {
    json_t *lines; /* array of the file's objects */
};

static const char *const kinds[] = {"parameters", "gradients", "moments", "task"};
enum { KINDS = 4 };

static bool well_formed(const json_t *line)
{
    bool good = json_is_integer(json_object_get(line, "step")) && (json_is_number(json_object_get(line, "loss")) || json_is_null(json_object_get(line, "loss")));
    for (int k = 0; k < KINDS; k++)
        good &= json_is_object(json_object_get(line, kinds[k]));
    return good;
}

static ls_status read_lines(FILE *file, const char *path, json_t *lines)
{
    char *text = NULL;
    size_t room = 0;
    ls_status status = LS_OK;
    for (int64_t number = 1; !status && getline(&text, &room, file) > 0; number++) {
        json_error_t error;
        json_t *line = json_loads(text, JSON_ALLOW_NUL, &error);
        if (!line || !well_formed(line)) {
            status = ls_fail(LS_EFORMAT, "%s:%lld: not a line of a hash log (%s)", path, (long long)number,
                             line ? "step, loss or a kind of tensors is missing" : error.text);
            json_decref(line);
        } else if (json_array_append_new(lines, line)) {
            status = ls_fail(LS_EMEM, "%s: no memory for its hashes", path);
        }
    }
    free(text);
    return status;
}

ls_status ls_hashes_read(ls_hashes **out, const char *path)
{
    *out = NULL;
    FILE *file = fopen(path, "r");
    if (!file)
        return ls_fail(LS_ENOTFOUND, "%s: %s; the run wrote no hash log", path, strerror(errno));
    ls_status status = LS_OK;
    ls_hashes *hashes = calloc(1, sizeof *hashes);
    if (!hashes || !(hashes->lines = json_array()))
        status = ls_fail(LS_EMEM, "%s: no memory", path);
    else
        status = read_lines(file, path, hashes->lines);
    fclose(file);
    if (status)
        ls_hashes_free(hashes);
    else
        *out = hashes;
    return status;
}

void ls_hashes_free(ls_hashes *hashes)
{
    if (hashes)
        json_decref(hashes->lines);
    free(hashes);
}

int64_t ls_hashes_lines(const ls_hashes *hashes)
{
    return (int64_t)json_array_size(hashes->lines);
}

int64_t ls_hashes_step(const ls_hashes *hashes, int64_t line)
{
    return json_integer_value(json_object_get(json_array_get(hashes->lines, (size_t)line), "step"));
}

double ls_hashes_last_loss(const ls_hashes *hashes)
{
    size_t lines = json_array_size(hashes->lines);
    return lines ? json_number_value(json_object_get(json_array_get(hashes->lines, lines - 1), "loss")) : 0;
}

static const char *shown(const json_t *hash)
{
    return json_is_string(hash) ? json_string_value(hash) : "(not there)";
}

/* The first tensor of one kind, in the log's order, whose hash differs or that only one of them has. */
static bool differ_in(const json_t *here, const json_t *there, const char *kind, ls_parting *parting)
{
    json_t *mine = json_object_get(here, kind), *theirs = json_object_get(there, kind);
    const char *name;
    json_t *hash;
    for (int side = 0; side < 2; side++) /* then those that only the other has */
        json_object_foreach(side ? theirs : mine, name, hash)
        {
            json_t *a = side ? json_object_get(mine, name) : hash, *b = side ? hash : json_object_get(theirs, name);
            if (a && b && json_equal(a, b))
                continue;
            snprintf(parting->kind, sizeof parting->kind, "%s", kind);
            snprintf(parting->tensor, sizeof parting->tensor, "%s", name);
            snprintf(parting->here, sizeof parting->here, "%s", shown(a));
            snprintf(parting->there, sizeof parting->there, "%s", shown(b));
            return true;
        }
    return false;
}

static bool step_differs(const json_t *here, const json_t *there, ls_parting *parting)
{
    for (int k = 0; k < KINDS && !parting->differs; k++)
        parting->differs = differ_in(here, there, kinds[k], parting);
    double mine = json_number_value(json_object_get(here, "loss")), theirs = json_number_value(json_object_get(there, "loss"));
    if (!parting->differs && memcmp(&mine, &theirs, sizeof mine)) {
        parting->differs = true;
        strcpy(parting->kind, "loss");
        snprintf(parting->here, sizeof parting->here, "%.17g", mine);
        snprintf(parting->there, sizeof parting->there, "%.17g", theirs);
    }
    ls_parting gradient;
    if (parting->differs && differ_in(here, there, "gradients", &gradient))
        memcpy(parting->gradient, gradient.tensor, sizeof parting->gradient);
    return parting->differs;
}

/* The first line of `step` at or behind *from; NULL: none. */
static const json_t *find_step(const ls_hashes *hashes, int64_t step, int64_t *from)
{
    for (; *from < ls_hashes_lines(hashes); ++*from)
        if (ls_hashes_step(hashes, *from) == step)
            return json_array_get(hashes->lines, (size_t)(*from)++);
    return NULL;
}

static int64_t last_step(const ls_hashes *hashes)
{
    int64_t last = 0;
    for (int64_t i = 0; i < ls_hashes_lines(hashes); i++)
        last = ls_hashes_step(hashes, i) > last ? ls_hashes_step(hashes, i) : last;
    return last;
}

void ls_hashes_compare(const ls_hashes *here, const ls_hashes *there, ls_parting *parting)
{
    *parting = (ls_parting){0};
    int64_t mine = last_step(here), theirs = last_step(there), last = mine > theirs ? mine : theirs;
    for (int64_t step = 0; step <= last; step++) {
        int64_t at = 0;
        parting->step = step;
        const json_t *reference = find_step(here, step, &at);
        at = 0;
        const json_t *line = find_step(there, step, &at);
        if (!reference != !line) {
            parting->differs = true;
            strcpy(parting->kind, "steps");
            strcpy(parting->here, reference ? "has it" : "lacks it");
            strcpy(parting->there, line ? "has it" : "lacks it");
            return;
        }
        for (; line; line = find_step(there, step, &at)) /* a step done again after a resume */
            if (step_differs(reference, line, parting))
                return;
    }
}

int64_t ls_hashes_count(const char *path)
{
    FILE *file = fopen(path, "rb");
    int64_t lines = 0;
    char block[65536];
    for (size_t bytes; file && (bytes = fread(block, 1, sizeof block, file)) > 0;)
        for (const char *c = block; (c = memchr(c, '\n', (size_t)(block + bytes - c))); c++)
            lines++;
    if (file)
        fclose(file);
    return lines;
}

ls_status ls_hashes_mend(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return LS_OK; /* killed before the first step */
    int64_t at = 0, end = 0;
    for (int c; (c = fgetc(file)) != EOF;) {
        at++;
        if (c == '\n')
            end = at;
    }
    fclose(file);
    if (end != at && truncate(path, end))
        return ls_fail(LS_EIO, "%s: cannot cut its last, half-written line: %s", path, strerror(errno));
    return LS_OK;
}
