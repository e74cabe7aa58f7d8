/* Loading: each rank reads the elements it holds, chunk by chunk, straight into their place, from the files of however
 * many ranks wrote them. A resume needs no more memory than a fresh start. Nothing may be left over on either side: a
 * load that ignores a name is an error. */
#include "checkpoint/checkpoint.h"

#include "checkpoint/joining.h"
#include "checkpoint/reader.h"
#include "checkpoint/rounds.h"

#include <stdio.h>
#include <string.h>

static const char phase[] = "checkpoint load";
enum { FILL_CHUNKS = 1024 }; /* read at a time: 16 MiB of f32 */

static void print_shape(char *text, size_t room, ls_type type, int ndim, const int64_t *shape)
{
    size_t at = (size_t)snprintf(text, room, "%s [", ls_type_name(type));
    for (int d = 0; d < ndim && at < room; d++)
        at += (size_t)snprintf(text + at, room - at, d ? ", %lld" : "%lld", (long long)shape[d]);
    if (at < room)
        snprintf(text + at, room - at, "]");
}

static ls_status match(const ls_tensor_row *row, const ls_state_entry *entry)
{
    bool same = row->type == (int32_t)entry->type && row->ndim == entry->ndim;
    for (int d = 0; same && d < entry->ndim; d++)
        same = row->shape[d] == entry->shape[d];
    if (same)
        return LS_OK;
    char stored[160], wanted[160];
    print_shape(stored, sizeof stored, (ls_type)row->type, row->ndim, row->shape);
    print_shape(wanted, sizeof wanted, entry->type, entry->ndim, entry->shape);
    return ls_fail(LS_ESTATE, "tensor \"%s\" is %s there and %s in this run; resume with the recipe that wrote it",
                   row->name, stored, wanted);
}

/* Names on both sides ascend, so one walk over both finds what either lacks. */
static ls_status match_all(const ls_manifest *m, ls_state_tree *tree)
{
    int64_t t = 0;
    for (int i = 0; i < ls_state_count(tree) || t < m->tensors;) {
        const ls_state_entry *entry = i < ls_state_count(tree) ? ls_state_at(tree, i) : NULL;
        if (entry && entry->kind == LS_STATE_GRADIENT) {
            i++;
            continue;
        }
        int order = !entry ? 1 : t == m->tensors ? -1 : strcmp(entry->name, m->tensor[t].name);
        if (order < 0)
            return ls_fail(LS_ESTATE,
                           "tensor \"%s\" of this run is missing there; resume with the recipe that wrote it",
                           entry->name);
        if (order > 0)
            return ls_fail(LS_ESTATE,
                           "tensor \"%s\" is there and this run has no place for it; resume with the recipe that "
                           "wrote it",
                           m->tensor[t].name);
        ls_status status = match(&m->tensor[t], entry);
        if (status != LS_OK)
            return status;
        i++;
        t++;
    }
    return LS_OK;
}

static ls_status check_place(const ls_state_entry *entry)
{
    int64_t elements = ls_state_elements(entry), end = entry->begin + entry->held;
    if (entry->held == 0 || (entry->begin >= 0 && entry->held > 0 && end <= elements && entry->begin % LS_CHUNK == 0 &&
                             (end % LS_CHUNK == 0 || end == elements) && entry->data))
        return LS_OK;
    return ls_fail(LS_ESTATE, "state \"%s\": elements [%lld, %lld) of %lld are not whole chunks of %d", entry->name,
                   (long long)entry->begin, (long long)end, (long long)elements, LS_CHUNK);
}

typedef struct {
    ls_state_tree *tree;
    const ls_manifest *manifest;
    ls_reader reader;
    int entry;    /* number of the next one */
    int64_t have; /* elements of it that are read */
} filler;

/* The next elements of the entry at hand, whole chunks but for the last. */
static ls_status fill_some(filler *f, int64_t *budget)
{
    const ls_state_entry *entry = ls_state_at(f->tree, f->entry);
    int64_t size = (int64_t)ls_type_size(entry->type);
    int64_t count = entry->kind == LS_STATE_GRADIENT ? 0 : entry->held - f->have;
    ls_status status = count > 0 && f->have == 0 ? check_place(entry) : LS_OK;
    if (count > FILL_CHUNKS * LS_CHUNK)
        count = FILL_CHUNKS * LS_CHUNK;
    if (status == LS_OK && count > 0)
        status = ls_reader_read(&f->reader, ls_manifest_find(f->manifest, entry->name), entry->begin + f->have, count,
                                (char *)entry->data + f->have * size);
    *budget -= count * size;
    f->have += count;
    if (count == 0 || f->have == entry->held) {
        f->entry++;
        f->have = 0;
    }
    return status;
}

static ls_status fill_round(void *context, bool *done)
{
    filler *f = context;
    ls_status status = LS_OK;
    for (int64_t budget = LS_ROUND_BYTES; status == LS_OK && budget > 0 && f->entry < ls_state_count(f->tree);)
        status = fill_some(f, &budget);
    *done = f->entry == ls_state_count(f->tree);
    return status;
}

ls_status ls_checkpoint_load(ls_world *world, ls_state_tree *tree, const char *path)
{
    ls_manifest *manifest = NULL;
    ls_status status = ls_agree(world, ls_joining_read(path, &manifest), phase);
    if (status == LS_OK)
        status = ls_same_everywhere(world, &manifest->xxh3, sizeof manifest->xxh3, "the checkpoint to load");
    if (status == LS_OK)
        status = ls_agree(world, ls_fail_at(match_all(manifest, tree), "%s", path), phase);
    if (status == LS_OK) {
        filler f = {.tree = tree, .manifest = manifest};
        status = ls_rounds(world, ls_reader_open(&f.reader, path, manifest), fill_round, &f, phase);
        ls_reader_close(&f.reader);
    }
    ls_manifest_free(manifest);
    return status;
}
