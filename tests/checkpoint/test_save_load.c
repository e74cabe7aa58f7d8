/* Any rank count reads what any other wrote, to the bit; a load that would ignore something is refused. */
#include "fixture.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Test(save_load, any_rank_count_reads_what_any_other_wrote)
{
    const char *run = new_folder();
    for (int writers = 1; writers <= 5; writers++) {
        save(run, writers, (uint64_t)writers, writers);
        for (int readers = 1; readers <= 5; readers++) {
            job j = {.run = run, .seed = (uint64_t)writers};
            cr_assert_eq(on_ranks(readers, load_body, &j), LS_OK, "%d to %d: %s", writers, readers, sentence);
            cr_assert_eq(j.loaded, writers, "the newest");
        }
        job other = {.run = run, .seed = (uint64_t)writers + 50};
        cr_assert_eq(on_ranks(2, load_body, &other), LS_ENUMERIC, "the comparison can fail");
    }
}

Test(save_load, state_saved_again_by_others_has_the_same_bits)
{
    const char *run = new_folder();
    const int ranks[] = {4, 3, 2, 1, 4};
    uint64_t hash = 0;
    for (int i = 0; i < 5; i++) {
        char path[4096];
        save(run, i, 17, ranks[i]);
        snprintf(path, sizeof path, "%s/checkpoints/step-%08d", run, i);
        uint64_t now;
        cr_assert_eq(ls_checkpoint_hash(path, &now), LS_OK);
        cr_assert(i == 0 || now == hash, "%d ranks", ranks[i]);
        hash = now;
    }
}

Test(save_load, a_run_without_checkpoints_starts_afresh)
{
    const char *run = new_folder();
    job j = {.run = run};
    cr_assert_eq(on_ranks(2, load_body, &j), LS_OK, "%s", sentence);
    cr_assert_eq(j.loaded, -1);
    char path[4096];
    snprintf(path, sizeof path, "%s/checkpoints", run);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/checkpoints/step-00000007.partial", run);
    mkdir(path, 0777);
    cr_assert_eq(on_ranks(2, load_body, &j), LS_OK, "%s", sentence);
    cr_assert_eq(j.loaded, -1, "a .partial never was a checkpoint");
}

static int count_folders(const char *run, const char *suffix)
{
    char path[4096];
    int count = 0;
    snprintf(path, sizeof path, "%s/checkpoints", run);
    DIR *folder = opendir(path);
    for (struct dirent *row; (row = readdir(folder));)
        count += strncmp(row->d_name, "step-", 5) == 0 && strcmp(row->d_name + 13, suffix) == 0;
    closedir(folder);
    return count;
}

Test(save_load, the_newest_n_are_kept)
{
    const char *run = new_folder();
    for (int step = 1; step <= 5; step++) {
        job j = {.run = run, .step = step, .seed = (uint64_t)step, .keep = 2};
        cr_assert_eq(on_ranks(2, save_body, &j), LS_OK, "%s", sentence);
        cr_assert_eq(count_folders(run, ""), step < 2 ? step : 2);
        job newest = {.run = run, .seed = (uint64_t)step};
        cr_assert_eq(on_ranks(1, load_body, &newest), LS_OK, "%s", sentence);
        cr_assert_eq(newest.loaded, step);
    }
}

/* marin-community/marin#5386: a damaged newest one and sparse keeping lost 8,000 steps. */
Test(save_load, damaged_checkpoints_do_not_take_the_place_of_whole_ones)
{
    const char *run = new_folder();
    char path[4096];
    save(run, 1, 1, 2);
    for (int step = 2; step <= 3; step++) {
        save(run, step, (uint64_t)step, 2);
        snprintf(path, sizeof path, "%s/checkpoints/step-%08d/rank-0001.h5", run, step);
        cr_assert_eq(truncate(path, 100), 0);
    }
    job j = {.run = run, .step = 4, .seed = 4, .keep = 2};
    cr_assert_eq(on_ranks(2, save_body, &j), LS_OK, "%s", sentence);
    snprintf(path, sizeof path, "%s/checkpoints/step-00000004/checkpoint.h5", run);
    cr_assert_eq(truncate(path, 100), 0);
    job newest = {.run = run, .seed = 1};
    cr_assert_eq(on_ranks(2, load_body, &newest), LS_OK, "%s", sentence);
    cr_assert_eq(newest.loaded, 1, "two newer ones were damaged when keep = 2 was applied");
}

Test(save_load, a_step_saved_already_is_not_saved_twice_nor_overwritten)
{
    const char *run = new_folder();
    struct stat before, after;
    char path[4096];
    snprintf(path, sizeof path, "%s/checkpoints/step-00000001", run);
    save(run, 1, 1, 2);
    stat(path, &before);
    save(run, 1, 1, 3);
    stat(path, &after);
    cr_assert_eq(before.st_ino, after.st_ino, "the same folder");
    job j = {.run = run, .step = 1, .seed = 2};
    cr_assert_eq(on_ranks(2, save_body, &j), LS_EEXIST);
    cr_assert(strstr(sentence, path));
    job old = {.run = run, .seed = 1};
    cr_assert_eq(on_ranks(1, load_body, &old), LS_OK, "%s", sentence);
}

/* A load that ignores a key is an error (NVIDIA-NeMo/Megatron-Bridge#5637: rank 1's data state was dropped, and the
 * load said success). `change` is applied to the tree that loads. */
typedef struct {
    const char *run;
    enum { MISSING, EXTRA, SHAPE, TYPE, GRADIENT_SHAPE } change;
} mismatch;

static ls_status mismatch_body(ls_world *world, void *context)
{
    const mismatch *m = context;
    state s;
    state_make(&s, 1, ls_world_rank(world), ls_world_ranks(world));
    ls_state_tree *tree = ls_state_create();
    for (int i = 0; i < ls_state_count(s.tree); i++) {
        ls_state_entry entry = *ls_state_at(s.tree, i);
        bool mask = strcmp(entry.name, "task/mask") == 0;
        if (mask && m->change == EXTRA)
            continue;
        if (mask && m->change == SHAPE)
            entry.shape[0] = 2, entry.shape[1] = 3, entry.shape[2] = 3000;
        if (strcmp(entry.name, "task/scale") == 0 && m->change == TYPE)
            entry.type = LS_I64;
        if (entry.kind == LS_STATE_GRADIENT && m->change == GRADIENT_SHAPE)
            entry.shape[0] = 1000, entry.shape[1] = 37;
        ls_state_add(tree, &entry);
    }
    int64_t more = 0;
    if (m->change == MISSING)
        ls_state_add(tree, &(ls_state_entry){.name = "task/new",
                                             .kind = LS_STATE_TASK,
                                             .type = LS_I64,
                                             .flags = LS_STATE_REPLICATED,
                                             .held = 1,
                                             .data = &more});
    char path[4096];
    int64_t step;
    ls_status status = ls_checkpoint_latest(world, m->run, 0, &step, path);
    if (status == LS_OK)
        status = ls_checkpoint_load(world, tree, path);
    ls_state_free(tree);
    state_free(&s);
    return status;
}

Test(save_load, what_does_not_belong_is_refused_by_name)
{
    static const char *const names[] = {"\"task/new\"", "\"task/mask\"", "\"task/mask\"", "\"task/scale\""};
    const char *run = new_folder();
    save(run, 1, 1, 2);
    for (int change = MISSING; change <= TYPE; change++) {
        mismatch m = {.run = run, .change = change};
        cr_assert_eq(on_ranks(2, mismatch_body, &m), LS_ESTATE, "%d: %s", change, sentence);
        cr_assert(strstr(sentence, names[change]), "%s", sentence);
    }
    mismatch m = {.run = run, .change = GRADIENT_SHAPE};
    cr_assert_eq(on_ranks(2, mismatch_body, &m), LS_OK, "gradients are not in a checkpoint: %s", sentence);
}

/* huggingface/transformers#28270: one rank resumed, another began anew. */
static ls_status split_body(ls_world *world, void *context)
{
    char path[4096];
    state s;
    state_make(&s, 1, ls_world_rank(world), ls_world_ranks(world));
    snprintf(path, sizeof path, "%s/checkpoints/step-%08d", (const char *)context, 1 + ls_world_rank(world) / 2);
    ls_status status = ls_checkpoint_load(world, s.tree, path);
    state_free(&s);
    return status;
}

Test(save_load, ranks_that_look_at_different_checkpoints_are_refused)
{
    const char *run = new_folder();
    save(run, 1, 1, 3);
    save(run, 2, 1, 3);
    cr_assert_eq(on_ranks(3, split_body, (void *)run), LS_ESTATE, "%s", sentence);
    cr_assert(strstr(sentence, "rank 2"), "%s", sentence);
}

static ls_status drifted_body(ls_world *world, void *context)
{
    state s;
    state_make(&s, 1, ls_world_rank(world), ls_world_ranks(world));
    const ls_state_entry *codebook = ls_state_find(s.tree, "task/codebook");
    if (ls_world_rank(world) == 2)
        ((uint16_t *)codebook->data)[4321] = 0x3f80;
    ls_checkpoint_options options = {.keep = 1};
    ls_status status = ls_checkpoint_save(world, s.tree, context, 1, &options);
    state_free(&s);
    return status;
}

Test(save_load, replicas_that_drifted_apart_are_refused_by_name)
{
    const char *run = new_folder();
    cr_assert_eq(on_ranks(4, drifted_body, (void *)run), LS_ESTATE, "%s", sentence);
    cr_assert(strstr(sentence, "\"task/codebook\"") && strstr(sentence, "rank 2"), "%s", sentence);
}

/* rank 1 of 3 leaves out its last chunk, or brings one of its neighbour's too. */
typedef struct {
    const char *run;
    int64_t more;
} cover;

static ls_status cover_body(ls_world *world, void *context)
{
    const cover *c = context;
    int rank = ls_world_rank(world);
    ls_state_tree *tree = ls_state_create();
    float *memory = calloc(4 * LS_CHUNK, sizeof *memory);
    ls_state_add(tree, &(ls_state_entry){.name = "model/weight",
                                         .type = LS_F32,
                                         .ndim = 2,
                                         .shape = {6, LS_CHUNK},
                                         .begin = rank * 2 * LS_CHUNK,
                                         .held = (2 + (rank == 1 ? c->more : 0)) * LS_CHUNK,
                                         .data = memory});
    ls_checkpoint_options options = {.keep = 1};
    ls_status status = ls_checkpoint_save(world, tree, c->run, 1, &options);
    ls_state_free(tree);
    free(memory);
    return status;
}

Test(save_load, elements_held_by_nobody_or_by_two_are_named)
{
    const char *run = new_folder();
    cover c = {run, -1};
    cr_assert_eq(on_ranks(3, cover_body, &c), LS_ESTATE);
    cr_assert(strstr(sentence, "\"model/weight\": nobody holds element 12288 of 24576"), "%s", sentence);
    c.more = 1;
    cr_assert_eq(on_ranks(3, cover_body, &c), LS_ESTATE);
    cr_assert(strstr(sentence, "\"model/weight\": element 16384 is held twice"), "%s", sentence);
    c.more = 0;
    cr_assert_eq(on_ranks(3, cover_body, &c), LS_OK, "%s", sentence);
}

static bool collect_row(void *context, const ls_state_entry *entry, uint64_t hash)
{
    int *tensor = context;
    while (state_row(*tensor)->kind == LS_STATE_GRADIENT)
        ++*tensor;
    const ls_state_entry *want = state_row((*tensor)++);
    cr_assert_str_eq(entry->name, want->name);
    cr_assert_eq(entry->type, want->type);
    cr_assert_eq(entry->kind, want->kind);
    cr_assert_eq(entry->ndim, want->ndim);
    cr_assert_eq(memcmp(entry->shape, want->shape, sizeof want->shape), 0);
    cr_assert_neq(hash, 0);
    return true;
}

Test(save_load, tensors_are_listed_and_read_whole_by_name)
{
    const char *run = new_folder();
    save(run, 1, 9, 3);
    int listed = 0;
    cr_assert_eq(ls_checkpoint_list(run, collect_row, &listed), LS_OK);
    cr_assert_eq(listed, TENSORS);
    for (int t = 1; t < TENSORS; t++) {
        ls_state_entry entry;
        void *data, *want = malloc(1 << 20);
        cr_assert_eq(ls_checkpoint_read(run, state_row(t)->name, &entry, &data), LS_OK, "%s", ls_fail_sentence());
        cr_assert_eq(entry.held, ls_state_elements(state_row(t)));
        state_values(9, t, 0, entry.held, want);
        cr_assert_eq(memcmp(data, want, (size_t)entry.held * ls_type_size(entry.type)), 0, "%s", entry.name);
        free(data);
        free(want);
    }
    ls_state_entry entry;
    void *data;
    cr_assert_eq(ls_checkpoint_read(run, "model/nothing", &entry, &data), LS_ENOTFOUND);
    char id[128];
    cr_assert_eq(ls_checkpoint_numerics(run, id), LS_OK);
    cr_assert_str_eq(id, "cpu test");
    char *recipe;
    cr_assert_eq(ls_checkpoint_recipe_text(run, &recipe), LS_OK);
    cr_assert_str_eq(recipe, "task: test\n");
    free(recipe);
}

/* huggingface/accelerate#2102: resume needs more memory than a fresh start. Here: the tensors, and next to nothing. */
enum { BIG = 4096 * 4096 }; /* 64 MiB */

typedef struct {
    const char *run;
    int64_t grown; /* KiB at the peak of the load */
} big;

static ls_status big_body(ls_world *world, void *context)
{
    big *b = context;
    float *memory = malloc(BIG * sizeof *memory);
    for (int64_t i = 0; i < BIG; i++)
        memory[i] = (float)i;
    ls_state_tree *tree = ls_state_create();
    ls_state_add(
        tree,
        &(ls_state_entry){
            .name = "model/weight", .type = LS_F32, .ndim = 2, .shape = {4096, 4096}, .held = BIG, .data = memory});
    ls_checkpoint_options options = {.keep = 1};
    ls_status status = ls_checkpoint_save(world, tree, b->run, 1, &options);
    int64_t step;
    char path[4096];
    FILE *reset = fopen("/proc/self/clear_refs", "w"); /* 5: the peak begins anew */
    if (reset) {
        fputs("5", reset);
        fclose(reset);
    }
    int64_t before = status_kib("VmRSS:");
    if (status == LS_OK)
        status = ls_checkpoint_latest(world, b->run, 0, &step, path);
    if (status == LS_OK)
        status = ls_checkpoint_load(world, tree, path);
    b->grown = status_kib("VmHWM:") - before;
    ls_state_free(tree);
    free(memory);
    return status;
}

Test(save_load, a_load_needs_no_memory_beside_the_tensors)
{
    big b = {.run = new_folder()};
    cr_assert_eq(on_ranks(1, big_body, &b), LS_OK, "%s", sentence);
    cr_assert_lt(b.grown, 8 * 1024, "grew by %ld KiB for a tensor of 65536", (long)b.grown);
}
