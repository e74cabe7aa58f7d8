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

static void carry(int64_t n, const float *restrict x, int levels, const float *const *level, float *dst)
{
    /* dst is one of the levels or apart from all, never x: the communication thread reads x from a peer. */
    switch (levels) {
    case 1:
        for (int64_t i = 0; i < n; i++)
            dst[i] = x[i] + level[0][i];
        break;
    case 2:
        for (int64_t i = 0; i < n; i++)
            dst[i] = (x[i] + level[0][i]) + level[1][i];
        break;
    default:
        for (int64_t i = 0; i < n; i++) {
            float sum = x[i];
            for (int l = 0; l < levels; l++)
                sum += level[l][i];
            dst[i] = sum;
        }
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
