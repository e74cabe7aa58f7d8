/* The kernels of tensor/cpu/tight.h, which need AVX512_BF16 and AVX512_VBMI. */
#include "tensor/cpu/tight.h"

#include "tensor/cpu/level/turn.h"
#include "tensor/cpu/product.h"

_Static_assert((int)LANES == (int)LS_TIGHT_COLUMNS && 2 * (int)LS_TIGHT_UNITS == (int)LANES, "a turned square is two groups");
_Static_assert((int)LS_PRODUCT_CHUNK % (int)LS_TIGHT_UNITS == 0, "a group belongs to one chunk of k");

enum {
    RAW = 255, /* no window begins there */
    WINDOW = 16,
    PIECE = 48,
    RAW_PIECE = 64,
    LINE = 64,
};

static int64_t bytes_of_bases(int64_t k)
{
    return (k / LS_TIGHT_UNITS + LINE - 1) / LINE * LINE;
}

/* ---- packing ---- */

/* The least exponent of the window that holds all of a group's, or RAW. */
static uint8_t base_of(const lanes group[LS_TIGHT_UNITS])
{
    __m512i most = _mm512_setzero_si512(), least = _mm512_set1_epi16(RAW);
    for (int i = 0; i < LS_TIGHT_UNITS; i++) {
        const __m512i exponent = _mm512_and_si512(_mm512_srli_epi16((__m512i)group[i], 7), _mm512_set1_epi16(0xff));
        most = _mm512_max_epu16(most, exponent);
        least = _mm512_min_epu16(least, exponent);
    }
    /* of both halves of each unit */
    const uint32_t low = _mm512_reduce_min_epu32(_mm512_min_epu32(_mm512_and_si512(least, _mm512_set1_epi32(0xff)), _mm512_srli_epi32(least, 16)));
    const uint32_t high = _mm512_reduce_max_epu32(_mm512_max_epu32(_mm512_and_si512(most, _mm512_set1_epi32(0xff)), _mm512_srli_epi32(most, 16)));
    const uint32_t base = high < WINDOW ? 0 : high - (WINDOW - 1);
    return (uint8_t)(low < base ? RAW : base);
}

/* 32 numbers to 48 bytes: twelve bits each in words, two words to 24 bits of a unit, the units' bytes together. */
static void pack_piece(lanes numbers, uint8_t base, uint8_t *to)
{
    uint8_t three[64] = {0};
    for (int i = 0; i < PIECE; i++)
        three[i] = (uint8_t)(i / 3 * 4 + i % 3);
    const __m512i words = (__m512i)numbers, sign = _mm512_and_si512(_mm512_srli_epi16(words, 4), _mm512_set1_epi16(0x800));
    const __m512i rest = _mm512_sub_epi16(_mm512_and_si512(words, _mm512_set1_epi16(0x7fff)), _mm512_set1_epi16((short)(base << 7)));
    const __m512i units = _mm512_madd_epi16(_mm512_or_si512(sign, rest), _mm512_set1_epi32(1 | 4096 << 16));
    _mm512_mask_storeu_epi8(to, (UINT64_C(1) << PIECE) - 1, _mm512_permutexvar_epi8(_mm512_loadu_si512(three), units));
}

static uint8_t *pack_group(const lanes group[LS_TIGHT_UNITS], uint8_t *base, uint8_t *to)
{
    *base = base_of(group);
    for (int i = 0; i < LS_TIGHT_UNITS; i++) {
        if (*base == RAW)
            memcpy(to, &group[i], RAW_PIECE);
        else
            pack_piece(group[i], *base, to);
        to += *base == RAW ? RAW_PIECE : PIECE;
    }
    return to;
}

static void pack(int64_t k, const float *w, int64_t ldw, uint8_t *panel)
{
    uint8_t *to = panel + bytes_of_bases(k);
    int64_t p = 0;
    lanes turned[LANES];
    for (; p + LANES <= k; p += LANES) {
        turn(LS_F32, (const char *)(w + p), ldw * (int64_t)sizeof *w, 0, turned);
        for (int half = 0; half < 2; half++)
            to = pack_group(turned + half * LS_TIGHT_UNITS, panel + p / LS_TIGHT_UNITS + half, to);
    }
    if (p == k)
        return;
    for (int i = 0; i < LS_TIGHT_UNITS; i++) { /* half a square */
        float line[LANES];
        for (int j = 0; j < LANES; j++)
            memcpy(line + j, w + j * ldw + p + i, sizeof *line);
        turned[i] = lanes_load(line);
    }
    pack_group(turned, panel + p / LS_TIGHT_UNITS, to);
}

/* ---- multiplying ---- */

/* Where a word's twelve bits lie: in which two bytes, and how far from their end. */
typedef struct {
    __m512i bytes, shift;
} places;

static places places_of_words(void)
{
    uint8_t bytes[64];
    uint16_t shift[32];
    for (int i = 0; i < 32; i++) {
        bytes[2 * i] = (uint8_t)(i * 12 / 8);
        bytes[2 * i + 1] = (uint8_t)(i * 12 / 8 + 1);
        shift[i] = (uint16_t)(i % 2 * 4);
    }
    return (places){_mm512_loadu_si512(bytes), _mm512_loadu_si512(shift)};
}

/* A piece's numbers. It reads LINE bytes. */
LANES_INLINE lanes widen(const uint8_t *piece, __m512i base, places at)
{
    const __m512i twelve = _mm512_srlv_epi16(_mm512_permutexvar_epi8(at.bytes, _mm512_loadu_si512(piece)), at.shift);
    const __m512i rest = _mm512_add_epi16(_mm512_and_si512(twelve, _mm512_set1_epi16(0x7ff)), base);
    /* the shifted one's sign bit, and all of the rest */
    return (lanes)_mm512_ternarylogic_epi32(_mm512_slli_epi16(twelve, 4), _mm512_set1_epi16((short)0x8000), rest, 0xea);
}

/* sum[r] += what a group gives row r; returns where the next group is. */
LANES_INLINE const uint8_t *add_group(int m, const float *x, int64_t ldx, uint8_t base, places at, const uint8_t *group, lanes sum[LS_TIGHT_ROWS])
{
    if (__builtin_expect(base == RAW, 0)) {
        for (int i = 0; i < LS_TIGHT_UNITS; i++, group += RAW_PIECE) {
            lanes numbers;
            memcpy(&numbers, group, sizeof numbers);
            for (int r = 0; r < m; r++)
                sum[r] = lanes_add_product(lanes_all(x[r * ldx + i]), numbers, sum[r]);
        }
        return group;
    }
    const __m512i window = _mm512_set1_epi16((short)(base << 7));
#pragma GCC unroll 8
    for (int i = 0; i < LS_TIGHT_UNITS; i++) {
        const lanes numbers = widen(group + i * PIECE, window, at);
#pragma GCC unroll 4
        for (int r = 0; r < m; r++)
            sum[r] = lanes_add_product(lanes_all(x[r * ldx + i]), numbers, sum[r]);
    }
    return group + LS_TIGHT_UNITS * PIECE;
}

/* Memory is asked for as in few_rows.c: the next panel's lines in the order of their addresses, into the second cache. */
LANES_INLINE void multiply_panel(int m, int64_t k, const float *x, int64_t ldx, const uint8_t *panel, const uint8_t *next, float *c, int64_t ldc)
{
    const places at = places_of_words();
    const uint8_t *group = panel + bytes_of_bases(k);
    const int64_t ahead = next ? LS_TIGHT_UNITS * PIECE : 0;
    for (int64_t first = 0; first < k; first += LS_PRODUCT_CHUNK) {
        const int64_t end = k - first < LS_PRODUCT_CHUNK ? k : first + LS_PRODUCT_CHUNK;
        lanes sum[LS_TIGHT_ROWS];
        for (int r = 0; r < m; r++)
            sum[r] = (lanes){0};
        for (int64_t p = first; p < end; p += LS_TIGHT_UNITS, next += ahead) {
            for (int64_t i = 0; i < ahead; i += LINE)
                __builtin_prefetch(next + i, 0, 2);
            group = add_group(m, x + p, ldx, panel[p / LS_TIGHT_UNITS], at, group, sum);
        }
        for (int r = 0; r < m; r++)
            lanes_store(c + r * ldc, first ? lanes_load(c + r * ldc) + sum[r] : sum[r]);
    }
}

static void multiply(int64_t m, int64_t k, const float *x, int64_t ldx, const uint8_t *panel, const uint8_t *next, float *c, int64_t ldc)
{
    switch (m) {
    case 1: multiply_panel(1, k, x, ldx, panel, next, c, ldc); break;
    case 2: multiply_panel(2, k, x, ldx, panel, next, c, ldc); break;
    case 3: multiply_panel(3, k, x, ldx, panel, next, c, ldc); break;
    default: multiply_panel(4, k, x, ldx, panel, next, c, ldc); break;
    }
}

extern const ls_tight_kernels level_symbol(ls_tight_kernels);
const ls_tight_kernels level_symbol(ls_tight_kernels) = {.pack = pack, .multiply = multiply};
