/* Attention under block masks: what a mask may never show in the bits, and what it must never cost. That the numbers
 * are right is test_attention.c's. */
#include "tensor/block_mask.h"
#include "tests/tensor/numbers.h"

enum { T = 200, HEADS = 4, KV_HEADS = 2, WIDTH = 24 };

/* ---- masks ---- */

static bool causal(const void *context, int64_t row, int64_t query, int64_t key)
{
    (void)context, (void)row;
    return key <= query;
}

/* Absent, whole and scattered squares of 16, and queries that see nothing. */
static bool scattered(const void *context, int64_t row, int64_t query, int64_t key)
{
    (void)context;
    int64_t kind = (query / 16 * 5 + key / 16 * 3 + row) % 4;
    return query % 23 != 5 && kind != 1 && (kind == 2 || (query * 7 + key * 13) % 11 < 4);
}

/* Even queries as above, odd ones otherwise. */
static bool even_scattered(const void *context, int64_t row, int64_t query, int64_t key)
{
    return query % 2 == 0 ? scattered(context, row, query, key) : (query * 5 + key * 3) % 7 < 2;
}

/* Every other square of 16 keys is seen by nobody. */
static bool without_odd_squares(const void *context, int64_t row, int64_t query, int64_t key)
{
    return key / 16 % 2 == 0 && scattered(context, row, query, key / 32 * 16 + key % 16);
}

static bool window(const void *context, int64_t row, int64_t query, int64_t key)
{
    (void)context, (void)row;
    return key <= query && key > query - 100;
}

static const ls_block_mask *mask_of(ls_arena *arena, int64_t count, int64_t block, ls_mask_sees sees)
{
    ls_block_mask *mask;
    cr_assert_eq(ls_block_mask_build(&mask, arena, 1, count, count, block, sees, NULL), LS_OK, "%s",
                 ls_fail_sentence());
    return mask;
}

/* ---- one run, forward and backward ---- */

typedef struct {
    ls_device *device;
    ls_arena *scratch, *masks;
} bench;

static bench begin(int threads)
{
    return (bench){device_of(threads), scratch_arena(), scratch_arena()};
}

static void end(bench *b)
{
    device_done(b->device);
    ls_arena_free(b->scratch);
    ls_arena_free(b->masks);
}

static ls_attention_args arguments(int64_t count)
{
    const int64_t q = count * HEADS * WIDTH, k = count * KV_HEADS * WIDTH;
    return (ls_attention_args){.batch = 1,
                               .queries = count,
                               .keys = count,
                               .heads = HEADS,
                               .kv_heads = KV_HEADS,
                               .width = WIDTH,
                               .scale = 0.2,
                               .q = numbers(LS_F32, q, 1, 1),
                               .k = numbers(LS_F32, k, 2, 1),
                               .v = numbers(LS_F32, k, 3, 1),
                               .dout = numbers(LS_F32, q, 4, 1),
                               .out = array_of(LS_F32, q),
                               .lse = array_of(LS_F32, count * HEADS),
                               .dq = array_of(LS_F32, q),
                               .dk = array_of(LS_F32, k),
                               .dv = array_of(LS_F32, k)};
}

static void release(ls_attention_args *x)
{
    void *all[] = {(void *)x->q, (void *)x->k, (void *)x->v, (void *)x->dout, x->out, x->lse, x->dq, x->dk, x->dv};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

static void run(bench *b, ls_attention_args *x)
{
    cr_assert_eq(b->device->attention(b->device, x, b->scratch), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(b->device->attention_backward(b->device, x, b->scratch), LS_OK, "%s", ls_fail_sentence());
}

static ls_attention_args masked(bench *b, int64_t block, ls_mask_sees sees)
{
    ls_attention_args x = arguments(T);
    x.mask = mask_of(b->masks, T, block, sees);
    run(b, &x);
    return x;
}

static bool same_queries(const ls_attention_args *a, const ls_attention_args *b)
{
    const size_t bytes = sizeof(float) * T * HEADS * WIDTH;
    return !memcmp(a->out, b->out, bytes) && !memcmp(a->dq, b->dq, bytes) &&
           !memcmp(a->lse, b->lse, sizeof(float) * T * HEADS);
}

static bool same_keys(const ls_attention_args *a, const ls_attention_args *b)
{
    const size_t bytes = sizeof(float) * T * KV_HEADS * WIDTH;
    return !memcmp(a->dk, b->dk, bytes) && !memcmp(a->dv, b->dv, bytes);
}

/* ---- bits ---- */

Test(block_mask, a_causal_one_gives_the_bits_of_causal_attention)
{
    bench b = begin(2);
    ls_attention_args want = arguments(T);
    want.causal = true;
    run(&b, &want);
    for (int64_t block = 16; block <= 256; block *= 2) {
        ls_attention_args x = masked(&b, block, causal);
        cr_expect(same_queries(&x, &want), "blocks of %d", (int)block);
        cr_expect(block < 64 || same_keys(&x, &want), "blocks of %d: dk, dv", (int)block);
        release(&x);
    }
    release(&want);
    end(&b);
}

Test(block_mask, its_block_size_is_not_in_the_bits)
{
    bench b = begin(2);
    ls_attention_args want = masked(&b, 64, scattered);
    for (int64_t block = 16; block <= 256; block *= 2) {
        ls_attention_args x = masked(&b, block, scattered);
        cr_expect(same_queries(&x, &want), "blocks of %d", (int)block);
        cr_expect(block < 64 || same_keys(&x, &want), "blocks of %d: dk, dv", (int)block);
        release(&x);
    }
    release(&want);
    end(&b);
}

Test(block_mask, a_query_does_not_see_what_others_see)
{
    bench b = begin(1);
    for (int64_t block = 16; block <= 64; block *= 4) {
        ls_attention_args x = masked(&b, block, scattered), y = masked(&b, block, even_scattered);
        const size_t row = HEADS * WIDTH;
        bool differs = false;
        for (size_t query = 0; query < T; query++) {
            bool same = !memcmp((float *)x.out + query * row, (float *)y.out + query * row, row * sizeof(float));
            cr_expect(same || query % 2, "blocks of %d: query %zu", (int)block, query);
            differs = differs || !same;
        }
        cr_assert(differs); /* the odd ones do see something else */
        release(&x), release(&y);
    }
    end(&b);
}

Test(block_mask, absent_blocks_are_never_read)
{
    bench b = begin(2);
    ls_attention_args want = masked(&b, 16, without_odd_squares), x = arguments(T);
    for (int64_t i = 0; i < T * KV_HEADS * WIDTH; i++)
        if (i / (KV_HEADS * WIDTH) / 16 % 2)
            ((float *)x.k)[i] = ((float *)x.v)[i] = NAN;
    x.mask = want.mask;
    run(&b, &x);
    cr_expect(same_queries(&x, &want) && same_keys(&x, &want));
    release(&x), release(&want);
    end(&b);
}

Test(block_mask, a_query_without_keys_gets_nothing_and_gives_nothing)
{
    bench b = begin(1);
    ls_attention_args x = masked(&b, 32, scattered);
    for (int64_t query = 5; query < T; query += 23)
        for (int64_t i = 0; i < HEADS * WIDTH; i++) {
            cr_assert_eq(((float *)x.out)[query * HEADS * WIDTH + i], 0);
            cr_assert_eq(((float *)x.dq)[query * HEADS * WIDTH + i], 0);
        }
    cr_expect_eq(((float *)x.lse)[5], -INFINITY);
    release(&x);
    end(&b);
}

/* ---- what it holds, and what it costs ---- */

Test(block_mask, the_cheapest_kind_is_chosen)
{
    bench b = begin(1);
    const ls_block_mask *mask = mask_of(b.masks, T, 64, causal);
    cr_expect_eq(mask->first[4], 4 * 5 / 2);
    cr_expect_eq(mask->bitmaps, 0);
    cr_expect_eq(mask->blocks[0].kind, LS_MASK_CAUSAL);
    cr_expect_eq(mask->blocks[1].kind, LS_MASK_WHOLE);
    cr_expect_eq(ls_block_mask_pairs(mask, 3), 3 * T * (T + 1) / 2);
    mask = mask_of(b.masks, T, 32, scattered);
    int64_t pairs = 0;
    for (int64_t query = 0; query < T; query++)
        for (int64_t key = 0; key < T; key++) {
            cr_assert_eq(ls_block_mask_at(mask, 0, query, key), scattered(NULL, 0, query, key));
            pairs += scattered(NULL, 0, query, key);
        }
    cr_expect_eq(ls_block_mask_pairs(mask, 1), pairs);
    end(&b);
}

Test(block_mask, memory_of_a_window_grows_linearly)
{
    size_t high[2];
    for (int i = 0; i < 2; i++) {
        bench b = begin(1);
        ls_attention_args x = arguments(512 << i);
        x.mask = mask_of(b.masks, 512 << i, 64, window);
        run(&b, &x);
        high[i] = ls_arena_high(b.scratch) + ls_arena_high(b.masks);
        release(&x);
        end(&b);
    }
    cr_assert_leq(high[1], 2 * high[0] + 4096);
}

Test(block_mask, a_bad_one_is_refused)
{
    bench b = begin(1);
    ls_block_mask *mask = NULL;
    cr_expect_eq(ls_block_mask_build(&mask, b.masks, 1, 8, 8, 48, causal, NULL), LS_EARG);
    cr_expect_eq(ls_block_mask_build(&mask, b.masks, 1, 8, 8, 512, causal, NULL), LS_EARG);
    cr_expect_eq(ls_block_mask_build(&mask, b.masks, 1, -1, 8, 16, causal, NULL), LS_EARG);
    cr_expect_eq(ls_block_mask_build(&mask, b.masks, 1, 0, 8, 16, causal, NULL), LS_OK, "no query: an empty mask");
    cr_expect_eq(ls_block_mask_pairs(mask, 1), 0);
    const ls_block_mask good = *mask_of(b.masks, 40, 16, causal);
    cr_expect_eq(ls_block_mask_check(&good, 2, 40, 40), LS_OK);
    cr_expect_eq(ls_block_mask_check(&good, 2, 40, 41), LS_ESHAPE);
    ls_block_mask bad = good;
    bad.rows = 3;
    cr_expect_eq(ls_block_mask_check(&bad, 2, 40, 40), LS_ESHAPE);
    const ls_mask_block beyond[] = {{0, 0}, {0, LS_MASK_WHOLE}, {3, LS_MASK_WHOLE}, {2, -3}};
    for (int i = 0; i < 4; i++) { /* in place of the second query block's second */
        ls_mask_block blocks[6];
        memcpy(blocks, good.blocks, sizeof blocks);
        blocks[2] = beyond[i];
        bad = good;
        bad.blocks = blocks;
        cr_expect_eq(ls_block_mask_check(&bad, 1, 40, 40), LS_EARG, "%d", i);
    }
    const int64_t falls[] = {0, 1, 0, 6};
    bad = good;
    bad.first = falls;
    cr_expect_eq(ls_block_mask_check(&bad, 1, 40, 40), LS_EARG);
    end(&b);
}
