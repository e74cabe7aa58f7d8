/* See pickle.h. A stack machine; every value is listed for freeing, and no value has more items than the file has
 * bytes. */
#include "checkpoint/foreign/pickle.h"

#include <stdlib.h>
#include <string.h>

struct ls_pickle {
    const char *name;
    const uint8_t *bytes;
    size_t size, at;
    ls_pickle_value **all; /* every value made */
    int made, made_room;
    ls_pickle_value **stack; /* NULL: a mark */
    int depth, stack_room;
    ls_pickle_value **memo;
    int memos, memo_room;
    bool failed; /* `code` and the sentence say why */
    ls_status code;
};

static ls_status fail_at(ls_pickle *p, const char *what)
{
    p->failed = true;
    p->code = LS_EFORMAT;
    return ls_fail(LS_EFORMAT, "%s: %s, at byte %zu of its pickle; save the tensors alone, or as safetensors", p->name,
                   what, p->at);
}

static void no_memory(ls_pickle *p)
{
    p->failed = true;
    p->code = ls_fail(LS_EMEM, "%s: no memory for its pickle", p->name);
}

static bool grow(ls_pickle *p, ls_pickle_value ***array, int count, int *room)
{
    if (count < *room)
        return true;
    const int wanted = *room ? 2 * *room : 16;
    ls_pickle_value **grown = wanted > 0 ? realloc(*array, (size_t)wanted * sizeof *grown) : NULL;
    if (!grown) {
        no_memory(p);
        return false;
    }
    *array = grown;
    *room = wanted;
    return true;
}

static ls_pickle_value *make(ls_pickle *p, ls_pickle_kind kind)
{
    if (!grow(p, &p->all, p->made, &p->made_room))
        return NULL;
    ls_pickle_value *value = calloc(1, sizeof *value);
    if (!value) {
        no_memory(p);
        return NULL;
    }
    value->kind = kind;
    return p->all[p->made++] = value;
}

static void push(ls_pickle *p, ls_pickle_value *value)
{
    if (!p->failed && grow(p, &p->stack, p->depth, &p->stack_room))
        p->stack[p->depth++] = value;
}

/* NULL, and the error told, where there is none. */
static ls_pickle_value *pop(ls_pickle *p)
{
    if (!p->failed && p->depth > 0 && p->stack[p->depth - 1])
        return p->stack[--p->depth];
    if (!p->failed)
        fail_at(p, "an opcode lacks its operand");
    return NULL;
}

static ls_pickle_value *top_of(ls_pickle *p)
{
    ls_pickle_value *value = pop(p);
    if (value)
        p->depth++;
    return value;
}

static void append(ls_pickle *p, ls_pickle_value *to, ls_pickle_value *item)
{
    if (to && item && !p->failed && grow(p, &to->item, to->count, &to->room))
        to->item[to->count++] = item;
}

/* A little-endian number of n bytes. */
static uint64_t number(ls_pickle *p, size_t n)
{
    uint64_t value = 0;
    if (p->failed || p->size - p->at < n) {
        if (!p->failed)
            fail_at(p, "it is cut short");
        return 0;
    }
    for (size_t i = 0; i < n; i++)
        value |= (uint64_t)p->bytes[p->at + i] << 8 * i;
    p->at += n;
    return value;
}

static void push_int(ls_pickle *p, int64_t value)
{
    ls_pickle_value *v = p->failed ? NULL : make(p, LS_PICKLE_INT);
    if (v)
        v->number = value;
    push(p, v);
}

/* LONG1: up to 8 bytes of two's complement. */
static void push_long(ls_pickle *p)
{
    const size_t n = (size_t)number(p, 1);
    if (n > 8) {
        fail_at(p, "a number of more than 64 bits");
        return;
    }
    uint64_t value = number(p, n);
    if (n && n < 8 && value >> (8 * n - 1))
        value |= UINT64_MAX << 8 * n;
    push_int(p, (int64_t)value);
}

/* A copy, NUL-terminated. */
static ls_pickle_value *text_value(ls_pickle *p, ls_pickle_kind kind, const uint8_t *text, size_t bytes)
{
    if (memchr(text, '\0', bytes)) {
        fail_at(p, "a text with a zero byte");
        return NULL;
    }
    ls_pickle_value *v = make(p, kind);
    char *copy = v ? malloc(bytes + 1) : NULL;
    if (!copy) {
        no_memory(p);
        return NULL;
    }
    memcpy(copy, text, bytes);
    copy[bytes] = '\0';
    v->text = copy;
    return v;
}

static void push_text(ls_pickle *p, size_t length_bytes)
{
    const uint64_t bytes = number(p, length_bytes);
    if (p->failed)
        return;
    if (bytes > p->size - p->at) {
        fail_at(p, "a text that goes beyond its end");
        return;
    }
    push(p, text_value(p, LS_PICKLE_TEXT, p->bytes + p->at, (size_t)bytes));
    p->at += (size_t)bytes;
}

/* "module\nname\n" */
static void push_global(ls_pickle *p)
{
    const uint8_t *begin = p->bytes + p->at, *middle = memchr(begin, '\n', p->size - p->at);
    const uint8_t *end = middle ? memchr(middle + 1, '\n', (size_t)(p->bytes + p->size - middle - 1)) : NULL;
    if (!end) {
        fail_at(p, "a name without an end");
        return;
    }
    ls_pickle_value *v = text_value(p, LS_PICKLE_GLOBAL, begin, (size_t)(end - begin));
    if (v)
        *strchr((char *)v->text, '\n') = ' ';
    push(p, v);
    p->at += (size_t)(end - begin) + 1;
}

static void push_stack_global(ls_pickle *p)
{
    const ls_pickle_value *name = pop(p), *module = pop(p);
    if (p->failed || name->kind != LS_PICKLE_TEXT || module->kind != LS_PICKLE_TEXT) {
        if (!p->failed)
            fail_at(p, "a name that is no text");
        return;
    }
    const size_t first = strlen(module->text), bytes = first + 1 + strlen(name->text);
    ls_pickle_value *v = make(p, LS_PICKLE_GLOBAL);
    char *text = v ? malloc(bytes + 1) : NULL;
    if (!text) {
        no_memory(p);
        return;
    }
    memcpy(text, module->text, first);
    text[first] = ' ';
    memcpy(text + first + 1, name->text, bytes - first);
    v->text = text;
    push(p, v);
}

/* Where the things above the newest mark begin; -1: there is no mark. The mark is taken away. */
static int above_mark(ls_pickle *p)
{
    int at = p->depth;
    while (at > 0 && p->stack[at - 1])
        at--;
    if (at == 0) {
        fail_at(p, "an opcode lacks its mark");
        return -1;
    }
    return at;
}

/* Into one list: what is above the mark, or the n topmost. */
static void push_tuple(ls_pickle *p, int n)
{
    const int first = n < 0 ? above_mark(p) : p->depth - n;
    if (p->failed)
        return;
    for (int i = first; i < p->depth; i++)
        if (i < 0 || !p->stack[i]) {
            fail_at(p, "an opcode lacks its operand");
            return;
        }
    ls_pickle_value *list = first < 0 ? NULL : make(p, LS_PICKLE_LIST);
    if (!list) {
        if (!p->failed)
            fail_at(p, "an opcode lacks its operand");
        return;
    }
    for (int i = first; i < p->depth; i++)
        append(p, list, p->stack[i]);
    p->depth = n < 0 ? first - 1 : first;
    push(p, list);
}

/* Appends what is above the mark to the value below it. */
static void add_all(ls_pickle *p, bool pairs)
{
    const int first = above_mark(p);
    if (p->failed)
        return;
    if (first < 2 || !p->stack[first - 2] || (pairs && (p->depth - first) % 2)) {
        fail_at(p, "items without a place");
        return;
    }
    for (int i = first; i < p->depth; i++)
        append(p, p->stack[first - 2], p->stack[i]);
    p->depth = first - 1;
}

static void add_pair(ls_pickle *p)
{
    ls_pickle_value *value = pop(p), *key = pop(p), *to = top_of(p);
    append(p, to, key);
    append(p, to, value);
}

static void call(ls_pickle *p)
{
    ls_pickle_value *arguments = pop(p), *callable = pop(p), *v = p->failed ? NULL : make(p, LS_PICKLE_CALL);
    if (!v)
        return;
    v->callable = callable;
    v->arguments = arguments;
    push(p, v);
}

static void remember(ls_pickle *p, uint64_t place)
{
    ls_pickle_value *value = top_of(p);
    if (p->failed)
        return;
    if (place > p->size) {
        fail_at(p, "a place in memory beyond the file's size");
        return;
    }
    while (!p->failed && (uint64_t)p->memos <= place)
        if (grow(p, &p->memo, p->memos, &p->memo_room))
            p->memo[p->memos++] = NULL;
    if (!p->failed)
        p->memo[place] = value;
}

static void recall(ls_pickle *p, uint64_t place)
{
    if (p->failed)
        return;
    if (place >= (uint64_t)p->memos || !p->memo[place])
        fail_at(p, "a place in memory that nothing was put to");
    else
        push(p, p->memo[place]);
}

static void push_truth(ls_pickle *p, ls_pickle_kind kind, bool truth)
{
    ls_pickle_value *v = make(p, kind);
    if (v)
        v->number = truth;
    push(p, v);
}

/* One opcode; false: the end, or an error. */
static bool step(ls_pickle *p)
{
    ls_pickle_value *value;
    const uint8_t opcode = (uint8_t)number(p, 1);
    if (p->failed)
        return false;
    switch (opcode) {
    case 0x80: number(p, 1); break; /* PROTO */
    case 0x95: number(p, 8); break; /* FRAME */
    case '.': return false;         /* STOP */
    case '(': push(p, NULL); break; /* MARK */
    case 'N': push(p, make(p, LS_PICKLE_NONE)); break;
    case 0x88: push_truth(p, LS_PICKLE_BOOL, true); break;
    case 0x89: push_truth(p, LS_PICKLE_BOOL, false); break;
    case 'J': push_int(p, (int32_t)number(p, 4)); break;
    case 'K': push_int(p, (int64_t)number(p, 1)); break;
    case 'M': push_int(p, (int64_t)number(p, 2)); break;
    case 0x8a: push_long(p); break;
    case 'G': number(p, 8), push(p, make(p, LS_PICKLE_FLOAT)); break; /* its value is never asked for */
    case 'X': push_text(p, 4); break;
    case 0x8c: push_text(p, 1); break;
    case 'c': push_global(p); break;
    case 0x93: push_stack_global(p); break;
    case '}': push(p, make(p, LS_PICKLE_DICT)); break;
    case ']': push(p, make(p, LS_PICKLE_LIST)); break;
    case ')': push(p, make(p, LS_PICKLE_LIST)); break;
    case 't': push_tuple(p, -1); break;
    case 0x85: push_tuple(p, 1); break;
    case 0x86: push_tuple(p, 2); break;
    case 0x87: push_tuple(p, 3); break;
    case 'R': call(p); break;
    case 'b': pop(p); break; /* BUILD: attributes, of which tensors in dictionaries have none that matter */
    case 's': add_pair(p); break;
    case 'u': add_all(p, true); break;
    case 'a': value = pop(p), append(p, top_of(p), value); break;
    case 'e': add_all(p, false); break;
    case 'q': remember(p, number(p, 1)); break;
    case 'r': remember(p, number(p, 4)); break;
    case 0x94: remember(p, (uint64_t)p->memos); break;
    case 'h': recall(p, number(p, 1)); break;
    case 'j': recall(p, number(p, 4)); break;
    case 'Q':
        value = pop(p);
        push_truth(p, LS_PICKLE_PERSISTENT, false);
        if (!p->failed)
            p->stack[p->depth - 1]->arguments = value;
        break;
    default: fail_at(p, "an opcode that tensors in dictionaries do not need"); break;
    }
    return !p->failed;
}

ls_status ls_pickle_read(ls_pickle **out, const char *name, const void *bytes, size_t size, const ls_pickle_value **top)
{
    *out = NULL;
    *top = NULL;
    ls_pickle *p = calloc(1, sizeof *p);
    if (!p)
        return ls_fail(LS_EMEM, "%s: no memory for its pickle", name);
    *p = (ls_pickle){.name = name, .bytes = bytes, .size = size};
    while (step(p))
        ;
    const ls_pickle_value *value = p->failed ? NULL : pop(p);
    if (!value) {
        const ls_status code = p->code;
        ls_pickle_close(p);
        return code;
    }
    *out = p;
    *top = value;
    return LS_OK;
}

void ls_pickle_close(ls_pickle *p)
{
    if (!p)
        return;
    for (int i = 0; i < p->made; i++) {
        free((void *)p->all[i]->text);
        free(p->all[i]->item);
        free(p->all[i]);
    }
    free(p->all);
    free(p->stack);
    free(p->memo);
    free(p);
}
