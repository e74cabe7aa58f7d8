/* Attention of new positions over keys and values that were kept: ls_paged_attention in ops.h. */
#include "tensor/ops/shapes.h"

#include <string.h>

enum { ENOUGH_WORK = 1 << 12 }; /* new numbers of keys worth waking a team: each row's go to a place of their own, far apart */

typedef struct {
    const ls_pages *pages;
    double pairs; /* visible query-key pairs, a head */
} paged_attributes;

static ls_status paged_shape(ls_node *node)
{
    paged_attributes *at = node->attributes;
    const ls_tensor *q = node->in[0], *k = node->in[1], *v = node->in[2];
    const ls_pages *p = at->pages;
    ls_status status = ls_check_types(node);
    if (status != LS_OK)
        return status;
    if (q->type != p->type || q->type == LS_F64)
        return ls_fail(LS_ETYPE, "q is %s where pages hold %s; both must be f32, bf16 or f16", ls_type_name(q->type), ls_type_name(p->type));
    bool fits = q->ndim == 3 && k->ndim == 3 && v->ndim == 3 && k->shape[0] == q->shape[0];
    for (int i = 0; fits && i < 3; i++)
        fits = k->shape[i] == v->shape[i];
    if (!fits || q->shape[2] != k->shape[2] || q->shape[1] % k->shape[1] || p->row < k->shape[2] ||
        p->row % LS_PAGE_ROW)
        return ls_fail(LS_ESHAPE,
                       "q %s, k %s, v %s, rows of %lld in pages: they must be [n, H, D], [n, Hkv, D] twice, H a "
                       "multiple of Hkv, rows a multiple of %d that holds D",
                       ls_describe(q).text, ls_describe(k).text, ls_describe(v).text, (long long)p->row, LS_PAGE_ROW);
    int64_t rows = 0;
    at->pairs = 0;
    for (int64_t i = 0; i < p->spans; i++) {
        const ls_page_span *span = &p->span[i];
        if (span->row != rows || span->queries < 1 || span->position < 0)
            return ls_fail(
                LS_EARG,
                "span %lld begins at row %lld with %lld queries; spans follow each other and have at least one",
                (long long)i, (long long)span->row, (long long)span->queries);
        rows += span->queries;
        at->pairs += (double)span->queries * ((double)span->position + (double)(span->queries + 1) / 2);
    }
    if (rows != q->shape[0])
        return ls_fail(LS_ESHAPE, "q %s, but the spans have %lld positions", ls_describe(q).text, (long long)rows);
    ls_set_shape(node->out[0], q->type, q->ndim, q->shape);
    return LS_OK;
}

typedef struct {
    const ls_pages *pages;
    const ls_tensor *k, *v;
} storing;

/* One span's new keys and values. */
static void store_span(void *context, int64_t item)
{
    const storing *s = context;
    const ls_page_span *span = &s->pages->span[item];
    const int64_t heads = s->k->shape[1], width = s->k->shape[2], row = s->pages->row;
    const size_t bytes = ls_type_size(s->k->type);
    for (int64_t i = 0; i < span->queries; i++)
        for (int64_t h = 0; h < heads; h++) {
            const int64_t t = span->position + i, from = ((span->row + i) * heads + h) * width;
            const int64_t to = ((span->pages[t / LS_PAGE] * heads + h) * LS_PAGE + t % LS_PAGE) * row;
            memcpy((char *)s->pages->keys + (size_t)to * bytes, (const char *)s->k->data + (size_t)from * bytes, (size_t)width * bytes);
            memcpy((char *)s->pages->values + (size_t)to * bytes, (const char *)s->v->data + (size_t)from * bytes, (size_t)width * bytes);
        }
}

/* The part of a span's new rows [n, heads, width] that goes into one page, in one call. */
static void store_in_page(ls_device *device, const ls_pages *p, const ls_page_span *span, int64_t first, int64_t count, const ls_tensor *x, void *pages)
{
    const int64_t t = span->position + first, heads = x->shape[1], width = x->shape[2], bytes = (int64_t)ls_type_size(x->type);
    const ls_strides strides = {3, {count, heads, width}, {heads * width, width, 1}, {p->row, LS_PAGE * p->row, 1}};
    device->copy_strided(device, x->type, &strides, (const char *)x->data + (span->row + first) * heads * width * bytes,
                         (char *)pages + (span->pages[t / LS_PAGE] * heads * LS_PAGE + t % LS_PAGE) * p->row * bytes);
}

/* For a device to which each call costs a launch: whole pages' parts instead of rows. */
static void store_pages(ls_device *device, const storing *s)
{
    const ls_pages *p = s->pages;
    for (int64_t i = 0; i < p->spans; i++)
        for (int64_t first = 0, count; first < p->span[i].queries; first += count) {
            const int64_t room = LS_PAGE - (p->span[i].position + first) % LS_PAGE, left = p->span[i].queries - first;
            count = left < room ? left : room;
            store_in_page(device, p, &p->span[i], first, count, s->k, p->keys);
            store_in_page(device, p, &p->span[i], first, count, s->v, p->values);
        }
}

static ls_status paged_forward(ls_node *node, ls_device *device)
{
    const paged_attributes *at = node->attributes;
    const ls_tensor *q = node->in[0], *k = node->in[1];
    const ls_pages *p = at->pages;
    storing store = {p, k, node->in[2]};
    if (device->synchronize)
        store_pages(device, &store);
    else if (k->count >= ENOUGH_WORK)
        ls_team_run(device->team, p->spans, store_span, &store);
    else
        for (int64_t i = 0; i < p->spans; i++)
            store_span(&store, i);
    const ls_attention_args args = {
        .type = q->type,
        .batch = 1,
        .queries = q->shape[0],
        .keys = (int64_t)(at->pairs / (double)q->shape[0]) + 1, /* for judging the work alone */
        .heads = q->shape[1],
        .kv_heads = k->shape[1],
        .width = q->shape[2],
        .causal = true,
        .window = p->window,
        .spans = p->spans,
        .span = p->span,
        .page_row = p->row,
        .scale = 1 / __builtin_sqrt((double)q->shape[2]),
        .q = q->data,
        .k = p->keys,
        .v = p->values,
        .out = node->out[0]->data,
    };
    const ls_status status = device->attention(device, &args, ls_tape_arena(node->tape));
    ls_tape_count_flops(node->tape, 4 * at->pairs * (double)q->shape[1] * (double)q->shape[2]);
    return status;
}

static const ls_op paged_op = {"paged_attention", paged_shape, paged_forward, NULL};

ls_tensor *ls_paged_attention(ls_tape *tape, ls_tensor *q, ls_tensor *k, ls_tensor *v, const ls_pages *pages)
{
    return ls_apply(tape, &paged_op, 3, (ls_tensor *[]){q, k, v}, &(paged_attributes){.pages = pages},
                    sizeof(paged_attributes), 1, NULL);
}
