/* A step takes nothing from the heap: no call of the allocator at all while the matrix kernels run, not even one that
 * is given back at once. The allocator is counted by standing in front of it, which ASan does not allow. */
#include "tests/tensor/numbers.h"

#include <errno.h>
#include <stdatomic.h>

static atomic_long heap_calls;

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
enum { COUNTED = 1 };
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *block, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);

void *malloc(size_t bytes)
{
    atomic_fetch_add(&heap_calls, 1);
    return __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    atomic_fetch_add(&heap_calls, 1);
    return __libc_calloc(count, bytes);
}

void *realloc(void *block, size_t bytes)
{
    atomic_fetch_add(&heap_calls, 1);
    return __libc_realloc(block, bytes);
}

int posix_memalign(void **block, size_t alignment, size_t bytes)
{
    atomic_fetch_add(&heap_calls, 1);
    *block = __libc_memalign(alignment, bytes);
    return *block ? 0 : ENOMEM;
}
#else
enum { COUNTED = 0 };
#endif

Test(heap, is_counted)
{
    long before = atomic_load(&heap_calls);
    void *volatile block = malloc(10);
    free(block);
    cr_assert_eq(atomic_load(&heap_calls) - before, COUNTED);
}

/* Runs f twice; the second time must leave the heap alone. */
static long calls_of(ls_status (*f)(ls_device *, void *, ls_arena *), ls_device *device, void *args, ls_arena *scratch)
{
    cr_assert_eq(f(device, args, scratch), LS_OK, "%s", ls_fail_sentence());
    long before = atomic_load(&heap_calls);
    ls_status status = f(device, args, scratch);
    long calls = atomic_load(&heap_calls) - before;
    cr_assert_eq(status, LS_OK, "%s", ls_fail_sentence());
    return calls;
}

static ls_status products(ls_device *device, void *args, ls_arena *scratch)
{
    return device->matmul(device, args, scratch);
}

static ls_status attention_both_ways(ls_device *device, void *args, ls_arena *scratch)
{
    ls_status status = device->attention(device, args, scratch);
    return status == LS_OK ? device->attention_backward(device, args, scratch) : status;
}

static ls_status cross_entropy(ls_device *device, void *args, ls_arena *scratch)
{
    return device->cross_entropy(device, args, scratch);
}

Test(heap, is_left_alone_by_products_attention_and_cross_entropy)
{
    enum { ROWS = 130, DEEP = 80, WORDS = 3000, HEADS = 4 };
    ls_device *device = device_of(2);
    ls_arena *scratch = scratch_arena();
    for (ls_type type = LS_F32; type <= LS_F16; type = stored_after(type)) {
        void *x = numbers(type, ROWS * DEEP, 1, 1), *w = numbers(type, WORDS * DEEP, 2, 1),
             *y = array_of(type, ROWS * WORDS), *z = array_of(type, ROWS * DEEP);
        float *dw = array_of(LS_F32, WORDS * DEEP), *dx = array_of(LS_F32, ROWS * DEEP),
              *lse = array_of(LS_F32, ROWS * HEADS), *losses = array_of(LS_F32, ROWS);
        int32_t labels[ROWS] = {0};
        ls_matmul_args product = {.batch = 1,
                                  .m = ROWS,
                                  .n = WORDS,
                                  .k = DEEP,
                                  .trans_b = true,
                                  .type_ab = type,
                                  .type_c = type,
                                  .a = x,
                                  .b = w,
                                  .c = y,
                                  .lda = DEEP,
                                  .ldb = DEEP,
                                  .ldc = WORDS,
                                  .activation = LS_ACT_SILU};
        cr_expect_eq(calls_of(products, device, &product, scratch), 0, "matmul, %s", ls_type_name(type));
        ls_attention_args attention = {.type = type,
                                       .batch = 1,
                                       .queries = ROWS,
                                       .keys = ROWS,
                                       .heads = HEADS,
                                       .kv_heads = HEADS,
                                       .width = DEEP / HEADS,
                                       .causal = true,
                                       .scale = 0.2,
                                       .q = x,
                                       .k = x,
                                       .v = x,
                                       .out = z,
                                       .lse = lse,
                                       .dout = x,
                                       .dq = y,
                                       .dk = y,
                                       .dv = y};
        cr_expect_eq(calls_of(attention_both_ways, device, &attention, scratch), 0, "attention, %s",
                     ls_type_name(type));
        ls_cross_entropy_args loss = {.type = type,
                                      .rows = ROWS,
                                      .width = DEEP,
                                      .vocabulary = WORDS,
                                      .x = x,
                                      .w = w,
                                      .labels = labels,
                                      .losses = losses,
                                      .dx = dx,
                                      .dw = dw};
        cr_expect_eq(calls_of(cross_entropy, device, &loss, scratch), 0, "cross-entropy, %s", ls_type_name(type));
        free(x), free(w), free(y), free(z), free(dw), free(dx), free(lse), free(losses);
    }
    ls_arena_free(scratch);
    device_done(device);
}
