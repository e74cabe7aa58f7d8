/* One hash of the logical state: names, shapes and bits go in; ranks, NaN payloads and clocks do not. */
#include "fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static uint64_t live_hash(int ranks, uint64_t seed)
{
    job j = {.seed = seed};
    cr_assert_eq(on_ranks(ranks, hash_body, &j), LS_OK, "%s", sentence);
    return j.hash;
}

Test(hash, live_equals_file_on_every_rank_count)
{
    const char *run = new_folder();
    uint64_t want = live_hash(1, 5);
    cr_assert_neq(want, live_hash(1, 6), "the hash can differ");
    for (int ranks = 1; ranks <= 5; ranks++) {
        char path[4096];
        uint64_t file;
        cr_assert_eq(live_hash(ranks, 5), want, "%d ranks", ranks);
        save(run, ranks, 5, ranks);
        snprintf(path, sizeof path, "%s/checkpoints/step-%08d", run, ranks);
        cr_assert_eq(ls_checkpoint_hash(path, &file), LS_OK);
        cr_assert_eq(file, want, "written by %d ranks", ranks);
    }
}

/* A change of one tensor, element or description, and whether the hash may see it. */
typedef struct {
    const char *name, *rename;
    int64_t element;
    uint64_t bits;
    bool turned; /* shape [37, 1000] as [1000, 37] */
    int kind;
    uint64_t hash, hashes[TENSORS];
} change;

static ls_status change_body(ls_world *world, void *context)
{
    change *c = context;
    state s;
    state_make(&s, 5, ls_world_rank(world), ls_world_ranks(world));
    ls_state_tree *tree = ls_state_create();
    for (int i = 0; i < ls_state_count(s.tree); i++) {
        ls_state_entry entry = *ls_state_at(s.tree, i);
        if (c->name && strcmp(entry.name, c->name) == 0) {
            size_t size = ls_type_size(entry.type);
            if (c->bits && c->element >= entry.begin && c->element < entry.begin + entry.held)
                memcpy((char *)entry.data + (size_t)(c->element - entry.begin) * size, &c->bits, size);
            if (c->rename)
                entry.name = c->rename;
            if (c->turned)
                entry.shape[0] = 1000, entry.shape[1] = 37;
        }
        ls_state_add(tree, &entry);
    }
    uint64_t hash, hashes[TENSORS];
    ls_status status = ls_state_hash(world, tree, c->kind, hashes, &hash);
    if (ls_world_rank(world) == 0) {
        c->hash = hash;
        memcpy(c->hashes, hashes, sizeof hashes);
    }
    ls_state_free(tree);
    state_free(&s);
    return status;
}

static uint64_t changed(change c)
{
    cr_assert_eq(on_ranks(3, change_body, &c), LS_OK, "%s", sentence);
    return c.hash;
}

static const char *const embedding = "model/embedding/weight";

Test(hash, sees_every_bit_and_every_description)
{
    uint64_t plain = changed((change){.kind = -1});
    const int64_t places[] = {0, 4095, 4096, 20000, 36999};
    for (int i = 0; i < 5; i++)
        cr_assert_neq(changed((change){embedding, .element = places[i], .bits = 0x3f800000, .kind = -1}), plain);
    uint64_t zero = changed((change){embedding, .element = 7, .bits = UINT64_C(1) << 40, .kind = -1}); /* f32: +0 */
    cr_assert_neq(changed((change){embedding, .element = 7, .bits = 0x80000000, .kind = -1}), zero, "-0 is not +0");
    cr_assert_neq(changed((change){embedding, .rename = "model/embedding/weights", .kind = -1}), plain);
    cr_assert_neq(changed((change){embedding, .turned = true, .kind = -1}), plain);
}

Test(hash, does_not_see_nan_payloads_and_clocks)
{
    uint64_t nan_1 = changed((change){embedding, .element = 9000, .bits = 0x7fc00000, .kind = -1});
    uint64_t nan_2 = changed((change){embedding, .element = 9000, .bits = 0xffa12345, .kind = -1});
    cr_assert_eq(nan_1, nan_2);
    cr_assert_neq(nan_1, changed((change){embedding, .element = 9000, .bits = 0x7f800000, .kind = -1}),
                  "inf is no NaN");
    uint64_t plain = changed((change){.kind = -1});
    cr_assert_eq(changed((change){"progress/seconds", .bits = 1, .kind = -1}), plain);
    cr_assert_eq(changed((change){"gradient/embedding", .bits = 1, .kind = -1}), plain, "gradients are not saved");
}

Test(hash, of_one_kind_and_of_each_tensor)
{
    change plain = {.kind = LS_STATE_GRADIENT}, other = {"gradient/embedding", .bits = 1, .kind = LS_STATE_GRADIENT};
    cr_assert_eq(on_ranks(2, change_body, &plain), LS_OK);
    cr_assert_eq(on_ranks(4, change_body, &other), LS_OK);
    cr_assert_neq(plain.hash, other.hash, "asked for, gradients are seen");
    cr_assert_neq(plain.hashes[0], other.hashes[0]);
    cr_assert_eq(plain.hashes[1], 0, "not of this kind");
    plain = (change){.kind = -1};
    other = (change){embedding, .element = 100, .bits = 1, .kind = -1};
    cr_assert_eq(on_ranks(2, change_body, &plain), LS_OK);
    cr_assert_eq(on_ranks(4, change_body, &other), LS_OK);
    for (int t = 1; t < TENSORS; t++)
        cr_assert_eq(plain.hashes[t] == other.hashes[t], t != 2, "%s", state_row(t)->name);
}
