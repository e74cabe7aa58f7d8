#include "base/state.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static ls_status add(ls_state_tree *tree, const char *name)
{
    static float data[8];
    return ls_state_add(tree, &(ls_state_entry){.name = name, .type = LS_F32, .flags = LS_STATE_REPLICATED, .ndim = 1,
                                                .shape = {8}, .held = 8, .data = data});
}

Test(state, entries_come_in_byte_order_whatever_the_order_of_registration)
{
    static const char *const sorted[] = {"a-b", "a/b", "a/b2", "aa", "model/0/w", "model/10/w", "model/2/w", "z\xc3\xa9"};
    enum { COUNT = sizeof sorted / sizeof *sorted };
    for (int start = 0; start < COUNT; start++) {
        ls_state_tree *tree = ls_state_create();
        for (int i = 0; i < COUNT; i++)
            cr_assert_eq(add(tree, sorted[(start + 3 * i) % COUNT]), LS_OK, "%s", ls_fail_sentence());
        cr_assert_eq(ls_state_count(tree), COUNT);
        for (int i = 0; i < COUNT; i++) {
            cr_assert_str_eq(ls_state_at(tree, i)->name, sorted[i]);
            cr_assert_eq(ls_state_find(tree, sorted[i]), ls_state_at(tree, i));
        }
        cr_assert_null(ls_state_find(tree, "model"));
        cr_assert_null(ls_state_at(tree, COUNT));
        ls_state_free(tree);
    }
}

Test(state, an_entry_stays_where_it_is_while_the_tree_grows)
{
    ls_state_tree *tree = ls_state_create();
    char name[32] = "m";
    add(tree, name);
    const ls_state_entry *entry = ls_state_find(tree, "m");
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "%c/%d", 'a' + i % 10, i);
        cr_assert_eq(add(tree, name), LS_OK);
    }
    cr_assert_eq(ls_state_find(tree, "m"), entry);
    cr_assert_str_eq(entry->name, "m", "the tree owns a copy of the name");
    ls_state_free(tree);
}

Test(state, names_that_cannot_stand_side_by_side_are_refused)
{
    ls_state_tree *tree = ls_state_create();
    cr_assert_eq(add(tree, "model/w"), LS_OK);
    cr_assert_eq(add(tree, "model-b"), LS_OK);
    cr_assert_eq(add(tree, "model/w"), LS_EEXIST);
    cr_assert_eq(add(tree, "model"), LS_EARG, "a folder already, though model-b sorts in between");
    cr_assert(strstr(ls_fail_sentence(), "model/w"));
    cr_assert_eq(add(tree, "model/w/part"), LS_EARG, "a tensor already");
    cr_assert_eq(add(tree, ""), LS_EARG);
    cr_assert_eq(add(tree, "/model"), LS_EARG);
    cr_assert_eq(add(tree, "model/"), LS_EARG);
    cr_assert_eq(add(tree, "a//b"), LS_EARG);
    cr_assert_eq(ls_state_count(tree), 2, "nothing refused stays behind");
    ls_state_free(tree);
}

Test(state, a_slice_is_whole_chunks)
{
    ls_state_tree *tree = ls_state_create();
    ls_state_entry entry = {.name = "w", .type = LS_F32, .ndim = 2, .shape = {3, LS_CHUNK - 1}};
    entry.begin = 100;
    entry.held = LS_CHUNK;
    cr_assert_eq(ls_state_add(tree, &entry), LS_EARG);
    entry.begin = LS_CHUNK;
    entry.held = LS_CHUNK + 1;
    cr_assert_eq(ls_state_add(tree, &entry), LS_EARG);
    entry.held = 3 * LS_CHUNK;
    cr_assert_eq(ls_state_add(tree, &entry), LS_EARG, "past the end");
    entry.held = 2 * LS_CHUNK - 3; /* to the tensor's end */
    cr_assert_eq(ls_state_add(tree, &entry), LS_OK, "%s", ls_fail_sentence());
    entry.name = "r";
    entry.flags = LS_STATE_REPLICATED;
    cr_assert_eq(ls_state_add(tree, &entry), LS_EARG, "replicated means all of it");
    cr_assert_eq(ls_state_elements(ls_state_find(tree, "w")), 3 * (LS_CHUNK - 1));
    ls_state_free(tree);
}

Test(state, scalars)
{
    ls_state_tree *tree = ls_state_create();
    int64_t position = 5;
    double scale = 0.5;
    cr_assert_eq(ls_state_add_i64(tree, "sampler/position", 0, &position), LS_OK);
    cr_assert_eq(ls_state_add_f64(tree, "time", LS_STATE_UNHASHED, &scale), LS_OK);
    const ls_state_entry *entry = ls_state_find(tree, "time");
    cr_assert_eq(entry->type, LS_F64);
    cr_assert_eq(entry->flags, LS_STATE_UNHASHED | LS_STATE_REPLICATED);
    cr_assert_eq(ls_state_elements(entry), 1);
    cr_assert_eq(entry->data, &scale);
    ls_state_free(tree);
}
