/* The inner kernels, level by level: what tensor/cpu/product.h and softmax_tile.h promise about bits. */
#include "tensor/cpu/cpu.h"
#include "tensor/cpu/few_rows.h"
#include "tensor/cpu/product.h"
#include "tensor/cpu/softmax_tile.h"
#include "tests/tensor/numbers.h"

enum { ROWS = 20, K = 256, WIDTH = LS_PRODUCT_MAX_WIDTH };

/* One chain of fused multiply-adds, ascending: `generic` rounds products as well. */
static float chain(ls_numerics level, int64_t k, const float *a, int64_t a_k, const float *b, int64_t b_row)
{
    float sum = 0;
    for (int64_t p = 0; p < k; p++) {
        volatile float product = a[p * a_k] * b[p * b_row];
        sum = level == LS_NUMERICS_GENERIC ? sum + product : fmaf(a[p * a_k], b[p * b_row], sum);
    }
    return sum;
}

Test(product, each_element_is_one_chain_in_ascending_k_on_every_level)
{
    float *a = numbers(LS_F32, ROWS * K, 1, 1), *b = numbers(LS_F32, K * WIDTH, 2, 1), c[ROWS * WIDTH];
    for (ls_numerics level = LS_NUMERICS_GENERIC; level <= ls_cpu_best_level(); level++) {
        const ls_product_kernels *kernels = ls_product_kernels_of(level);
        for (int transposed = 0; transposed < 2; transposed++)
            for (int64_t m = 1; m <= ROWS; m++)
                for (int64_t k = 1; k <= K; k += 51) {
                    int64_t a_row = transposed ? 1 : K, a_k = transposed ? ROWS : 1;
                    for (int i = 0; i < ROWS * WIDTH; i++)
                        c[i] = 7;
                    kernels->multiply(m, k, a, a_row, a_k, b, WIDTH, c, WIDTH, m % 2);
                    for (int64_t i = 0; i < ROWS; i++)
                        for (int64_t j = 0; j < WIDTH; j++) {
                            bool inside = i < m && j < kernels->width;
                            float sum = inside ? chain(level, k, a + i * a_row, a_k, b + j, WIDTH) : 0,
                                  want = !inside ? 7
                                         : m % 2 ? 7 + sum
                                                 : sum;
                            cr_assert_eq(memcmp(&c[i * WIDTH + j], &want, sizeof want), 0,
                                         "level %d, m %d, k %d: (%d, %d)", level, (int)m, (int)k, (int)i, (int)j);
                        }
                }
    }
    free(a), free(b);
}

/* Half as wide, and k in pieces whose rows of B lie apart: no other bits, and nothing written beside. */
Test(product, half_a_panel_and_pieces_of_k_are_the_same_chains)
{
    enum { PIECES = 3 };
    float *a = numbers(LS_F32, ROWS * K, 1, 1), *b = numbers(LS_F32, K * WIDTH, 2, 1), whole[ROWS * WIDTH], c[ROWS * WIDTH], packed[K * WIDTH];
    for (ls_numerics level = LS_NUMERICS_GENERIC; level <= ls_cpu_best_level(); level++) {
        const ls_product_kernels *kernels = ls_product_kernels_of(level);
        for (int64_t m = 1; m <= ROWS; m++) {
            const int64_t k = 10 + m, half = kernels->width / 2;
            for (int i = 0; i < ROWS * WIDTH; i++)
                whole[i] = c[i] = 7;
            kernels->multiply(m, k, a, K, 1, b, WIDTH, whole, WIDTH, m % 2);
            kernels->multiply_half(m, k, a, K, 1, b, WIDTH, c, WIDTH, m % 2);
            for (int64_t i = 0; i < ROWS * WIDTH; i++) {
                const float want = i % WIDTH < half ? whole[i] : 7;
                cr_assert_eq(memcmp(&c[i], &want, sizeof want), 0, "level %d, m %d: %d", level, (int)m, (int)i);
            }
            /* b's first rows, then from the twentieth, then from the thirtieth on */
            const ls_product_run run[PIECES] = {{0, 3}, {20 * WIDTH, 1}, {30 * WIDTH, k - 4}};
            for (int64_t p = 0; p < k; p++)
                memcpy(packed + p * WIDTH, b + (p < 3 ? p : p < 4 ? 20 : 26 + p) * WIDTH, WIDTH * sizeof *b);
            for (int narrow = 0; narrow < 2 && m <= kernels->rows; narrow++) {
                for (int i = 0; i < ROWS * WIDTH; i++)
                    whole[i] = c[i] = 7;
                kernels->multiply(m, k, a, K, 1, packed, WIDTH, whole, WIDTH, true);
                kernels->multiply_runs(m, narrow ? half : half + 1, PIECES, run, a, K, 1, b, WIDTH, c, WIDTH, true);
                for (int64_t i = 0; i < ROWS * WIDTH; i++) {
                    const float want = i % WIDTH < (narrow ? half : kernels->width) ? whole[i] : 7;
                    cr_assert_eq(memcmp(&c[i], &want, sizeof want), 0, "level %d, m %d, narrow %d: %d", level, (int)m, narrow, (int)i);
                }
            }
        }
    }
    free(a), free(b);
}

/* A unit is a pair: the second number's product is added first, each rounded. */
static float chain_of_pairs(int64_t k, const uint16_t *a, const uint16_t *b, int64_t ldb)
{
    float sum = 0;
    for (int64_t p = 0; p < k; p += 2)
        for (int64_t q = p + 1; q >= p; q--)
            if (q < k)
                sum = fmaf((float)get(LS_BF16, a, q), (float)get(LS_BF16, b, q * ldb), sum);
    return sum;
}

Test(product, pairs_of_bf16_are_one_chain_as_well)
{
    if (ls_cpu_best_level() < LS_NUMERICS_AVX512_BF16)
        cr_skip_test("this processor does not multiply bf16");
    const ls_product_kernels *kernels = ls_product_kernels_for(LS_NUMERICS_AVX512_BF16, LS_BF16);
    cr_assert_eq(kernels->unit, 2);
    uint16_t *a = numbers(LS_BF16, ROWS * K, 1, 1), *b = numbers(LS_BF16, K * WIDTH, 2, 1);
    float panel[K / 2 * WIDTH], rows[ROWS * K / 2], c[ROWS * WIDTH];
    for (int64_t k = 1; k <= K; k += 17) {
        const int64_t units = (k + 1) / 2;
        memset(rows, 0, sizeof rows);
        for (int64_t i = 0; i < ROWS; i++)
            memcpy(rows + i * units, a + i * K, (size_t)k * sizeof *a);
        kernels->pack(LS_BF16, false, k, WIDTH, b, WIDTH, panel);
        kernels->multiply(ROWS, units, rows, units, 1, panel, WIDTH, c, WIDTH, false);
        for (int64_t i = 0; i < ROWS; i++)
            for (int64_t j = 0; j < WIDTH; j++) {
                const float want = chain_of_pairs(k, a + i * K, b + j, WIDTH);
                cr_assert_eq(c[i * WIDTH + j], want, "k %d: (%d, %d): %.9g, not %.9g", (int)k, (int)i, (int)j,
                             (double)c[i * WIDTH + j], (double)want);
            }
    }
    free(a), free(b);
}

/* Lines hold the matrix's numbers; nothing else is written, nothing beyond the matrix read. */
Test(product, lines_are_copied_alike_on_every_level)
{
    enum { LD = 71, TO = 75, MOST = 18 * TO };
    for (ls_numerics level = LS_NUMERICS_GENERIC; level <= ls_cpu_best_level(); level++)
        for (ls_type type = LS_F32; type <= LS_F16; type = stored_after(type))
            for (int64_t m = 1; m <= LD; m++)
                for (int64_t k = 1; k <= 18; k += m % 4 ? 5 : 1) {
                    const ls_product_kernels *kernels = ls_product_kernels_for(level, type);
                    const int64_t unit = kernels->unit, units = (k + unit - 1) / unit;
                    char *a = numbers(type, (k - 1) * LD + m, 5, 1); /* no more than is there: ASan sees overruns */
                    float to[MOST];
                    for (int i = 0; i < MOST; i++)
                        to[i] = 7;
                    kernels->pack_lines(type, m, k, a, LD, to, TO);
                    for (int64_t p = 0; p < units * unit; p++)
                        for (int64_t i = 0; i < m; i++) {
                            const float *at = to + p / unit * TO + i;
                            const float got = unit == 2 ? (float)get(LS_BF16, at, p % 2) : *at;
                            const float want = p < k ? (float)get(type, a, p * LD + i) : 0;
                            cr_assert_eq(got, want, "level %d, %s, %d x %d: (%d, %d): %g, not %g", level, ls_type_name(type), (int)m, (int)k,
                                         (int)i, (int)p, (double)got, (double)want);
                        }
                    for (int64_t i = 0; i < MOST; i++)
                        cr_assert(to[i] == 7 || (i % TO < m && i / TO < units), "level %d, %s, %d x %d: wrote beside the lines", level,
                                  ls_type_name(type), (int)m, (int)k);
                    free(a);
                }
}

/* Whole blocks of columns and a rest, steps of k and a rest, chunks, each number of rows that a level has a function for. */
Test(product, few_rows_are_the_same_chains_on_every_level)
{
    enum { N = 37, UNITS = 600 };
    float *x = numbers(LS_F32, LS_FEW_ROWS * UNITS, 1, 1), c[LS_FEW_ROWS * N];
    for (ls_numerics level = LS_NUMERICS_GENERIC; level <= ls_cpu_best_level(); level++)
        for (ls_type type = LS_F32; type <= LS_F16; type = stored_after(type)) {
            const bool pairs = ls_product_kernels_for(level, type)->unit == 2;
            const ls_few_rows_kernels *kernels = ls_few_rows_kernels_for(level, type);
            void *w = numbers(type, 2 * N * UNITS, 2, 1);
            const void *left = pairs ? numbers(LS_BF16, 2 * LS_FEW_ROWS * UNITS, 3, 1) : (void *)x;
            for (int64_t k = UNITS - 3; k <= UNITS; k += 3)
                for (int64_t m = 1; m <= kernels->rows; m++) {
                    kernels->multiply(pairs ? LS_F32 : type, m, N, k, left, UNITS, w, UNITS, c, N);
                    for (int64_t i = 0; i < m; i++)
                        for (int64_t j = 0; j < N; j++) {
                            float want = 0;
                            for (int64_t first = 0; first < k; first += LS_PRODUCT_CHUNK) {
                                const int64_t units = k - first < LS_PRODUCT_CHUNK ? k - first : LS_PRODUCT_CHUNK;
                                float row[LS_PRODUCT_CHUNK];
                                for (int64_t p = 0; p < units && !pairs; p++)
                                    row[p] = (float)get(type, w, j * UNITS + first + p);
                                const uint16_t *a = (const uint16_t *)left + 2 * (i * UNITS + first),
                                               *b = (const uint16_t *)w + 2 * (j * UNITS + first);
                                want += pairs ? chain_of_pairs(2 * units, a, b, 1) : chain(level, units, x + i * UNITS + first, 1, row, 1);
                            }
                            cr_assert_eq(c[i * N + j], want, "level %d, %s, m %d, k %d: (%d, %d): %.9g, not %.9g", level, ls_type_name(type),
                                         (int)m, (int)k, (int)i, (int)j, (double)c[i * N + j], (double)want);
                        }
                }
            free(w);
            if (pairs)
                free((void *)left);
        }
    free(x);
}

/* c [16 * blocks, n] by the other kernel, which the test above knows. */
static void by_sixteen_rows(const ls_few_rows_kernels *kernels, int64_t blocks, int64_t n, int64_t k, const float *x, int64_t ldx, const float *w, int64_t ldw,
                            float *c)
{
    for (int64_t i = 0; i < blocks; i++)
        kernels->multiply(LS_F32, 16, n, k, x + 16 * i * ldx, ldx, w, ldw, c + 16 * i * n, n);
}

Test(product, turned_rows_are_the_same_chains)
{
    enum { N = 37, UNITS = 600, MOST = 32 };
    for (ls_numerics level = LS_NUMERICS_GENERIC; level <= ls_cpu_best_level(); level++)
        for (ls_type type = LS_F32; type <= LS_F16; type = stored_after(type)) {
            const ls_few_rows_kernels *kernels = ls_few_rows_kernels_for(level, type);
            const int64_t unit = ls_product_kernels_for(level, type)->unit;
            if (!kernels->turned_rows || (type != LS_F32 && unit == 1))
                continue;
            float *x = numbers(type, unit * MOST * UNITS, 7, 1), *w = numbers(type, unit * N * UNITS, 8, 1);
            static float turned[UNITS * MOST], want[MOST * N], c[N * MOST];
            for (int64_t k = UNITS - 3; k <= UNITS; k += 3)
                for (int64_t width = 16; width <= kernels->turned_rows; width += 16) {
                    for (int64_t p = 0; p < k; p++)
                        for (int64_t r = 0; r < width; r++)
                            memcpy(turned + p * width + r, x + r * UNITS + p, sizeof *x);
                    by_sixteen_rows(kernels, width / 16, N, k, x, UNITS, w, UNITS, want);
                    kernels->multiply_turned(width, N, k, turned, w, UNITS, c);
                    for (int64_t j = 0; j < N; j++)
                        for (int64_t r = 0; r < width; r++)
                            cr_assert_eq(c[j * width + r], want[r * N + j], "level %d, %s, %d rows: (%d, %d)", level, ls_type_name(type), (int)width,
                                         (int)r, (int)j);
                }
            free(x), free(w);
        }
}

Test(product, packing_turns_widens_and_pads)
{
    enum { LD = 300 };
    float panel[K * WIDTH];
    for (ls_numerics level = LS_NUMERICS_GENERIC; level <= ls_cpu_best_level(); level++) {
        const ls_product_kernels *kernels = ls_product_kernels_of(level);
        for (ls_type type = LS_F32; type <= LS_F16; type = stored_after(type)) {
            void *b = numbers(type, LD * LD, 3, 1);
            for (int transposed = 0; transposed < 2; transposed++)
                for (int64_t n = 1; n <= kernels->width; n++)
                    for (int64_t k = 1; k <= 33; k += 4) {
                        kernels->pack(type, transposed, k, n, b, LD, panel);
                        for (int64_t p = 0; p < k; p++)
                            for (int64_t j = 0; j < kernels->width; j++) {
                                double want = j < n ? get(type, b, transposed ? j * LD + p : p * LD + j) : 0;
                                cr_assert_eq((double)panel[p * kernels->width + j], want, "level %d, %s: (%d, %d)",
                                             level, ls_type_name(type), (int)p, (int)j);
                            }
                    }
            free(b);
        }
    }
}

/* Some see little, and nothing of the second tile; some nothing of the first; the rest all of it. */
static bool sees(int query, int tile, int key)
{
    if (query < 5)
        return tile == 0 && key <= query;
    return query < 28 ? tile == 0 || key < query : tile == 1 && key % 3 == 0;
}

Test(product, a_running_softmax_agrees_with_f64_and_hides_the_unseen)
{
    enum { KEYS = 40, QUERIES = 32 };
    for (ls_numerics level = LS_NUMERICS_GENERIC; level <= ls_cpu_best_level(); level++) {
        const ls_softmax_tile_kernels *kernels = ls_softmax_tile_kernels_of(level);
        float *score = numbers(LS_F32, 2 * KEYS * QUERIES, 4, 8), m[QUERIES], l[QUERIES], shrink[QUERIES],
              *s = malloc(2 * KEYS * QUERIES * sizeof *s);
        memcpy(s, score, 2 * KEYS * QUERIES * sizeof *s);
        uint32_t seen[2][2 * QUERIES] = {0};
        for (int i = 0; i < QUERIES; i++) {
            m[i] = -INFINITY;
            l[i] = 0;
            for (int j = 0; j < 2 * KEYS; j++)
                if (sees(i, j / KEYS, j % KEYS))
                    seen[j / KEYS][j % KEYS / 32 * QUERIES + i] |= UINT32_C(1) << j % KEYS % 32;
        }
        for (int tile = 0; tile < 2; tile++)
            kernels->online(KEYS, QUERIES, s + tile * KEYS * QUERIES, QUERIES, (const int32_t *)seen[tile], m, l,
                            shrink);
        for (int i = 0; i < QUERIES; i++) {
            double top = -INFINITY, sum = 0;
            for (int j = 0; j < 2 * KEYS; j++)
                if (sees(i, j / KEYS, j % KEYS))
                    top = fmax(top, (double)score[j * QUERIES + i]);
            for (int j = 0; j < 2 * KEYS; j++) {
                bool is_seen = sees(i, j / KEYS, j % KEYS);
                sum += is_seen ? exp((double)score[j * QUERIES + i] - top) : 0;
                if (!is_seen)
                    cr_assert_eq(s[j * QUERIES + i], 0);
            }
            cr_expect_eq((double)m[i], top);
            cr_expect_leq(fabs((double)l[i] / sum - 1), 1e-6, "level %d, query %d: %g, wanted %g", level, i,
                          (double)l[i], sum);
            if (i < 5)
                cr_expect_eq(shrink[i], 1, "nothing new: nothing shrinks");
        }
        free(score), free(s);
    }
}

/* A number that is none, an infinite one, and zeros of both signs among the scores; some queries see nothing of a tile. */
Test(product, a_softmax_along_a_row_has_the_bits_of_the_one_down_a_lane)
{
    enum { QUERIES = 32, MOST = 64 };
    for (int row = LS_NUMERICS_GENERIC; row <= (int)ls_cpu_best_level() + 1; row++) { /* the last: in pairs */
        const bool pairs = row > (int)ls_cpu_best_level();
        const ls_softmax_tile_kernels *kernels = pairs ? ls_softmax_tile_kernels_for(ls_cpu_best_level(), LS_BF16) : ls_softmax_tile_kernels_of((ls_numerics)row);
        if (pairs && !kernels->online_pairs)
            return; /* this processor does not multiply pairs */
        float m[2][QUERIES], l[2][QUERIES], shrink[2][QUERIES], units[MOST / 2 * QUERIES];
        for (int i = 0; i < QUERIES; i++)
            m[0][i] = m[1][i] = -INFINITY, l[0][i] = l[1][i] = 0;
        for (int64_t keys = 1; keys <= MOST; keys += keys < 20 ? 1 : 11) {
            float *s = numbers(LS_F32, MOST * QUERIES, (uint64_t)keys, 8);
            int32_t seen[2 * QUERIES];
            for (int i = 0; i < 2 * QUERIES; i++)
                seen[i] = i % QUERIES < 4 ? 0 : (int32_t)(UINT32_C(0x9e3779b9) * (uint32_t)(i + keys));
            s[7] = NAN, s[8] = INFINITY, s[9] = 0, s[10] = -0.0f, s[QUERIES + 9] = -0.0f, s[QUERIES + 11] = -INFINITY;
            float alone[QUERIES][MOST];
            for (int i = 0; i < QUERIES; i++)
                for (int64_t j = 0; j < MOST; j++)
                    alone[i][j] = j < keys ? s[j * QUERIES + i] : NAN; /* what is behind the keys is not looked at */
            const bool masked = keys % 3 == 0;
            if (pairs)
                kernels->online_pairs(keys, QUERIES, 0.375f, s, masked ? seen : NULL, m[0], l[0], shrink[0], units);
            else
                kernels->online(keys, QUERIES, s, QUERIES, masked ? seen : NULL, m[0], l[0], shrink[0]);
            for (int i = 0; i < QUERIES; i++) {
                uint16_t rounded[MOST], pair[2];
                const uint64_t bits = masked ? (uint32_t)seen[i] | (uint64_t)(uint32_t)seen[QUERIES + i] << 32 : UINT64_MAX;
                kernels->online_row(keys, 0.375f, alone[i], bits, &m[1][i], &l[1][i], &shrink[1][i], rounded);
                for (int64_t j = 0; j < keys; j++) {
                    memcpy(pair, units + j / 2 * QUERIES + i, sizeof pair);
                    if (pairs)
                        cr_expect_eq(rounded[j], pair[j % 2], "query %d, key %d of %d", i, (int)j, (int)keys);
                    else
                        cr_expect(!memcmp(&alone[i][j], &s[j * QUERIES + i], sizeof(float)) || alone[i][j] != alone[i][j], "level %d, query %d, key %d of %d", row, i, (int)j, (int)keys);
                }
                if (pairs && keys % 2)
                    cr_expect_eq(rounded[keys], 0);
                cr_expect(m[0][i] == m[1][i] && (l[0][i] == l[1][i] || (l[0][i] != l[0][i] && l[1][i] != l[1][i])) &&
                          (shrink[0][i] == shrink[1][i] || (shrink[0][i] != shrink[0][i] && shrink[1][i] != shrink[1][i])),
                          "level %d, query %d of %d keys: %g %g, %g %g, %g %g", row, i, (int)keys, (double)m[0][i], (double)m[1][i], (double)l[0][i], (double)l[1][i], (double)shrink[0][i], (double)shrink[1][i]);
            }
            free(s);
        }
    }
}

/* Nearest bf16, ties to even; of numbers that are not denormal. */
static uint16_t nearest(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* An odd number of keys: the last unit is half empty. */
Test(product, a_softmax_in_pairs_is_the_other_one_rounded)
{
    enum { KEYS = 39, QUERIES = 32, UNITS = (KEYS + 1) / 2 };
    const ls_numerics level = ls_cpu_best_level();
    const ls_softmax_tile_kernels *plain = ls_softmax_tile_kernels_of(level), *pairs = ls_softmax_tile_kernels_for(level, LS_BF16);
    if (!pairs->online_pairs)
        return; /* this processor does not multiply pairs */
    int32_t seen[2 * QUERIES];
    for (int i = 0; i < 2 * QUERIES; i++)
        seen[i] = (int32_t)(UINT32_C(0x9e3779b9) * (uint32_t)(i % QUERIES + 1) << i % QUERIES % 7);
    for (int masked = 0; masked < 2; masked++) {
        const int32_t *bits = masked ? seen : NULL;
        float *s = numbers(LS_F32, KEYS * QUERIES, 5, 8), *dp = numbers(LS_F32, KEYS * QUERIES, 6, 1), *p = malloc(KEYS * QUERIES * sizeof *p);
        float m[2][QUERIES], l[2][QUERIES], shrink[2][QUERIES], delta[QUERIES], units[UNITS * QUERIES];
        uint16_t rounded[KEYS * QUERIES], pair[2];
        for (int i = 0; i < QUERIES; i++) {
            m[0][i] = m[1][i] = -INFINITY;
            l[0][i] = l[1][i] = 0;
            delta[i] = (float)i / 64;
        }
        for (int i = 0; i < KEYS * QUERIES; i++)
            p[i] = s[i] * 0.375f + 0.0f;
        plain->online(KEYS, QUERIES, p, QUERIES, bits, m[0], l[0], shrink[0]);
        pairs->online_pairs(KEYS, QUERIES, 0.375f, s, bits, m[1], l[1], shrink[1], units);
        cr_assert_arr_eq(m[0], m[1], sizeof m[0]);
        cr_assert_arr_eq(l[0], l[1], sizeof l[0]);
        cr_assert_arr_eq(shrink[0], shrink[1], sizeof shrink[0]);
        for (int i = 0; i < UNITS * QUERIES; i++) {
            memcpy(pair, units + i, sizeof pair);
            const int key = 2 * (i / QUERIES), at = key * QUERIES + i % QUERIES;
            cr_assert_eq(pair[0], nearest(p[at]), "key %d", key);
            cr_assert_eq(pair[1], key + 1 < KEYS ? nearest(p[at + QUERIES]) : 0, "key %d", key + 1);
        }
        for (int i = 0; i < KEYS * QUERIES; i++)
            p[i] = s[i] * 0.375f + 0.0f;
        plain->probability(KEYS, QUERIES, p, QUERIES, bits, m[0]);
        pairs->probability_pairs(KEYS, QUERIES, 0.375f, s, bits, m[0], rounded);
        cr_assert_arr_eq(s, p, KEYS * QUERIES * sizeof *p);
        for (int i = 0; i < KEYS * QUERIES; i++)
            cr_assert_eq(rounded[i], nearest(p[i]));
        pairs->gradient_pairs(KEYS, QUERIES, p, dp, bits, delta, rounded, units);
        plain->gradient(KEYS, QUERIES, p, dp, QUERIES, bits, delta);
        for (int i = 0; i < KEYS * QUERIES; i++) {
            memcpy(pair, units + i / QUERIES / 2 * QUERIES + i % QUERIES, sizeof pair);
            cr_assert_eq(rounded[i], nearest(dp[i]));
            cr_assert_eq(pair[i / QUERIES % 2], nearest(dp[i]));
        }
        free(s), free(dp), free(p);
    }
}
