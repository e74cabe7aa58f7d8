/* RUN/hashes.jsonl: a hash of every tensor at every step (hash_log: true), from which `lockstep prove` finds the first
 * step and tensor where two runs parted. One object a line:
 *     {"step": 3, "loss": 2.5, "parameters": {"NAME": "HEX", ...}, "gradients": {...}, "moments": {...}, "task": {...}}
 * Gradients are those of the step, after reduction and before clipping; the rest is the state after the step. */
#include "train/table.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const kind_names[LS_STATE_KINDS] = {"parameters", "gradients", "moments", "task"};

static void print_kind(FILE *out, ls_state_tree *tree, const uint64_t *hashes, ls_state_kind kind)
{
    const char *separator = "";
    fprintf(out, ", \"%s\": {", kind_names[kind]);
    for (int i = 0; i < ls_state_count(tree); i++) {
        const ls_state_entry *entry = ls_state_at(tree, i);
        if (entry->kind != kind || (entry->flags & LS_STATE_UNHASHED))
            continue;
        fprintf(out, "%s\"%s\": \"%016llx\"", separator, entry->name, (unsigned long long)hashes[i]);
        separator = ", ";
    }
    fputc('}', out);
}

static ls_status append(const ls_run *run, const char *text, size_t size)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/hashes.jsonl", run->config->run.run);
    const int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0)
        return ls_fail(LS_EIO, "%s: cannot open (%s)", path, strerror(errno));
    const bool whole = write(fd, text, size) == (ssize_t)size;
    const ls_status status = whole ? LS_OK : ls_fail(LS_EIO, "%s: cannot write (%s)", path, strerror(errno));
    close(fd);
    return status;
}

/* Hashes of one tree, in its order; malloc'ed. */
static ls_status hash_tree(ls_run *run, ls_state_tree *tree, int kind, uint64_t **hashes)
{
    uint64_t all;
    *hashes = calloc((size_t)ls_state_count(tree) + 1, sizeof **hashes);
    if (!*hashes)
        return ls_fail(LS_EMEM, "hash log: no memory for %d hashes", ls_state_count(tree));
    return ls_state_hash(run->world, tree, kind, *hashes, &all);
}

ls_status ls_hash_log(ls_run *run, int64_t step, double loss)
{
    uint64_t *state = NULL, *gradients = NULL;
    char *text = NULL;
    size_t size = 0;
    ls_state_tree *tree = ls_state_create();
    ls_status status = tree ? ls_device_wait(run->device) : ls_fail(LS_EMEM, "hash log: no memory");
    if (status == LS_OK)
        status = ls_flat_gradients(&run->flat, run->slice_sum, tree);
    if (status == LS_OK)
        status = ls_tables_gradients(run, tree);
    if (status == LS_OK)
        status = hash_tree(run, run->state, -1, &state);
    if (status == LS_OK)
        status = hash_tree(run, tree, LS_STATE_GRADIENT, &gradients);
    FILE *out = status == LS_OK && run->rank == 0 ? open_memstream(&text, &size) : NULL;
    if (out) {
        char number[32] = "null"; /* JSON has no NaN */
        if (isfinite(loss))
            snprintf(number, sizeof number, "%.17g", loss);
        fprintf(out, "{\"step\": %lld, \"loss\": %s", (long long)step, number);
        print_kind(out, run->state, state, LS_STATE_PARAMETER);
        print_kind(out, tree, gradients, LS_STATE_GRADIENT);
        print_kind(out, run->state, state, LS_STATE_MOMENT);
        print_kind(out, run->state, state, LS_STATE_TASK);
        fputs("}\n", out);
        fclose(out);
        status = append(run, text, size);
    }
    ls_state_free(tree);
    free(text);
    free(state);
    free(gradients);
    return status;
}
