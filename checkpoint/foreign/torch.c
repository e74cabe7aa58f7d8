/* torch.save's files (since PyTorch 1.6): a ZIP archive with
 *     NAME/data.pkl     pickle: dictionaries and lists of tensors, each _rebuild_tensor_v2(storage, offset, size,
 * stride, ...) NAME/data/KEY     the numbers of one storage NAME/byteorder    "little" A tensor in dictionaries is
 * named by the keys, joined with '/'. What is no tensor (a step's number, an option) is passed over; what would call
 * anything but the few functions below is refused, and nothing is called. */
#include "checkpoint/foreign/parts.h"
#include "checkpoint/foreign/pickle.h"
#include "checkpoint/foreign/zip.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME = 512, DEEPEST = 16, MOST_VALUES = 1000000 };

typedef struct {
    ls_foreign *set;
    const char *path;
    ls_zip_member *member;
    int members, room;
    char folder[256]; /* in the archive, with '/' at its end */
    int64_t visited;
} reading;

static const struct {
    const char *name;
    ls_foreign_type type;
} storages[] = {
    {"torch FloatStorage", LS_FOREIGN_F32}, {"torch DoubleStorage", LS_FOREIGN_F64},
    {"torch HalfStorage", LS_FOREIGN_F16},  {"torch BFloat16Storage", LS_FOREIGN_BF16},
    {"torch LongStorage", LS_FOREIGN_I64},  {"torch IntStorage", LS_FOREIGN_I32},
    {"torch ShortStorage", LS_FOREIGN_I16}, {"torch CharStorage", LS_FOREIGN_I8},
    {"torch ByteStorage", LS_FOREIGN_U8},   {"torch BoolStorage", LS_FOREIGN_BOOL},
};

static ls_status keep_member(void *context, const ls_zip_member *member)
{
    reading *r = context;
    if (r->members == r->room) {
        const int room = r->room ? 2 * r->room : 64;
        ls_zip_member *grown = realloc(r->member, (size_t)room * sizeof *grown);
        if (!grown)
            return ls_fail(LS_EMEM, "%s: no memory for the list of its members", r->path);
        r->member = grown;
        r->room = room;
    }
    r->member[r->members++] = *member;
    return LS_OK;
}

static const ls_zip_member *find_member(const reading *r, const char *name)
{
    char whole[NAME];
    const size_t length = (size_t)snprintf(whole, sizeof whole, "%s%s", r->folder, name);
    for (int i = 0; i < r->members; i++)
        if (r->member[i].length == length && length < sizeof whole && !memcmp(r->member[i].name, whole, length))
            return &r->member[i];
    return NULL;
}

static bool is_global(const ls_pickle_value *value, const char *name)
{
    return value && value->kind == LS_PICKLE_GLOBAL && !strcmp(value->text, name);
}

/* Argument i of a call; NULL: there is none, or it is of another kind. */
static const ls_pickle_value *argument(const ls_pickle_value *list, int i, ls_pickle_kind kind)
{
    return list && list->kind == LS_PICKLE_LIST && i < list->count && list->item[i]->kind == kind ? list->item[i]
                                                                                                  : NULL;
}

/* The storage that ("storage", type, key, device, count) names. */
static ls_status find_storage(const reading *r, const char *name, const ls_pickle_value *persistent,
                              ls_foreign_type *type, const uint8_t **bytes, int64_t *count)
{
    const ls_pickle_value *id = persistent->arguments, *class = argument(id, 1, LS_PICKLE_GLOBAL),
                          *key = argument(id, 2, LS_PICKLE_TEXT), *size = argument(id, 4, LS_PICKLE_INT);
    size_t t = 0;
    while (class && t < sizeof storages / sizeof *storages && strcmp(storages[t].name, class->text))
        t++;
    if (!class || !key || !size || t == sizeof storages / sizeof *storages)
        return ls_fail(LS_EFORMAT, "%s: tensor \"%.200s\" is in a storage of kind %.60s, which is not known here",
                       r->path, name, class ? class->text : "(none)");
    char member_name[NAME];
    snprintf(member_name, sizeof member_name, "data/%.200s", key->text);
    const ls_zip_member *member = find_member(r, member_name);
    *type = storages[t].type;
    *count = size->number;
    if (!member || member->packed || size->number < 0 || (uint64_t)size->number > member->size ||
        (uint64_t)size->number * ls_foreign_type_size(*type) != member->size)
        return ls_fail(LS_EFORMAT, "%s: tensor \"%.200s\": its numbers, %s, are %s; the file is damaged: save it again",
                       r->path, name, member_name,
                       !member          ? "not in the archive"
                       : member->packed ? "compressed"
                                        : "of another size");
    *bytes = member->bytes;
    return LS_OK;
}

/* Row by row without gaps? */
static bool is_dense(const ls_foreign_tensor *t, const ls_pickle_value *strides)
{
    int64_t step = 1;
    if (t->count == 0)
        return true;
    for (int d = t->ndim - 1; d >= 0; d--) {
        if (strides->item[d]->kind != LS_PICKLE_INT || (t->shape[d] > 1 && strides->item[d]->number != step))
            return false;
        step *= t->shape[d];
    }
    return true;
}

static ls_status add_tensor(reading *r, const char *name, const ls_pickle_value *arguments)
{
    const ls_pickle_value *storage = argument(arguments, 0, LS_PICKLE_PERSISTENT),
                          *offset = argument(arguments, 1, LS_PICKLE_INT),
                          *sizes = argument(arguments, 2, LS_PICKLE_LIST),
                          *strides = argument(arguments, 3, LS_PICKLE_LIST);
    ls_foreign_tensor tensor = {.name = name};
    if (!storage || !offset || !sizes || !strides || sizes->count != strides->count || sizes->count > LS_MAX_DIMS)
        return ls_fail(LS_EFORMAT,
                       "%s: tensor \"%.200s\" is not described as torch.save does, or has more than %d axes", r->path,
                       name, LS_MAX_DIMS);
    const uint8_t *bytes = NULL;
    int64_t count = 0, taken;
    ls_status status = find_storage(r, name, storage, &tensor.type, &bytes, &count);
    if (status != LS_OK)
        return status;
    tensor.ndim = sizes->count;
    for (int d = 0; d < tensor.ndim; d++)
        tensor.shape[d] = sizes->item[d]->kind == LS_PICKLE_INT ? sizes->item[d]->number : -1;
    if (!ls_foreign_measure(&tensor, &taken) || offset->number < 0 || offset->number > count ||
        tensor.count > count - offset->number)
        return ls_fail(LS_EFORMAT,
                       "%s: tensor \"%.200s\" of %lld elements from %lld on is not inside its storage of %lld", r->path,
                       name, (long long)tensor.count, (long long)offset->number, (long long)count);
    if (!is_dense(&tensor, strides))
        return ls_fail(LS_EFORMAT, "%s: tensor \"%.200s\" is a view with strides; save tensor.contiguous()", r->path,
                       name);
    tensor.data = bytes + (size_t)offset->number * ls_foreign_type_size(tensor.type);
    return ls_foreign_add(r->set, &tensor);
}

static ls_status walk(reading *r, const ls_pickle_value *value, const char *name, int depth);

/* `name`/key */
static ls_status walk_item(reading *r, const ls_pickle_value *item, const char *name, const char *key, int depth)
{
    char whole[NAME];
    if (snprintf(whole, sizeof whole, "%s%s%s", name, *name ? "/" : "", key) >= NAME || !*key)
        return ls_fail(LS_EFORMAT, "%s: the keys \"%.100s\", \"%.100s\" are no name of a tensor", r->path, name, key);
    return walk(r, item, whole, depth + 1);
}

static ls_status walk_items(reading *r, const ls_pickle_value *value, const char *name, int depth)
{
    const bool list = value->kind == LS_PICKLE_LIST;
    ls_status status = LS_OK;
    for (int i = 0; i + !list < value->count && status == LS_OK; i += list ? 1 : 2) {
        const ls_pickle_value *key = value->item[i];
        char number[32];
        snprintf(number, sizeof number, "%lld", list ? (long long)i : (long long)key->number);
        const bool text = !list && key->kind == LS_PICKLE_TEXT;
        if (list || text || key->kind == LS_PICKLE_INT) /* other keys lead to no tensors */
            status = walk_item(r, value->item[list ? i : i + 1], name, text ? key->text : number, depth);
    }
    return status;
}

static ls_status walk(reading *r, const ls_pickle_value *value, const char *name, int depth)
{
    if (depth > DEEPEST || ++r->visited > MOST_VALUES)
        return ls_fail(LS_EFORMAT, "%s: \"%.200s\" is nested deeper than %d, or in itself", r->path, name, DEEPEST);
    if (value->kind == LS_PICKLE_LIST || value->kind == LS_PICKLE_DICT)
        return walk_items(r, value, name, depth);
    if (value->kind != LS_PICKLE_CALL)
        return LS_OK;
    if (is_global(value->callable, "collections OrderedDict"))
        return walk_items(r, value, name, depth);
    if (is_global(value->callable, "torch._utils _rebuild_tensor_v2"))
        return add_tensor(r, name, value->arguments);
    if (is_global(value->callable, "torch._utils _rebuild_parameter") && value->arguments->kind == LS_PICKLE_LIST &&
        value->arguments->count)
        return walk(r, value->arguments->item[0], name, depth + 1);
    return ls_fail(
        LS_EFORMAT,
        "%s: \"%.200s\" is made by %.60s; nothing in a pickle is run, so save the tensors alone (state_dict)", r->path,
        name, value->callable->kind == LS_PICKLE_GLOBAL ? value->callable->text : "a function");
}

/* NAME/data.pkl, which also says the folder's name. */
static const ls_zip_member *find_pickle(reading *r)
{
    static const char end[] = "/data.pkl";
    for (int i = 0; i < r->members; i++) {
        const ls_zip_member *m = &r->member[i];
        const size_t tail = sizeof end - 1;
        if (m->length < tail || memcmp(m->name + m->length - tail, end, tail) ||
            m->length - tail + 2 > sizeof r->folder)
            continue;
        snprintf(r->folder, sizeof r->folder, "%.*s/", (int)(m->length - tail), m->name);
        return m;
    }
    return NULL;
}

static ls_status read_pickle(reading *r, const ls_zip_member *member)
{
    const ls_zip_member *order = find_member(r, "byteorder");
    if (member->packed)
        return ls_fail(LS_EFORMAT, "%s: its data.pkl is compressed; save it with torch.save alone", r->path);
    if (order && (order->packed || order->size != 6 || memcmp(order->bytes, "little", 6)))
        return ls_fail(LS_EFORMAT, "%s: its numbers are not little-endian", r->path);
    ls_pickle *pickle;
    const ls_pickle_value *top;
    ls_status status = ls_pickle_read(&pickle, r->path, member->bytes, member->size, &top);
    if (status == LS_OK)
        status = walk(r, top, "", 0);
    ls_pickle_close(pickle);
    return status;
}

ls_status ls_zip_parse(ls_foreign *set)
{
    const ls_foreign_file *file = &set->file[set->files - 1];
    reading r = {.set = set, .path = file->path};
    ls_status status = ls_zip_walk(file->path, file->bytes, file->size, keep_member, &r);
    const ls_zip_member *pickle = status == LS_OK ? find_pickle(&r) : NULL;
    if (status == LS_OK && pickle)
        status = read_pickle(&r, pickle);
    for (int i = 0; i < r.members && status == LS_OK && !pickle; i++)
        status = ls_numpy_add(set, &r.member[i]);
    free(r.member);
    return status;
}
