/* A save in the background: it has the bits of the moment it began, whatever training does meanwhile; it waits for no
 * disk that it need not wait for; and when the disk hangs, that save is lost and nothing else. */
#include "faults.h"
#include "fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RANKS = 3 };

static void expect_newest(const char *run, int64_t step, uint64_t seed)
{
    job j = {.run = run, .seed = seed};
    cr_assert_eq(on_ranks(2, load_body, &j), LS_OK, "%s", sentence);
    cr_assert_eq(j.loaded, step);
}

Test(saver, has_the_bits_of_the_moment_it_began)
{
    for (int ranks = 1; ranks <= 4; ranks++) {
        for (int64_t buffer = 1; buffer <= 1 << 22; buffer <<= 11) { /* one page at a time, some, all at once */
            const char *run = new_folder();
            job j = {.run = run, .step = 1, .seed = 7, .buffer = buffer};
            cr_assert_eq(on_ranks(ranks, save_async_body, &j), LS_OK, "%s", sentence);
            expect_newest(run, 1, 7);
            cr_assert_eq(ls_checkpoint_verify(run), LS_OK, "%s", ls_fail_sentence());
        }
    }
}

Test(saver, writes_the_bytes_that_a_save_in_one_call_writes)
{
    const char *one = new_folder(), *other = new_folder();
    uint64_t want, got;
    job j = {.run = one, .step = 1, .seed = 3};
    cr_assert_eq(on_ranks(RANKS, save_body, &j), LS_OK, "%s", sentence);
    j.run = other;
    cr_assert_eq(on_ranks(RANKS, save_async_body, &j), LS_OK, "%s", sentence);
    cr_assert_eq(ls_checkpoint_hash(one, &want), LS_OK);
    cr_assert_eq(ls_checkpoint_hash(other, &got), LS_OK);
    cr_assert_eq(got, want);
}

/* Memory that the host cannot read as it is: every byte of a tensor, and none else, must come through the reader, or the
 * checkpoint holds other bits, or hashes that are not theirs. */
static ls_status decipher(void *context, void *to, const void *from, size_t bytes)
{
    const unsigned char *const key = context;
    for (size_t i = 0; i < bytes; i++)
        ((unsigned char *)to)[i] = ((const unsigned char *)from)[i] ^ *key;
    return LS_OK;
}

static ls_status refuse(void *context, void *to, const void *from, size_t bytes)
{
    (void)context, (void)to, (void)from, (void)bytes;
    return ls_fail(LS_EIO, "the device is gone");
}

typedef struct {
    const char *run;
    int64_t buffer;
    ls_status (*read)(void *context, void *to, const void *from, size_t bytes);
} reading;

static ls_status reading_body(ls_world *world, void *context)
{
    const reading *r = context;
    unsigned char key = 0x3c;
    const ls_saver_options how = {.buffer = r->buffer, .reader = {r->read, &key}};
    const ls_checkpoint_options options = {.keep = 2};
    ls_saver *saver;
    state s;
    state_make(&s, 5, ls_world_rank(world), ls_world_ranks(world));
    for (int t = 0; t < TENSORS; t++) {
        const ls_state_entry *entry = ls_state_find(s.tree, state_row(t)->name);
        decipher(&key, entry->data, entry->data, (size_t)entry->held * ls_type_size(entry->type));
    }
    ls_status status = ls_agree(world, ls_saver_open(&saver, world, &how), "test");
    if (status == LS_OK)
        status = ls_saver_begin(saver, s.tree, r->run, 1, &options);
    if (status == LS_OK)
        status = save_under_way(world, saver, &s);
    ls_saver_close(saver);
    state_free(&s);
    return status;
}

Test(saver, reads_tensors_by_the_reader_alone)
{
    for (int64_t buffer = 1; buffer <= 1 << 22; buffer <<= 11) { /* chunks in many pieces, in two, whole */
        reading r = {new_folder(), buffer, decipher};
        cr_assert_eq(on_ranks(RANKS, reading_body, &r), LS_OK, "%s", sentence);
        expect_newest(r.run, 1, 5);
        cr_assert_eq(ls_checkpoint_verify(r.run), LS_OK, "%s", ls_fail_sentence());
    }
    reading r = {new_folder(), 64 << 10, refuse};
    cr_expect_eq(on_ranks(RANKS, reading_body, &r), LS_EIO);
    cr_expect(strstr(sentence, "the device is gone"), "%s", sentence);
}

/* Several saves with one saver, as a training has it; a second one is refused while the first is in flight. */
static ls_status many_body(ls_world *world, void *context)
{
    const char *run = context;
    const ls_saver_options how = {.buffer = 64 << 10};
    ls_saver *saver;
    ls_status status = ls_agree(world, ls_saver_open(&saver, world, &how), "test");
    for (int step = 1; status == LS_OK && step <= 4; step++) {
        state s;
        state_make(&s, (uint64_t)step, ls_world_rank(world), ls_world_ranks(world));
        const ls_checkpoint_options options = {.keep = 2};
        status = ls_saver_begin(saver, s.tree, run, step, &options);
        if (status == LS_OK &&
            (ls_saver_in_flight(saver) != step || ls_saver_begin(saver, s.tree, run, 9, &options) != LS_EARG))
            status = ls_fail(LS_ENUMERIC, "a second save began");
        if (status == LS_OK && step % 2)
            status = save_under_way(world, saver, &s);
        else if (status == LS_OK)
            status = ls_saver_finish(saver);
        if (status == LS_OK && (ls_saver_in_flight(saver) != -1 || ls_saver_last(saver).step != step ||
                                ls_saver_last(saver).bytes < 10000))
            status = ls_fail(LS_ENUMERIC, "step %d is not over", step);
        if (status == LS_OK && (ls_saver_vote(saver) != 0 || ls_saver_finish(saver) != LS_OK))
            status = ls_fail(LS_ENUMERIC, "there is something to wait for");
        ls_saver_wait_taken(saver);
        state_free(&s);
    }
    ls_saver_close(saver);
    return status;
}

Test(saver, saves_one_after_the_other)
{
    const char *run = new_folder();
    cr_assert_eq(on_ranks(RANKS, many_body, (void *)run), LS_OK, "%s", sentence);
    expect_newest(run, 4, 4);
}

/* An error that ends the run in the middle of a save: the folder stays half written, and nobody takes it. */
static ls_status leave_body(ls_world *world, void *context)
{
    const char *run = context;
    state s;
    state_make(&s, 2, ls_world_rank(world), ls_world_ranks(world));
    const ls_saver_options how = {.buffer = 64 << 10};
    const ls_checkpoint_options options = {.keep = 2};
    ls_saver *saver;
    ls_status status = ls_agree(world, ls_saver_open(&saver, world, &how), "test");
    if (status == LS_OK)
        status = ls_saver_begin(saver, s.tree, run, 2, &options);
    ls_saver_close(saver);
    state_free(&s);
    return status;
}

Test(saver, may_be_left_at_any_time)
{
    const char *run = new_folder();
    save(run, 1, 1, RANKS);
    cr_assert_eq(on_ranks(RANKS, leave_body, (void *)run), LS_OK, "%s", sentence);
    expect_newest(run, 1, 1);
    save(run, 2, 2, RANKS);
    expect_newest(run, 2, 2);
}

/* Another rank's save failed: this one's is stopped, at any moment of it, and without waiting for patience to end. */
static ls_status stop_body(ls_world *world, void *context)
{
    enum { TURNS = 200, LONGEST = 4000 }; /* microseconds, about what a save takes */
    const ls_saver_options how = {.buffer = 16 << 10, .patience = 2};
    const ls_checkpoint_options options = {.keep = 2};
    const uint8_t failed[1] = {3}; /* votes */
    state s;
    state_make(&s, 5, 0, 1);
    ls_saver *saver;
    ls_status status = ls_saver_open(&saver, world, &how);
    for (int turn = 0; status == LS_OK && turn < TURNS; turn++) {
        bool over = false;
        status = ls_saver_begin(saver, s.tree, context, 1, &options);
        usleep((useconds_t)(turn * 997 % LONGEST));
        if (status == LS_OK)
            status = ls_saver_poll(saver, failed, 0, &over);
        if (status == LS_OK && !over)
            status = ls_fail(LS_ENUMERIC, "the save goes on");
    }
    ls_saver_close(saver);
    state_free(&s);
    return status;
}

Test(saver, may_be_stopped_at_any_time, .timeout = 60)
{
    cr_assert_eq(on_ranks(1, stop_body, (void *)new_folder()), LS_OK, "%s", sentence);
}

/* radixark/Megatron-LM#61: the first save needed the whole shard in host memory once more. */
typedef struct {
    const char *run;
    int64_t buffer, grown; /* grown: KiB at the peak of the save */
} big;

static ls_status big_body(ls_world *world, void *context)
{
    enum { SIDE = 4096 }; /* 64 MiB */
    big *b = context;
    float *memory = malloc(sizeof *memory * SIDE * SIDE);
    for (int64_t i = 0; i < SIDE * SIDE; i++)
        memory[i] = (float)i;
    ls_state_tree *tree = ls_state_create();
    const ls_state_entry entry = {
        .name = "model/weight", .type = LS_F32, .ndim = 2, .shape = {SIDE, SIDE}, .held = SIDE * SIDE, .data = memory};
    const ls_checkpoint_options options = {.keep = 1};
    const ls_saver_options how = {.buffer = b->buffer};
    ls_saver *saver;
    ls_status status = ls_state_add(tree, &entry);
    FILE *reset = fopen("/proc/self/clear_refs", "w"); /* 5: the peak begins anew */
    if (reset) {
        fputs("5", reset);
        fclose(reset);
    }
    const int64_t before = status_kib("VmRSS:");
    if (status == LS_OK)
        status = ls_saver_open(&saver, world, &how);
    if (status == LS_OK)
        status = ls_saver_begin(saver, tree, b->run, 1, &options);
    if (status == LS_OK)
        status = ls_saver_finish(saver);
    b->grown = status_kib("VmHWM:") - before;
    ls_saver_close(saver);
    ls_state_free(tree);
    free(memory);
    return status;
}

Test(saver, needs_no_more_memory_than_its_buffer)
{
    big b = {.run = new_folder(), .buffer = 4 << 20};
    cr_assert_eq(on_ranks(1, big_body, &b), LS_OK, "%s", sentence);
    cr_assert_lt(b.grown, 12 * 1024, "grew by %ld KiB for a tensor of 65536", (long)b.grown);
    b = (big){.run = new_folder(), .buffer = 256 << 20};
    cr_assert_eq(on_ranks(1, big_body, &b), LS_OK, "%s", sentence);
    cr_assert_gt(b.grown, 32 * 1024, "more may be copied, and is: the measure can fail");
}

/* marin-community/marin#5386: a checkpoint that nobody had read was all there was. */
Test(saver, reads_back_what_a_disk_says_it_wrote)
{
    int caught = 0, flips = 0;
    for (int call = 0;; call++) {
        const char *run = new_folder();
        save(run, 1, 1, RANKS);
        job j = {.run = run, .step = 2, .seed = 2, .read_back = true};
        faults_arm(FAULT_FLIP, call, 0);
        const ls_status status = on_ranks(RANKS, save_async_body, &j);
        const bool write = strcmp(faults_struck(), "pwrite") == 0, over = strcmp(faults_struck(), "nothing") == 0;
        faults_disarm();
        flips += write;
        caught += status == LS_ECORRUPT;
        cr_assert(status == LS_OK || (write && status == LS_ECORRUPT &&
                                      (strstr(sentence, "gives back") || strstr(sentence, "checkpoint.h5"))),
                  "%s", sentence);
        const int found = status == LS_OK ? 2 : 1;
        expect_newest(run, found, (uint64_t)found);
        if (over)
            break;
    }
    cr_assert_eq(caught, flips, "%d of %d", caught, flips);
    cr_assert_gt(caught, 15);
    const char *run = new_folder();
    job j = {.run = run, .step = 2, .seed = 2};
    faults_arm(FAULT_FLIP, 6, 0);
    cr_assert_eq(on_ranks(1, save_async_body, &j), LS_OK, "nobody looks: %s", sentence);
    faults_disarm();
    cr_assert_eq(ls_checkpoint_verify(run), LS_ECORRUPT);
}

/* ---- a disk that hangs ---- */

typedef struct {
    const char *run;
    int64_t buffer;
    uint8_t vote; /* after the taking was waited for */
    ls_status again, later;
    char again_sentence[512];
} hang;

/* The disk does not come back from its first write. */
static ls_status hang_body(ls_world *world, void *context)
{
    hang *h = context;
    state s;
    state_make(&s, 2, ls_world_rank(world), ls_world_ranks(world));
    const ls_saver_options how = {.buffer = h->buffer, .patience = 2};
    const ls_checkpoint_options options = {.keep = 2};
    ls_saver *saver;
    ls_status status = ls_agree(world, ls_saver_open(&saver, world, &how), "test");
    if (status == LS_OK)
        status = ls_saver_begin(saver, s.tree, h->run, 2, &options);
    ls_saver_wait_taken(saver);
    h->vote = ls_saver_vote(saver);
    if (status == LS_OK)
        status = save_under_way(world, saver, &s); /* what is counted: training goes on */
    const ls_status failed = status;
    char cause[512];
    snprintf(cause, sizeof cause, "%s", ls_fail_sentence());
    status = ls_saver_begin(saver, s.tree, h->run, 3, &options);
    h->again = status;
    snprintf(h->again_sentence, sizeof h->again_sentence, "%s", ls_fail_sentence());
    faults_disarm();
    for (int turn = 0; turn < 100 && status != LS_OK; turn++) { /* the call comes back */
        usleep(20000);
        status = ls_saver_begin(saver, s.tree, h->run, 3, &options);
    }
    if (status == LS_OK)
        status = ls_saver_finish(saver);
    h->later = status;
    ls_saver_close(saver);
    state_free(&s);
    return ls_fail_copy(failed, cause);
}

static hang try_hang(int64_t buffer)
{
    hang h = {.run = new_folder(), .buffer = buffer};
    save(h.run, 1, 1, 1);
    faults_arm(FAULT_HANG, 2, 0); /* after mkdir and open: the first write */
    cr_assert_eq(on_ranks(1, hang_body, &h), LS_EIO, "%s", sentence);
    cr_assert(strstr(sentence, "has not taken a byte for"), "%s", sentence);
    cr_assert_eq(h.again, LS_EIO, "%s", h.again_sentence);
    cr_assert(strstr(h.again_sentence, "has not come back"), "%s", h.again_sentence);
    cr_assert_eq(h.later, LS_OK, "the disk is back");
    return h;
}

Test(saver, a_disk_that_hangs_costs_that_save_only, .timeout = 60)
{
    enum { BUSY = 1, FAILED = 3 };
    cr_assert_eq(try_hang(16 << 10).vote, FAILED,
                 "what does not fit into the pool waits for the disk, until it is given up");
    cr_assert_eq(try_hang(16 << 20).vote, BUSY, "what does, does not");
}
