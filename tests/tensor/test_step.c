/* A training step on the real device: nothing from the heap after the first one, and the same bits on any number of
 * threads, in f32, bf16 and f16, plain and with recompute scopes.
 *
 * The heap is watched by taking malloc's place: this program's definitions come before the C library's, for the vendor
 * library as well. So does mmap, by which a library could go around malloc. */
#include "tests/tensor/small_model.h"
#include "tests/tensor/stored_types.h"

#include <criterion/criterion.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_bool watching;
static atomic_int calls;

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* they take malloc's place themselves */
#define WATCHES_HEAP 1

/* glibc's own names for what these replace. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *block, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);

static void count_call(void)
{
    if (atomic_load_explicit(&watching, memory_order_relaxed))
        atomic_fetch_add(&calls, 1);
}

void *malloc(size_t bytes)
{
    count_call();
    return __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    count_call();
    return __libc_calloc(count, bytes);
}

void *realloc(void *block, size_t bytes)
{
    count_call();
    return __libc_realloc(block, bytes);
}

void *memalign(size_t alignment, size_t bytes)
{
    count_call();
    return __libc_memalign(alignment, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    return memalign(alignment, bytes);
}

int posix_memalign(void **block, size_t alignment, size_t bytes)
{
    *block = memalign(alignment, bytes);
    return *block ? 0 : 12;
}

void *mmap(void *at, size_t bytes, int protection, int flags, int file, off_t offset)
{
    count_call();
    return (void *)syscall(SYS_mmap, at, bytes, protection, flags, file, offset);
}
#else
#define WATCHES_HEAP 0
#endif

/* ---- a device and a tape with some threads ---- */

typedef struct {
    ls_team *team;
    ls_device *device;
    ls_tape *tape;
} workbench;

static workbench open_workbench(int threads)
{
    workbench b;
    cr_assert_eq(ls_team_create(&b.team, threads, 1), LS_OK);
    cr_assert_eq(ls_device_create_cpu(&b.device, b.team), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_tape_create(&b.tape, b.device, 1 << 28), LS_OK);
    return b;
}

static void close_workbench(workbench *b)
{
    ls_tape_free(b->tape);
    b->device->free(b->device);
    ls_team_free(b->team);
}

static small_model make_model(ls_type type, bool recompute, bool sparse)
{
    small_model model = {.type = type, .layers = 2, .tied = !sparse, .recompute = recompute, .dropout = 0.1};
    small_model_create(&model);
    model.parameter[0].sparse_rows = sparse;
    return model;
}

static const struct {
    ls_type type;
    bool recompute, sparse;
} kinds[] = {{LS_F32, false, false},
             {LS_F32, true, false},
             {LS_BF16, false, false},
             {LS_BF16, true, true},
             {LS_F16, true, false},
             {LS_F32, false, true}};

/* ---- the properties ---- */

static int heap_calls_of_second_step(ls_type type, bool recompute, bool sparse, void (*between)(void))
{
    workbench b = open_workbench(2);
    small_model model = make_model(type, recompute, sparse);
    cr_assert_eq(small_model_step(&model, b.tape), LS_OK, "%s", ls_fail_sentence());
    atomic_store(&calls, 0);
    atomic_store(&watching, true);
    for (int step = 0; step < 3; step++)
        small_model_step(&model, b.tape);
    if (between)
        between();
    atomic_store(&watching, false);
    cr_assert_eq(ls_tape_status(b.tape), LS_OK);
    small_model_free(&model);
    close_workbench(&b);
    return atomic_load(&calls);
}

static void one_allocation(void)
{
    void *volatile block = malloc(1);
    free(block);
}

Test(step, takes_nothing_from_the_heap_after_the_first)
{
    if (!WATCHES_HEAP)
        cr_skip_test("the sanitizer has malloc's place");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        cr_expect_eq(heap_calls_of_second_step(kinds[i].type, kinds[i].recompute, kinds[i].sparse, NULL), 0,
                     "%s%s%s: %d calls", ls_type_name(kinds[i].type), kinds[i].recompute ? ", recompute" : "",
                     kinds[i].sparse ? ", sparse rows" : "", atomic_load(&calls));
    cr_assert_eq(heap_calls_of_second_step(LS_F32, false, false, one_allocation), 1, "the watch sees an allocation");
}

Test(step, bits_do_not_depend_on_threads)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        small_model want = make_model(kinds[i].type, kinds[i].recompute, kinds[i].sparse);
        for (int threads = 1; threads <= 4; threads++) {
            workbench b = open_workbench(threads);
            small_model got = make_model(kinds[i].type, kinds[i].recompute, kinds[i].sparse);
            cr_assert_eq(small_model_step(threads == 1 ? &want : &got, b.tape), LS_OK, "%s", ls_fail_sentence());
            const char *first = NULL;
            if (threads > 1)
                cr_expect(small_model_same_gradients(&want, &got, &first), "%s: %s differs on %d threads",
                          ls_type_name(kinds[i].type), first, threads);
            small_model_free(&got);
            close_workbench(&b);
        }
        small_model_free(&want);
    }
}

Test(step, recompute_keeps_the_bits)
{
    for (ls_type type = LS_F32; type <= LS_F16; type = stored_after(type)) {
        workbench b = open_workbench(2);
        small_model plain = make_model(type, false, false), scoped = make_model(type, true, false);
        cr_assert_eq(small_model_step(&plain, b.tape), LS_OK);
        cr_assert_eq(small_model_step(&scoped, b.tape), LS_OK);
        const char *first = NULL;
        cr_expect(small_model_same_gradients(&plain, &scoped, &first), "%s: %s differs", ls_type_name(type), first);
        small_model_free(&plain);
        small_model_free(&scoped);
        close_workbench(&b);
    }
}
