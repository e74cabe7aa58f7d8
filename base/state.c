/* A sorted array of entries; each is one block with its name behind it, so pointers stay valid as the tree grows.
 * See state.h. */
#include "base/state.h"

#include <stdlib.h>
#include <string.h>

struct ls_state_tree {
    ls_state_entry **entry; /* ascending by strcmp of the names */
    int count, room;
};

ls_state_tree *ls_state_create(void)
{
    return calloc(1, sizeof(ls_state_tree));
}

void ls_state_free(ls_state_tree *tree)
{
    if (!tree)
        return;
    for (int i = 0; i < tree->count; i++)
        free(tree->entry[i]);
    free(tree->entry);
    free(tree);
}

/* The first entry whose name's first `length` bytes are not below name's. */
static int lower_bound(const ls_state_tree *tree, const char *name, size_t length)
{
    int low = 0, high = tree->count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (strncmp(tree->entry[middle]->name, name, length) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_there(const ls_state_tree *tree, const char *name, size_t length)
{
    int at = lower_bound(tree, name, length);
    return at < tree->count && !strncmp(tree->entry[at]->name, name, length) && !tree->entry[at]->name[length];
}

int64_t ls_state_elements(const ls_state_entry *entry)
{
    int64_t count = 1;
    for (int i = 0; i < entry->ndim; i++)
        count *= entry->shape[i];
    return count;
}

static ls_status check_name(const ls_state_tree *tree, const char *name)
{
    size_t length = name ? strlen(name) : 0;
    if (!length || name[0] == '/' || name[length - 1] == '/' || strstr(name, "//"))
        return ls_fail(LS_EARG, "state \"%s\": a name is parts joined by single slashes, like \"task/baseline\"",
                       name ? name : "");
    if (is_there(tree, name, length))
        return ls_fail(LS_EEXIST, "state \"%s\": the name is taken; every tensor needs its own", name);
    for (const char *slash = strchr(name, '/'); slash; slash = strchr(slash + 1, '/'))
        if (is_there(tree, name, (size_t)(slash - name)))
            return ls_fail(LS_EARG, "state \"%s\": \"%.*s\" is a tensor already and cannot be a folder too", name,
                           (int)(slash - name), name);
    int below = 0; /* entries that start with the name and go on with a slash: not next to it, '-' sorts before '/' */
    for (below = lower_bound(tree, name, length); below < tree->count; below++) {
        const char *other = tree->entry[below]->name;
        if (strncmp(other, name, length))
            break;
        if (other[length] == '/')
            return ls_fail(LS_EARG, "state \"%s\": the name is a folder already, of \"%s\"", name, other);
    }
    return LS_OK;
}

static ls_status check_extent(const ls_state_entry *entry)
{
    if (entry->ndim < 0 || entry->ndim > LS_MAX_DIMS)
        return ls_fail(LS_EARG, "state \"%s\": %d dimensions, 0 to %d are possible", entry->name, entry->ndim, LS_MAX_DIMS);
    int64_t elements = ls_state_elements(entry), begin = entry->begin, end = begin + entry->held;
    if (entry->flags & LS_STATE_REPLICATED && (begin != 0 || end != elements))
        return ls_fail(LS_EARG, "state \"%s\": replicated, but elements %lld to %lld of %lld are here", entry->name,
                       (long long)begin, (long long)end, (long long)elements);
    if (begin < 0 || entry->held < 0 || end > elements)
        return ls_fail(LS_EARG, "state \"%s\": elements %lld to %lld do not lie in 0 to %lld", entry->name,
                       (long long)begin, (long long)end, (long long)elements);
    if (entry->held && (begin % LS_CHUNK || (end % LS_CHUNK && end != elements)))
        return ls_fail(LS_EARG, "state \"%s\": elements %lld to %lld are not whole chunks of %d", entry->name,
                       (long long)begin, (long long)end, LS_CHUNK);
    return LS_OK;
}

ls_status ls_state_add(ls_state_tree *tree, const ls_state_entry *entry)
{
    ls_status status = check_name(tree, entry->name);
    if (status == LS_OK)
        status = check_extent(entry);
    if (status != LS_OK)
        return status;
    if (tree->count == tree->room) {
        int room = tree->room ? 2 * tree->room : 64;
        ls_state_entry **grown = realloc(tree->entry, (size_t)room * sizeof *grown);
        if (!grown)
            return ls_fail(LS_EMEM, "state tree: no memory for %d entries", room);
        tree->entry = grown;
        tree->room = room;
    }
    size_t name_bytes = strlen(entry->name) + 1;
    ls_state_entry *own = malloc(sizeof *own + name_bytes);
    if (!own)
        return ls_fail(LS_EMEM, "state \"%s\": no memory for its entry", entry->name);
    *own = *entry;
    own->name = memcpy(own + 1, entry->name, name_bytes);
    int at = lower_bound(tree, own->name, name_bytes);
    memmove(tree->entry + at + 1, tree->entry + at, (size_t)(tree->count - at) * sizeof(ls_state_entry *));
    tree->entry[at] = own;
    tree->count++;
    return LS_OK;
}

static ls_status add_scalar(ls_state_tree *tree, const char *name, unsigned flags, ls_type type, void *value)
{
    const ls_state_entry entry = {.name = name, .kind = LS_STATE_TASK, .type = type,
                                  .flags = flags | LS_STATE_REPLICATED, .held = 1, .data = value};
    return ls_state_add(tree, &entry);
}

ls_status ls_state_add_i64(ls_state_tree *tree, const char *name, unsigned flags, int64_t *value)
{
    return add_scalar(tree, name, flags, LS_I64, value);
}

ls_status ls_state_add_f64(ls_state_tree *tree, const char *name, unsigned flags, double *value)
{
    return add_scalar(tree, name, flags, LS_F64, value);
}

int ls_state_count(const ls_state_tree *tree)
{
    return tree->count;
}

const ls_state_entry *ls_state_at(ls_state_tree *tree, int index)
{
    return index >= 0 && index < tree->count ? tree->entry[index] : NULL;
}

const ls_state_entry *ls_state_find(ls_state_tree *tree, const char *name)
{
    size_t length = strlen(name);
    return is_there(tree, name, length) ? tree->entry[lower_bound(tree, name, length)] : NULL;
}
