/* Weights in twelve bits (tensor/cpu/tight.h): every bf16 number comes back, so products have the bits of weights that lie as they are. */
#include "tensor/cpu/cpu.h"
#include "tensor/cpu/few_rows.h"
#include "tensor/cpu/tight.h"
#include "tests/tensor/numbers.h"

enum { MOST_UNITS = 1040, SPARE = 3, COLUMNS = LS_TIGHT_COLUMNS, GROUP = 2 * LS_TIGHT_UNITS * COLUMNS };

/* ALIKE: of one power of two and its halves. SPREAD: any finite number. PATTERNS: all of 65536 bit patterns in turn. */
typedef enum { NORMAL, SOME_ZERO, ALIKE, SPREAD, PATTERNS, KINDS } kind;
static const char *const names[] = {"normal", "some zero", "alike", "spread", "patterns"};

static uint64_t drawn = 88172645463325252u;
static uint64_t draw(void)
{
    drawn ^= drawn << 13, drawn ^= drawn >> 7, drawn ^= drawn << 17;
    return drawn;
}

static uint16_t weight(kind of, int64_t i)
{
    double sum = 0; /* of twelve even numbers: nearly normal, of deviation 1 */
    for (int k = 0; k < 12; k++)
        sum += (double)(draw() >> 11) * 0x1p-53 - 0.5;
    uint16_t number;
    put(LS_BF16, &number, 0, 0.02 * sum);
    const uint16_t any = (uint16_t)(draw() >> 20);
    switch (of) {
    case SOME_ZERO: return i % 700 == 3 ? any & 0x8000 : number;
    case ALIKE: return (any & 0x807f) | (uint16_t)((i / GROUP % 250 + any / 128 % 4) << 7);
    case SPREAD: return (any & 0x7f80) == 0x7f80 ? any & 0x807f : any;
    case PATTERNS: return (uint16_t)(i * 2654435761u >> 5);
    default: return number;
    }
}

static uint16_t *weights(kind of, int64_t count)
{
    uint16_t *w = malloc((size_t)count * sizeof *w);
    for (int64_t i = 0; i < count; i++)
        w[i] = weight(of, i);
    return w;
}

static const ls_tight_kernels *kernels_here(void)
{
    const ls_tight_kernels *kernels = ls_tight_kernels_for(ls_cpu_best_level());
    if (!kernels)
        cr_skip_test("this processor has no AVX512_BF16 or no AVX512_VBMI");
    return kernels;
}

/* Which of two numbers that are none a sum keeps is the compiler's choice. */
static bool alike(const float *a, const float *b, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (memcmp(a + i, b + i, sizeof *a) != 0 && !(isnan(a[i]) && isnan(b[i])))
            return false;
    return true;
}

Test(tight, a_panel_gives_the_bits_of_weights_as_they_lie)
{
    const ls_tight_kernels *tight = kernels_here();
    const ls_few_rows_kernels *plain = ls_few_rows_kernels_for(ls_cpu_best_level(), LS_BF16);
    static const int64_t units[] = {8, 16, 24, 256, 264, 512, 776, MOST_UNITS};
    const int64_t ld = MOST_UNITS + SPARE;
    float *x = numbers(LS_BF16, 2 * LS_TIGHT_ROWS * ld, 3, 1), want[LS_TIGHT_ROWS * COLUMNS], got[LS_TIGHT_ROWS * COLUMNS];
    for (kind of = 0; of < KINDS; of++) {
        uint16_t *w = weights(of, 2 * COLUMNS * ld);
        const float *as_units = (const float *)(const void *)w;
        for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
            const int64_t k = units[u];
            uint8_t *panel = malloc((size_t)ls_tight_panel_bytes(k)); /* no byte more: ASan sees what is beyond */
            tight->pack(k, as_units, ld, panel);
            for (int64_t m = 1; m <= LS_TIGHT_ROWS; m++) {
                memset(want, 7, sizeof want), memset(got, 7, sizeof got);
                plain->multiply(LS_F32, m, COLUMNS, k, x, ld, w, ld, want, COLUMNS);
                tight->multiply(m, k, x, ld, panel, m % 2 ? NULL : panel, got, COLUMNS);
                cr_assert(alike(got, want, LS_TIGHT_ROWS * COLUMNS), "%s, %d units, %d rows", names[of], (int)k, (int)m);
            }
            free(panel);
        }
        free(w);
    }
    free(x);
}

/* What it is for: weights as they are drawn, and trained, take twelve bits in nearly all groups. */
Test(tight, few_groups_of_normal_weights_keep_sixteen_bits)
{
    enum { GROUPS = MOST_UNITS / LS_TIGHT_UNITS, PANELS = 20, RAW = 255 };
    const ls_tight_kernels *tight = kernels_here();
    uint8_t *panel = malloc((size_t)ls_tight_panel_bytes(MOST_UNITS));
    int raw = 0, of_spread = 0;
    for (int i = 0; i < PANELS; i++) {
        uint16_t *w = weights(NORMAL, 2 * COLUMNS * MOST_UNITS), *spread = weights(SPREAD, 2 * COLUMNS * MOST_UNITS);
        tight->pack(MOST_UNITS, (const float *)(const void *)w, MOST_UNITS, panel);
        for (int g = 0; g < GROUPS; g++)
            raw += panel[g] == RAW;
        tight->pack(MOST_UNITS, (const float *)(const void *)spread, MOST_UNITS, panel);
        for (int g = 0; g < GROUPS; g++)
            of_spread += panel[g] == RAW;
        free(w), free(spread);
    }
    cr_expect_lt(raw, GROUPS * PANELS / 10, "%d of %d", raw, GROUPS * PANELS);
    cr_expect_eq(of_spread, GROUPS * PANELS, "numbers of all sizes fit no window");
    free(panel);
}

typedef struct {
    int64_t m, n, k;
    bool fits; /* else it is multiplied as ever */
} shape;

/* Columns in whole sixteens and a rest, chunks of k; no whole groups, too many rows. */
static const shape shapes[] = {{1, 64, 16, true},    {1, 100, 768, true},   {4, 333, 1040, true},  {3, 2000, 48, true},
                               {1, 515, 1552, true}, {2, 100, 770, false}, {5, 128, 256, false}};

static void multiply(ls_device *device, ls_arena *scratch, const shape *s, const void *x, const void *w, const float *bias, uint16_t *y)
{
    const ls_matmul_args args = {.batch = 1, .m = s->m, .n = s->n, .k = s->k, .trans_b = true, .type_ab = LS_BF16, .type_c = LS_BF16, .type_bias = LS_F32,
                                 .a = x, .b = w, .c = y, .bias = bias, .lda = s->k, .ldb = s->k, .ldc = s->n, .weights_b = true, .activation = LS_ACT_GELU_TANH};
    memset(y, 7, (size_t)(s->m * s->n) * sizeof *y);
    cr_assert_eq(device->matmul(device, &args, scratch), LS_OK, "%s", ls_fail_sentence());
}

/* Of each row, the first `columns`. */
static bool same(const shape *s, int64_t columns, const uint16_t *a, const uint16_t *b)
{
    for (int64_t row = 0; row < s->m; row++)
        if (memcmp(a + row * s->n, b + row * s->n, (size_t)columns * sizeof *a) != 0)
            return false;
    return true;
}

/* Held, then changed where nobody may: the old result shows that the held ones are used; held anew, or let go, the new one comes. */
Test(tight, products_of_held_weights_have_the_same_bits)
{
    const bool here = ls_tight_kernels_for(ls_numerics_level());
    for (int threads = 1; threads <= 3; threads += 2) {
        ls_device *device = device_of(threads);
        ls_arena *scratch = scratch_arena();
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            const shape *s = &shapes[i];
            const size_t bytes = (size_t)(s->m * s->n) * sizeof(uint16_t), size = (size_t)(s->n * s->k) * sizeof(uint16_t);
            uint16_t *x = numbers(LS_BF16, s->m * s->k, 1, 1), *w = weights(SOME_ZERO, s->n * s->k), *other = weights(NORMAL, s->n * s->k);
            float *bias = numbers(LS_F32, s->n, 2, 1);
            uint16_t *before = malloc(bytes), *after = malloc(bytes), *y = malloc(bytes);
            multiply(device, scratch, s, x, other, bias, after);
            multiply(device, scratch, s, x, w, bias, before);
            cr_expect_eq(ls_hold_for_decoding(device, LS_BF16, s->n * s->k) > 0, here);
            for (int turn = 0; turn < 3; turn++) {
                multiply(device, scratch, s, x, w, bias, y);
                const bool changed = turn == 2, held = here && s->fits;
                cr_expect(same(s, changed && held ? s->n / COLUMNS * COLUMNS : s->n, y, changed && !held ? after : before), "%d threads, shape %d, turn %d", threads,
                          (int)i, turn);
                if (turn == 1)
                    memcpy(w, other, size);
            }
            ls_hold_for_decoding(device, LS_BF16, s->n * s->k);
            multiply(device, scratch, s, x, w, bias, y);
            cr_expect_eq(memcmp(y, after, bytes), 0, "%d threads, shape %d, held anew", threads, (int)i);
            w[0] ^= 0x4000;
            multiply(device, scratch, s, x, w, bias, before);
            ls_hold_for_decoding(device, LS_BF16, 0);
            multiply(device, scratch, s, x, w, bias, y);
            cr_expect_neq(memcmp(y, after, bytes), 0, "%d threads, shape %d, let go", threads, (int)i);
            free(x), free(w), free(other), free(bias), free(before), free(after), free(y);
        }
        cr_expect_eq(ls_hold_for_decoding(device, LS_BF16, (int64_t)1 << 38), 0, "more than a device has room for");
        cr_expect_eq(ls_hold_for_decoding(device, LS_F32, 1000), 0, "nothing is gained in f32");
        ls_arena_free(scratch);
        device_done(device);
    }
}
