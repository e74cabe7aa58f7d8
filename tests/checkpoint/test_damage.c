/* Damage of every kind, anywhere, is detected and named, and a run goes on from the last good checkpoint. */
#include "fixture.h"

#include "checkpoint/joining.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { GOOD = 1, BAD = 2, RANKS = 3 };

typedef struct {
    const char *run;
    char folder[1024], path[2048]; /* of the checkpoint to be damaged, and of a file in it */
    unsigned char *bytes;          /* of that file */
    size_t size;
} victim;

static victim choose(const char *run, const char *name)
{
    victim v = {.run = run};
    struct stat about;
    snprintf(v.folder, sizeof v.folder, "%s/checkpoints/step-%08d", run, BAD);
    snprintf(v.path, sizeof v.path, "%s/%s", v.folder, name);
    cr_assert_eq(stat(v.path, &about), 0, "%s", v.path);
    v.size = (size_t)about.st_size;
    v.bytes = malloc(v.size + 1);
    FILE *file = fopen(v.path, "rb");
    cr_assert_eq(fread(v.bytes, 1, v.size, file), v.size);
    fclose(file);
    return v;
}

static void overwrite(const victim *v, const void *bytes, size_t size)
{
    FILE *file = fopen(v->path, "wb");
    cr_assert_eq(fwrite(bytes, 1, size, file), size);
    fclose(file);
}

/* verify names the file; a start finds the one before, and its bits. */
static void expect_damage(const victim *v, const char *what, size_t at)
{
    ls_status status = ls_checkpoint_verify(v->run);
    cr_assert(status == LS_ECORRUPT || status == LS_EFORMAT || status == LS_ENOTFOUND, "%s at %zu: %s", what, at,
              ls_status_name(status));
    cr_assert(strstr(ls_fail_sentence(), v->path), "%s at %zu: %s", what, at, ls_fail_sentence());
    cr_assert_eq(ls_checkpoint_verify(v->folder), status);
    job j = {.run = v->run, .seed = GOOD};
    cr_assert_eq(on_ranks(1 + (int)(at % 2), load_body, &j), LS_OK, "%s at %zu: %s", what, at, sentence);
    cr_assert_eq(j.loaded, GOOD, "%s at %zu", what, at);
}

static const char *const files[] = {"checkpoint.h5", "rank-0000.h5", "rank-0001.h5", "rank-0002.h5"};

static const char *two_checkpoints(void)
{
    const char *run = new_folder();
    save(run, GOOD, GOOD, RANKS);
    save(run, BAD, BAD, RANKS);
    cr_assert_eq(ls_checkpoint_verify(run), LS_OK, "%s", ls_fail_sentence());
    return run;
}

Test(damage, a_flipped_bit_anywhere)
{
    const char *run = two_checkpoints();
    for (int f = 0; f < 4; f++) {
        victim v = choose(run, files[f]);
        for (size_t i = 0; i < 60; i++) {
            /* the first bytes, the last ones, and places in between that no stride of the format hits */
            size_t at = i < 10 ? i * 9 : i < 15 ? v.size - 1 - (i - 10) * 3 : v.size / 47 * (i - 14) + i;
            v.bytes[at] ^= (unsigned char)(1u << i % 8);
            overwrite(&v, v.bytes, v.size);
            expect_damage(&v, "flipped", at);
            v.bytes[at] ^= (unsigned char)(1u << i % 8);
        }
        overwrite(&v, v.bytes, v.size);
        cr_assert_eq(ls_checkpoint_verify(run), LS_OK, "repaired: %s", ls_fail_sentence());
        free(v.bytes);
    }
}

Test(damage, truncated_longer_gone_or_empty)
{
    const char *run = two_checkpoints();
    for (int f = 0; f < 4; f++) {
        victim v = choose(run, files[f]);
        const size_t sizes[] = {0, 1, 80, 511, 512, v.size / 2, v.size - 1};
        for (int i = 0; i < 7; i++) {
            overwrite(&v, v.bytes, sizes[i]);
            expect_damage(&v, "truncated", sizes[i]);
        }
        v.bytes[v.size] = 0;
        overwrite(&v, v.bytes, v.size + 1);
        expect_damage(&v, "longer", v.size);
        unlink(v.path);
        expect_damage(&v, "gone", 0);
        mkdir(v.path, 0777);
        expect_damage(&v, "a folder", 0);
        rmdir(v.path);
        overwrite(&v, v.bytes, v.size);
        free(v.bytes);
    }
}

Test(damage, a_page_of_zeros_and_a_file_of_zeros)
{
    const char *run = two_checkpoints();
    for (int f = 0; f < 4; f++) {
        victim v = choose(run, files[f]);
        unsigned char *zeroed = calloc(v.size, 1);
        overwrite(&v, zeroed, v.size);
        expect_damage(&v, "zeros", 0);
        for (size_t page = 0; page < v.size; page += v.size / 7 / 4096 * 4096 + 4096) {
            size_t size = v.size - page < 4096 ? v.size - page : 4096;
            memcpy(zeroed, v.bytes, v.size);
            memset(zeroed + page, 0, size);
            if (memcmp(zeroed, v.bytes, v.size) == 0)
                continue; /* there were zeros */
            overwrite(&v, zeroed, v.size);
            expect_damage(&v, "zero page", page);
        }
        overwrite(&v, v.bytes, v.size);
        free(zeroed);
        free(v.bytes);
    }
}

Test(damage, foreign_and_exchanged_files)
{
    const char *run = two_checkpoints();
    victim joining = choose(run, "checkpoint.h5"), first = choose(run, "rank-0000.h5"),
           second = choose(run, "rank-0001.h5");
    static const char text[] = "This is no checkpoint, however long it may be.";
    overwrite(&joining, text, sizeof text);
    expect_damage(&joining, "text", 0);
    cr_assert_eq(ls_checkpoint_verify(joining.folder), LS_EFORMAT);
    overwrite(&joining, first.bytes, first.size); /* HDF5, but not ours */
    expect_damage(&joining, "foreign HDF5", 0);
    overwrite(&joining, joining.bytes, joining.size);
    overwrite(&first, second.bytes, second.size);
    expect_damage(&first, "another rank's file", 0);
    /* the same file of another save of the same ranks: the size is equal, the bytes are not */
    char older[1024];
    unsigned char *bytes = malloc(first.size);
    snprintf(older, sizeof older, "%s/checkpoints/step-%08d/rank-0000.h5", run, GOOD);
    FILE *file = fopen(older, "rb");
    cr_assert_eq(fread(bytes, 1, first.size, file), first.size, "sizes are equal");
    fclose(file);
    overwrite(&first, bytes, first.size);
    expect_damage(&first, "another save's file", 0);
    overwrite(&first, first.bytes, first.size);
    cr_assert_eq(ls_checkpoint_verify(run), LS_OK);
    free(joining.bytes), free(first.bytes), free(second.bytes), free(bytes);
}

/* A file that changes between the choice and the load: each chunk is checked as it is read, and the tensor is named. */
Test(damage, of_data_is_found_by_the_load_and_named)
{
    const char *run = two_checkpoints();
    ls_manifest *m;
    victim v = choose(run, "rank-0001.h5");
    cr_assert_eq(ls_joining_read(v.folder, &m), LS_OK);
    int tried = 0;
    for (int64_t s = 0; s < m->slices; s++) {
        const ls_slice_row *slice = &m->slice[s];
        if (slice->file != 1)
            continue;
        const ls_tensor_row *row = &m->tensor[slice->tensor];
        size_t at = (size_t)slice->offset + (size_t)(slice->held / 2) * ls_type_size((ls_type)row->type);
        v.bytes[at] ^= 1; /* a mantissa: no NaN is hit by this seed */
        overwrite(&v, v.bytes, v.size);
        job j = {.run = run, .path = v.folder, .seed = BAD};
        cr_assert_eq(on_ranks(2, load_body, &j), LS_ECORRUPT, "%s: %s", row->name, sentence);
        cr_assert(strstr(sentence, row->name) && strstr(sentence, "rank-0001.h5"), "%s", sentence);
        v.bytes[at] ^= 1;
        tried++;
    }
    cr_assert_gt(tried, 3);
    ls_manifest_free(m);
    free(v.bytes);
}

static ls_status verify_body(ls_world *world, void *path)
{
    return ls_checkpoint_verify_shared(world, path);
}

/* The verdict of all is the verdict of one, whoever reads the damaged file, and however many are damaged. */
Test(damage, all_ranks_together_say_what_one_says)
{
    const char *run = two_checkpoints();
    victim second = choose(run, "rank-0001.h5"), third = choose(run, "rank-0002.h5");
    for (int ranks = 1; ranks <= 5; ranks++)
        cr_assert_eq(on_ranks(ranks, verify_body, (void *)run), LS_OK, "%d ranks: %s", ranks, sentence);
    third.bytes[third.size / 2] ^= 1;
    overwrite(&third, third.bytes, third.size);
    for (int damaged = 1; damaged <= 2; damaged++) {
        char want[2048];
        const ls_status status = ls_checkpoint_verify(run);
        cr_assert_eq(status, LS_ECORRUPT);
        snprintf(want, sizeof want, "%s", ls_fail_sentence());
        cr_assert(strstr(want, damaged == 1 ? "rank-0002.h5" : "rank-0001.h5"), "%s", want);
        for (int ranks = 1; ranks <= 5; ranks++) {
            cr_assert_eq(on_ranks(ranks, verify_body, (void *)run), status, "%d ranks: %s", ranks, sentence);
            cr_assert_str_eq(sentence, want, "%d ranks", ranks);
        }
        overwrite(&second, second.bytes, second.size - 1);
    }
    unlink(choose(run, "checkpoint.h5").path);
    cr_assert_eq(on_ranks(3, verify_body, (void *)run), LS_ENOTFOUND);
    cr_assert(strstr(sentence, "step-00000002/checkpoint.h5"), "%s", sentence);
    free(second.bytes), free(third.bytes);
}

Test(damage, none_whole_is_an_error_and_not_a_fresh_start)
{
    const char *run = two_checkpoints();
    char path[2048];
    for (int step = GOOD; step <= BAD; step++) {
        snprintf(path, sizeof path, "%s/checkpoints/step-%08d/checkpoint.h5", run, step);
        unlink(path);
    }
    job j = {.run = run};
    cr_assert_eq(on_ranks(2, load_body, &j), LS_ECORRUPT, "%s", sentence);
    cr_assert(strstr(sentence, "2 checkpoints, none of them whole"), "%s", sentence);
}

Test(damage, a_newer_schema_asks_for_an_upgrade_and_is_not_skipped)
{
    const char *run = two_checkpoints();
    victim v = choose(run, "checkpoint.h5");
    ls_manifest *m;
    cr_assert_eq(ls_joining_read(v.folder, &m), LS_OK);
    ls_memory_file file;
    cr_assert_eq(ls_joining_draw(m, &file), LS_OK);
    ls_joining_stamp(&file, 2, m);
    overwrite(&v, file.bytes, file.size);
    job j = {.run = run};
    cr_assert_eq(on_ranks(2, load_body, &j), LS_EVERSION, "%s", sentence);
    cr_assert(strstr(sentence, "schema 2") && strstr(sentence, "upgrade"), "%s", sentence);
    ls_memory_file_free(&file);
    ls_manifest_free(m);
    free(v.bytes);
}

/* A matching sum proves that nothing broke, not that nobody lied: every number of the tables is pushed out of its
 * range, and the file is stamped as if all were well. Nothing may crash or be believed. */
static bool lie(ls_manifest *m, int which)
{
    const int64_t wild[] = {-1, INT64_MIN, INT64_MAX, INT64_C(1) << 40};
    int64_t value = wild[which % 4];
    ls_slice_row *slice = &m->slice[which / 4 % m->slices];
    ls_tensor_row *row = &m->tensor[which / 4 % m->tensors];
    switch (which / 97 % 9) {
    case 0: slice->tensor = value; return true;
    case 1: slice->file = value; return true;
    case 2: slice->begin = value; return true;
    case 3: slice->held = value; return true;
    case 4: slice->offset = value; return true;
    case 5: row->ndim = (int32_t)(value >> 20) | 64; return true;
    case 6: row->type = (int32_t)(value >> 8) | 8; return true;
    case 7: row->kind = -1 - which; return true;
    default: row->shape[0] = value; return row->ndim > 0;
    }
}

Test(damage, tables_that_lie_are_refused)
{
    const char *run = two_checkpoints();
    char folder[1024];
    snprintf(folder, sizeof folder, "%s/checkpoints/step-%08d", run, BAD);
    int refused = 0;
    for (int which = 0; which < 97 * 9; which++) {
        ls_manifest *m;
        cr_assert_eq(ls_joining_read(folder, &m), LS_OK, "%s", ls_fail_sentence());
        if (lie(m, which)) {
            cr_assert_eq(ls_manifest_index(m, LS_ECORRUPT), LS_ECORRUPT, "lie %d is believed", which);
            refused++;
        }
        ls_manifest_free(m);
    }
    cr_assert_gt(refused, 800);
}
