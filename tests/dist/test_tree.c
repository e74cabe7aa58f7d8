/* The tree's arithmetic against its definition, and the binary counter against the tree. */
#include "dist/counter.h"
#include "dist/tree.h"
#include "gradients.h"

#include <criterion/criterion.h>

enum { MOST = 70 };

Test(tree, the_top_is_the_first_level_that_covers_all)
{
    int64_t grains[] = {1, 2, 3, 4, 5, 8, 9, 1 << 20, (1 << 20) + 1};
    int top[] = {0, 1, 2, 2, 3, 3, 4, 20, 21};
    for (int k = 0; k < 9; k++)
        cr_expect_eq(ls_tree_top(grains[k]), top[k], "%lld grains", (long long)grains[k]);
}

Test(tree, a_cover_is_whole_without_gaps_and_maximal)
{
    for (int64_t grains = 1; grains <= MOST; grains++)
        for (int64_t begin = 0; begin <= grains; begin++)
            for (int64_t end = begin; end <= grains; end++) {
                ls_tree_node nodes[128];
                int count = ls_tree_cover(begin, end, grains, nodes);
                int64_t at = begin;
                for (int k = 0; k < count; k++) {
                    int64_t first, past, up_first, up_past;
                    ls_tree_span(nodes[k], grains, &first, &past);
                    cr_assert_eq(first, at);
                    at = past;
                    ls_tree_node up = {nodes[k].level + 1, nodes[k].index / 2};
                    ls_tree_span(up, grains, &up_first, &up_past);
                    cr_assert(nodes[k].level == ls_tree_top(grains) || up_first < begin || up_past > end,
                              "%lld..%lld of %lld: node %d could be its parent", (long long)begin, (long long)end,
                              (long long)grains, k);
                }
                cr_assert_eq(at, end);
            }
}

Test(tree, the_counter_ends_with_the_cover_of_every_block)
{
    for (int64_t grains = 1; grains <= MOST; grains++)
        for (int64_t begin = 0; begin < grains; begin++) {
            ls_counter counter;
            ls_counter_reset(&counter, grains);
            for (int64_t end = begin + 1; end <= grains; end++) {
                ls_counter_push(&counter, (ls_tree_node){0, end - 1});
                ls_tree_node nodes[128];
                int count = ls_tree_cover(begin, end, grains, nodes);
                cr_assert_eq(counter.depth, count);
                cr_assert_leq(count, ls_counter_places(end - begin, begin == 0));
                for (int k = 0; k < count; k++)
                    cr_assert(counter.held[k].level == nodes[k].level && counter.held[k].index == nodes[k].index);
            }
        }
}

Test(tree, the_places_of_a_counter_are_all_needed)
{
    for (int64_t grains = 1; grains <= MOST; grains++) {
        int from_zero = 0, anywhere = 0;
        for (int64_t begin = 0; begin < 128; begin++)
            for (int64_t end = begin + 1; end <= begin + grains; end++) {
                ls_tree_node nodes[128];
                int count = ls_tree_cover(begin, end, 1024, nodes);
                anywhere = count > anywhere ? count : anywhere;
                from_zero = begin == 0 && count > from_zero ? count : from_zero;
            }
        cr_expect_eq(ls_counter_places(grains, true), from_zero, "%lld grains from zero", (long long)grains);
        cr_expect_eq(ls_counter_places(grains, false), anywhere, "%lld grains", (long long)grains);
    }
}

/* Carries `grains` leaves of `elements` through a counter over arrays, block by block of `each`, then joins the blocks'
 * nodes, as ranks do. */
static void sum_by_blocks(float *sum, const float *leaf, int64_t elements, int64_t grains, int64_t each)
{
    static float own_memory[16][64], top_memory[16][64], kept[MOST * 8][64];
    float *own[LS_COUNTER_DEPTH], *top_own[LS_COUNTER_DEPTH];
    const float *at[LS_COUNTER_DEPTH], *top_at[LS_COUNTER_DEPTH];
    for (int p = 0; p < 16; p++) {
        own[p] = own_memory[p];
        top_own[p] = top_memory[p];
    }
    ls_counter top;
    ls_counter_reset(&top, grains);
    int keep = 0;
    for (int64_t begin = 0; begin < grains; begin += each) {
        ls_counter counter;
        ls_counter_reset(&counter, grains);
        for (int64_t g = begin; g < grains && g < begin + each; g++)
            ls_counter_carry(&counter, (ls_tree_node){0, g}, elements, leaf + g * elements, at, own);
        ls_counter_settle(&counter, elements, at, own);
        for (int p = 0; p < counter.depth; p++, keep++) {
            memcpy(kept[keep], own[p], (size_t)elements * sizeof(float));
            ls_counter_carry(&top, counter.held[p], elements, kept[keep], top_at, top_own);
        }
    }
    ls_counter_settle(&top, elements, top_at, top_own);
    cr_assert_eq(top.depth, 1);
    memcpy(sum, top_own[0], (size_t)elements * sizeof(float));
}

Test(tree, every_split_into_blocks_gives_the_bits_of_the_definition)
{
    enum { N = 64 };
    static float leaf[MOST * N], want[N], got[N];
    for (int64_t g = 0; g < MOST; g++)
        fill_gradient(leaf + g * N, 0, g, N);
    for (int64_t grains = 1; grains <= MOST; grains++) {
        tree_sum(want, leaf, N, grains);
        for (int64_t each = 1; each <= grains; each++) {
            sum_by_blocks(got, leaf, N, grains, each);
            cr_assert_eq(memcmp(got, want, sizeof want), 0, "%lld grains in blocks of %lld: differs at %lld",
                         (long long)grains, (long long)each, (long long)first_difference(got, want, N));
        }
    }
}

Test(tree, summing_left_to_right_gives_other_bits)
{
    enum { N = 64, GRAINS = 16 };
    static float leaf[GRAINS * N], want[N], got[N];
    for (int64_t g = 0; g < GRAINS; g++)
        fill_gradient(leaf + g * N, 0, g, N);
    tree_sum(want, leaf, N, GRAINS);
    for (int64_t i = 0; i < N; i++)
        for (int64_t g = 0; g < GRAINS; g++)
            got[i] += leaf[g * N + i];
    cr_assert_neq(memcmp(got, want, sizeof want), 0, "these gradients would not show a wrong order");
}

static double node_f64(const double *leaf, int64_t count, int level, int64_t index)
{
    if (level == 0)
        return leaf[index];
    double left = node_f64(leaf, count, level - 1, 2 * index);
    return (2 * index + 1) << (level - 1) >= count ? left : left + node_f64(leaf, count, level - 1, 2 * index + 1);
}

Test(tree, sums_of_doubles_follow_the_tree)
{
    double leaf[MOST];
    int64_t whole[MOST];
    for (int64_t k = 0; k < MOST; k++) {
        leaf[k] = (double)gradient_at(1, k, 0) / 3;
        whole[k] = k * k - 7;
    }
    cr_expect_eq(ls_tree_sum_f64(leaf, 0), 0);
    for (int64_t count = 1; count <= MOST; count++) {
        double want = node_f64(leaf, count, ls_tree_top(count), 0), got = ls_tree_sum_f64(leaf, count);
        cr_expect_eq(memcmp(&want, &got, sizeof want), 0, "%lld leaves: %.17g, not %.17g", (long long)count, got, want);
    }
    cr_expect_eq(ls_tree_sum_i64(whole, 4), 0 + 1 + 4 + 9 - 28);
}
