/* See writer.h. The mutex guards all fields below it; a slot of the pool belongs to the thread that takes until `took`
 * passes it, then to the one that puts until `put` does.
 *
 * Whether the state may be read is decided under the mutex: the thread says `taking` before it copies, and does not
 * begin once `stopped` is set, so who gives up waits for one copy at the most and may then change the state. */
#include "checkpoint/writer.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { PIECE = 4 << 20, PAGE = 4096, LEAST_PIECES = 4 };

struct ls_writer {
    pthread_t thread, putter;
    pthread_mutex_t mutex;
    pthread_cond_t asked, told;
    bool closing, closed; /* the second: of the putter */
    bool busy;            /* work is asked for, or under way */
    bool begun;           /* and nobody has asked for its end */
    bool stopped;         /* the thread shall take no more */
    bool given_up;        /* nobody waits any more */
    bool taking, taken;
    bool putting;
    int64_t took, put;    /* pieces of the file */
    ls_status put_status; /* of the first put that failed, or of a take */
    char put_sentence[2048];
    double progress, patience; /* when the last piece was done; seconds */
    ls_status status;          /* of the last work */
    char sentence[2048];
    ls_rank_file *file; /* the work: a file, or */
    ls_status (*work)(void *context);
    void (*forget)(void *context);
    void *context;

    bool read_back;
    int64_t buffer, piece, pieces;
    char *pool;
    size_t pool_bytes;
    int64_t *held; /* [pieces] bytes */
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* With the mutex; false: `until` has passed. */
static bool wait_until(ls_writer *w, double until)
{
    const struct timespec t = {.tv_sec = (time_t)until, .tv_nsec = (long)((until - (double)(time_t)until) * 1e9)};
    return pthread_cond_timedwait(&w->told, &w->mutex, &t) != ETIMEDOUT;
}

static ls_status stopped(void)
{
    return ls_fail(LS_EIO, "the save was stopped");
}

/* ---- the thread that takes ---- */

/* Waits for a free slot of the pool; false: take no more. */
static bool begin_take(ls_writer *w)
{
    pthread_mutex_lock(&w->mutex);
    while (w->took - w->put == w->pieces && !w->stopped && w->put_status == LS_OK)
        pthread_cond_wait(&w->told, &w->mutex);
    w->taking = !w->stopped && w->put_status == LS_OK;
    const bool may = w->taking;
    pthread_mutex_unlock(&w->mutex);
    return may;
}

static void end_take(ls_writer *w, bool all)
{
    pthread_mutex_lock(&w->mutex);
    w->progress = now();
    w->taking = false;
    w->taken = all;
    w->took++;
    pthread_cond_broadcast(&w->told);
    pthread_mutex_unlock(&w->mutex);
}

/* What was to be taken could not be read: as a put that failed. */
static void fail_take(ls_writer *w, ls_status status)
{
    pthread_mutex_lock(&w->mutex);
    w->taking = false;
    w->put_status = status;
    snprintf(w->put_sentence, sizeof w->put_sentence, "%s", ls_fail_sentence());
    pthread_cond_broadcast(&w->told);
    pthread_mutex_unlock(&w->mutex);
}

/* Until all that was taken is put, or no more shall be; the file is this thread's alone again. */
static ls_status wait_for_puts(ls_writer *w)
{
    pthread_mutex_lock(&w->mutex);
    while (w->putting || (w->put < w->took && !w->stopped && w->put_status == LS_OK))
        pthread_cond_wait(&w->told, &w->mutex);
    ls_status status = ls_fail_copy(w->put_status, w->put_sentence);
    if (status == LS_OK && w->stopped)
        status = stopped();
    pthread_mutex_unlock(&w->mutex);
    return status;
}

/* false: the work is to stop. */
static bool goes_on(ls_writer *w)
{
    pthread_mutex_lock(&w->mutex);
    w->progress = now();
    const bool stopped = w->stopped;
    pthread_mutex_unlock(&w->mutex);
    return !stopped;
}

static ls_status read_back(ls_writer *w, ls_rank_file *file)
{
    bool done = false;
    ls_status status = ls_rank_file_reopen(file);
    while (status == LS_OK && !done) {
        status = ls_rank_file_check(file, w->pool, w->piece, &done);
        if (!goes_on(w) && status == LS_OK)
            return stopped();
    }
    return status;
}

static ls_status write_file(ls_writer *w, ls_rank_file *file)
{
    ls_status status = ls_rank_file_create(file); /* 3 */
    if (status != LS_OK)
        return status;
    for (bool all = false; !all && begin_take(w);) {
        const int64_t slot = w->took % w->pieces; /* nobody else changes it */
        status = ls_rank_file_take(file, w->pool + slot * w->piece, w->piece, &w->held[slot]);
        all = w->held[slot] < w->piece;
        if (status == LS_OK)
            end_take(w, all);
        else
            fail_take(w, status);
    }
    status = wait_for_puts(w);
    if (status == LS_OK)
        status = ls_rank_file_end(file); /* 4 */
    return status == LS_OK && w->read_back ? read_back(w, file) : status;
}

/* ---- the thread that puts ---- */

/* With the mutex, in which it returns: the next piece. */
static void put_piece(ls_writer *w)
{
    const int64_t slot = w->put % w->pieces;
    ls_rank_file *file = w->file;
    w->putting = true;
    pthread_mutex_unlock(&w->mutex);
    const ls_status status = ls_rank_file_put(file, w->pool + slot * w->piece, w->held[slot]); /* 3 */
    pthread_mutex_lock(&w->mutex);
    if (status != LS_OK && w->put_status == LS_OK) {
        w->put_status = status;
        snprintf(w->put_sentence, sizeof w->put_sentence, "%s", ls_fail_sentence());
    }
    w->putting = false;
    w->put++;
    w->progress = now();
    pthread_cond_broadcast(&w->told);
}

static void *put_all(void *argument)
{
    ls_writer *w = argument;
    pthread_mutex_lock(&w->mutex);
    while (!w->closed) {
        if (w->put < w->took && !w->stopped && w->put_status == LS_OK)
            put_piece(w);
        else
            pthread_cond_wait(&w->told, &w->mutex);
    }
    pthread_mutex_unlock(&w->mutex);
    return NULL;
}

/* ---- work ---- */

/* With the mutex, in which it returns. */
static void do_work(ls_writer *w)
{
    ls_rank_file *file = w->file;
    pthread_mutex_unlock(&w->mutex);
    ls_fail_clear();
    const ls_status status = file ? write_file(w, file) : w->work(w->context);
    pthread_mutex_lock(&w->mutex);
    if (w->given_up && file)
        ls_rank_file_free(file);
    else if (w->given_up)
        w->forget(w->context);
    else {
        w->status = status;
        snprintf(w->sentence, sizeof w->sentence, "%s", status == LS_OK ? "" : ls_fail_sentence());
    }
    w->progress = now();
    w->busy = w->taking = false;
    pthread_cond_broadcast(&w->told);
}

static void *serve(void *argument)
{
    ls_writer *w = argument;
    pthread_mutex_lock(&w->mutex);
    while (!w->closing || w->busy) {
        if (w->busy)
            do_work(w);
        else
            pthread_cond_wait(&w->asked, &w->mutex);
    }
    pthread_mutex_unlock(&w->mutex);
    return NULL;
}

/* ---- its owner ---- */

static void free_memory(ls_writer *w)
{
    if (w->pool)
        munmap(w->pool, w->pool_bytes);
    free(w->held);
    free(w);
}

static void end_thread(ls_writer *w, bool *flag, pthread_cond_t *cond)
{
    pthread_mutex_lock(&w->mutex);
    *flag = true;
    pthread_cond_broadcast(cond);
    pthread_mutex_unlock(&w->mutex);
}

ls_status ls_writer_open(ls_writer **out, int64_t buffer, double patience, bool read_back)
{
    *out = NULL;
    ls_writer *w = calloc(1, sizeof *w);
    if (!w)
        return ls_fail(LS_EMEM, "no memory for a checkpoint writer");
    w->patience = patience;
    w->buffer = buffer;
    w->read_back = read_back;
    w->piece = buffer / LEAST_PIECES < PIECE ? buffer / LEAST_PIECES / PAGE * PAGE : PIECE;
    w->piece = w->piece < PAGE ? PAGE : w->piece;
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->asked, &clock);
    pthread_cond_init(&w->told, &clock);
    pthread_condattr_destroy(&clock);
    int error = pthread_create(&w->thread, NULL, serve, w);
    if (!error && (error = pthread_create(&w->putter, NULL, put_all, w)) != 0) {
        end_thread(w, &w->closing, &w->asked);
        pthread_join(w->thread, NULL);
    }
    if (error) {
        free(w);
        return ls_fail(LS_EMEM, "no threads for a checkpoint writer: %s", strerror(error));
    }
    *out = w;
    return LS_OK;
}

void ls_writer_close(ls_writer *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->mutex);
    const bool waits = w->busy && !w->file; /* a commit is finished, a file is not */
    w->closing = w->stopped = true;
    pthread_cond_signal(&w->asked);
    pthread_cond_broadcast(&w->told);
    while (w->busy && !w->given_up && wait_until(w, waits ? w->progress + w->patience : w->progress + 5))
        ;
    const bool hangs = w->busy;
    w->given_up = w->given_up || hangs;
    pthread_mutex_unlock(&w->mutex);
    if (hangs) {
        pthread_detach(w->thread);
        pthread_detach(w->putter);
        return;
    }
    pthread_join(w->thread, NULL);
    end_thread(w, &w->closed, &w->told);
    pthread_join(w->putter, NULL);
    if (w->begun && !w->given_up && w->file)
        ls_rank_file_free(w->file);
    else if (w->begun && !w->given_up)
        w->forget(w->context);
    free_memory(w);
}

ls_status ls_writer_prepare(ls_writer *w, int64_t bytes)
{
    pthread_mutex_lock(&w->mutex);
    const bool hangs = w->busy;
    pthread_mutex_unlock(&w->mutex);
    if (hangs)
        return ls_fail(LS_EIO, "the disk has not come back from the save before: a call that writes is still not over");
    int64_t pieces = w->buffer / w->piece, enough = bytes / w->piece + 2;
    pieces = pieces < enough ? pieces : enough;
    pieces = pieces < LEAST_PIECES ? LEAST_PIECES : pieces;
    const size_t size = (size_t)(pieces * w->piece);
    if (size > w->pool_bytes) {
        void *pool = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        int64_t *held = calloc((size_t)pieces, sizeof *held);
        if (pool == MAP_FAILED || !held) {
            if (pool != MAP_FAILED)
                munmap(pool, size);
            free(held);
            return ls_fail(LS_EMEM, "no memory for copies of %zu bytes; lower checkpoint.buffer", size);
        }
        madvise(pool, size, MADV_HUGEPAGE); /* fewer faults in the first save; only advice */
        if (w->pool)
            munmap(w->pool, w->pool_bytes);
        free(w->held);
        w->pool = pool;
        w->pool_bytes = size;
        w->held = held;
        w->pieces = pieces;
    }
    return LS_OK;
}

static void begin(ls_writer *w, ls_rank_file *file, ls_status (*work)(void *), void (*forget)(void *), void *context)
{
    pthread_mutex_lock(&w->mutex);
    w->file = file;
    w->work = work;
    w->forget = forget;
    w->context = context;
    w->busy = w->begun = true;
    w->stopped = w->given_up = false;
    w->taken = !file;
    w->took = w->put = 0;
    w->put_status = LS_OK;
    w->progress = now();
    pthread_cond_signal(&w->asked);
    pthread_mutex_unlock(&w->mutex);
}

void ls_writer_start(ls_writer *w, ls_rank_file *file)
{
    begin(w, file, NULL, NULL, NULL);
}

void ls_writer_call(ls_writer *w, ls_status (*work)(void *context), void (*forget)(void *context), void *context)
{
    begin(w, NULL, work, forget, context);
}

/* With the mutex. From here on the thread reads nothing that is not its own. */
static void give_up(ls_writer *w)
{
    w->stopped = true;
    while (w->taking)
        pthread_cond_wait(&w->told, &w->mutex);
    if (!w->busy)
        return; /* it came back after all */
    w->given_up = true;
    w->status = ls_fail(LS_EIO, "the disk has not taken a byte for %.0f seconds", w->patience);
    snprintf(w->sentence, sizeof w->sentence, "%s", ls_fail_sentence());
    pthread_cond_broadcast(&w->told);
}

static bool is_under_way(const ls_writer *w)
{
    return w->begun && w->busy && !w->given_up;
}

ls_writer_state ls_writer_look(ls_writer *w)
{
    pthread_mutex_lock(&w->mutex);
    if (is_under_way(w) && now() > w->progress + w->patience)
        give_up(w);
    const ls_writer_state state = !w->begun         ? LS_WRITER_IDLE
                                  : is_under_way(w) ? LS_WRITER_BUSY
                                  : w->status       ? LS_WRITER_FAILED
                                                    : LS_WRITER_DONE;
    pthread_mutex_unlock(&w->mutex);
    return state;
}

void ls_writer_wait_taken(ls_writer *w)
{
    pthread_mutex_lock(&w->mutex);
    while (is_under_way(w) && !w->taken) {
        if (!wait_until(w, w->progress + w->patience) && is_under_way(w) && !w->taken &&
            now() > w->progress + w->patience)
            give_up(w);
    }
    pthread_mutex_unlock(&w->mutex);
}

void ls_writer_wait(ls_writer *w, double seconds)
{
    const double until = now() + seconds;
    pthread_mutex_lock(&w->mutex);
    while (is_under_way(w) && wait_until(w, until))
        ;
    pthread_mutex_unlock(&w->mutex);
}

void ls_writer_cancel(ls_writer *w)
{
    pthread_mutex_lock(&w->mutex);
    w->stopped = true;
    pthread_cond_broadcast(&w->told); /* the one may wait for a put that the other will not begin any more */
    while (is_under_way(w)) {
        if (!wait_until(w, w->progress + w->patience) && is_under_way(w))
            give_up(w);
    }
    pthread_mutex_unlock(&w->mutex);
}

double ls_writer_progress(ls_writer *w)
{
    pthread_mutex_lock(&w->mutex);
    const double progress = w->progress;
    pthread_mutex_unlock(&w->mutex);
    return progress;
}

ls_status ls_writer_end(ls_writer *w, bool *kept)
{
    pthread_mutex_lock(&w->mutex);
    w->begun = false;
    *kept = w->given_up;
    const ls_status status = ls_fail_copy(w->status, w->sentence);
    pthread_mutex_unlock(&w->mutex);
    return status;
}
