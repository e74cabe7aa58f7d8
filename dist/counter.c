/* The binary counter. Its additions run on the communication thread, which has no thread team: the loop here is plain,
 * and gives the bits of ls_device.carry, since each element is a chain of single additions in the same order. */
#include "dist/counter.h"

#include <string.h>

void ls_counter_reset(ls_counter *counter, int64_t grains)
{
    counter->grains = grains;
    counter->depth = 0;
}

int ls_counter_push(ls_counter *counter, ls_tree_node node)
{
    int joined = 0, top = ls_tree_top(counter->grains);
    while (node.level < top) {
        if (node.index % 2 == 1) {
            if (counter->depth == 0)
                break;
            ls_tree_node left = counter->held[counter->depth - 1];
            if (left.level != node.level || left.index != node.index - 1)
                break;
            counter->depth--;
            joined++;
        } else if ((node.index + 1) << node.level < counter->grains) {
            break; /* its right neighbour is still to come */
        }
        node.level++;
        node.index /= 2;
    }
    counter->held[counter->depth++] = node;
    return joined;
}

/* From grain 0 the stack is the binary number of grains seen: one place for each 1. From anywhere else it first climbs
 * (1 + 2 + 4 ... grains whose left neighbours are elsewhere), then counts: 2^a - 1 + 2^b - 1 grains fill a + b. */
int ls_counter_places(int64_t grains, bool from_zero)
{
    int places = 0;
    for (int64_t climb = 1, count = 1; grains > 0; places++) {
        int64_t *next = from_zero || count <= climb ? &count : &climb;
        if (grains < *next)
            break;
        grains -= *next;
        *next *= 2;
    }
    return places;
}

/* 16 lanes at once, as gcc lowers them to the vectors there are. dst may be x or a level, or apart from all. */
typedef float lanes __attribute__((vector_size(64), aligned(4), may_alias));

static void carry(int64_t n, const float *x, int levels, const float *const *level, float *dst)
{
    const int64_t whole = n / 16 * 16;
    if (levels == 1)
        for (int64_t i = 0; i < whole; i += 16)
            *(lanes *)(dst + i) = *(const lanes *)(x + i) + *(const lanes *)(level[0] + i);
    else
        for (int64_t i = 0; i < whole; i += 16) {
            lanes sum = *(const lanes *)(x + i);
            for (int l = 0; l < levels; l++)
                sum += *(const lanes *)(level[l] + i);
            *(lanes *)(dst + i) = sum;
        }
    for (int64_t i = whole; i < n; i++) {
        float sum = x[i];
        for (int l = 0; l < levels; l++)
            sum += level[l][i];
        dst[i] = sum;
    }
}

void ls_counter_carry(ls_counter *counter, ls_tree_node node, int64_t n, const float *x, const float **at,
                      float *const *own)
{
    int levels = ls_counter_push(counter, node), place = counter->depth - 1;
    if (levels == 0) {
        at[place] = x;
        return;
    }
    const float *level[LS_COUNTER_DEPTH];
    for (int l = 0; l < levels; l++)
        level[l] = at[place + levels - 1 - l];
    carry(n, x, levels, level, own[place]);
    at[place] = own[place];
}

void ls_counter_settle(const ls_counter *counter, int64_t n, const float **at, float *const *own)
{
    for (int place = 0; place < counter->depth; place++) {
        if (at[place] == own[place])
            continue;
        memcpy(own[place], at[place], (size_t)n * sizeof(float));
        at[place] = own[place];
    }
}
