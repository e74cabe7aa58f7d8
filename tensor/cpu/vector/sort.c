/* Sorting a row with its indices, stable: radix sort on integer keys that order as the numbers do, from the last byte
 * to the first. A byte that all keys share needs no pass. Short rows are sorted by insertion. */
#include "tensor/cpu/vector/prototypes.h"

#if defined(LS_ELEMENT_F64)
typedef uint64_t key;
#elif defined(LS_ELEMENT_NARROW)
typedef uint16_t key;
#else
typedef uint32_t key;
#endif

enum { DIGITS = sizeof(key), BUCKETS = 256, SHORT = 48 };

/* Ascending as the numbers: negative ones have all bits turned, others the sign bit. Zeros are one key whatever their
 * sign, NaNs are one key above infinity. `turn` is all ones for descending order. */
always_inline key key_of(const element *x, key turn)
{
    const key sign = (key)((key)1 << (8 * sizeof(key) - 1));
    const real v = load(x);
    key bits;
    memcpy(&bits, x, sizeof bits);
    key ordered = (key)(bits & sign ? ~bits : bits | sign);
    ordered = v == 0 ? sign : v != v ? (key)-1 : ordered;
    return (key)(ordered ^ turn);
}

static void insert_each(int64_t n, key *keys, int32_t *index)
{
    for (int64_t i = 1; i < n; i++) {
        const key moved = keys[i];
        const int32_t place = index[i];
        int64_t at = i;
        for (; at > 0 && keys[at - 1] > moved; at--) {
            keys[at] = keys[at - 1];
            index[at] = index[at - 1];
        }
        keys[at] = moved;
        index[at] = place;
    }
}

static int digit_of(key k, int digit)
{
    return (int)(k >> (8 * digit) & (BUCKETS - 1));
}

/* One pass: from (keys, index) to (keys_to, index_to) by a digit, `start` being where each bucket begins. */
static void deal(int64_t n, int digit, uint32_t *start, const key *keys, const int32_t *index, key *keys_to,
                 int32_t *index_to)
{
    for (int64_t i = 0; i < n; i++) {
        const uint32_t to = start[digit_of(keys[i], digit)]++;
        keys_to[to] = keys[i];
        index_to[to] = index[i];
    }
}

static void radix(int64_t n, key *keys, int32_t *index, key *keys_to, int32_t *index_to)
{
    uint32_t count[DIGITS][BUCKETS] = {{0}};
    int32_t *const result = index;
    for (int64_t i = 0; i < n; i++)
        for (int digit = 0; digit < DIGITS; digit++)
            count[digit][digit_of(keys[i], digit)]++;
    for (int digit = 0; digit < DIGITS; digit++) {
        if (count[digit][digit_of(keys[0], digit)] == (uint32_t)n)
            continue;
        uint32_t start = 0;
        for (int bucket = 0; bucket < BUCKETS; bucket++) {
            const uint32_t size = count[digit][bucket];
            count[digit][bucket] = start;
            start += size;
        }
        deal(n, digit, count[digit], keys, index, keys_to, index_to);
        key *other_keys = keys;
        int32_t *other_index = index;
        keys = keys_to, keys_to = other_keys;
        index = index_to, index_to = other_index;
    }
    if (index != result)
        memcpy(result, index, (size_t)n * sizeof *result);
}

void KERNEL(sort)(int64_t length, bool descending, const void *x_, void *values_, int32_t *index, void *scratch)
{
    const element *x = x_;
    element *values = values_;
    key *keys = scratch, *keys_to = keys + length;
    const key turn = descending ? (key)-1 : 0;
    for (int64_t i = 0; i < length; i++) {
        keys[i] = key_of(x + i, turn);
        index[i] = (int32_t)i;
    }
    if (length <= SHORT)
        insert_each(length, keys, index);
    else
        radix(length, keys, index, keys_to, (int32_t *)(void *)(keys_to + length));
    for (int64_t i = 0; i < length; i++)
        values[i] = x[index[i]];
}

/* x[index[j]] += y[j] in ascending j */
void KERNEL(scatter_add_elements)(int64_t k, const int32_t *index, const void *y_, void *x_)
{
    const element *y = y_;
    element *x = x_;
    for (int64_t j = 0; j < k; j++)
        x[index[j]] = store(load(x + index[j]) + load(y + j));
}
