/* Prefetching: a ring of grains between the thread that fills and the thread that trains.
 *
 *       done          taken          filled         asked
 *     ---|--- in use ---|--- ready ----|--- waiting ---|---      counters only grow; grain i lives in slot i mod slots
 *
 * The mutex guards the four counters; a slot's memory belongs to the filling thread from `asked` until `filled` passes
 * it, and to the training thread from then until `done` does. */
#include "datasets/loader.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
    ls_grain_request request;
    ls_grain grain;
    ls_grain_memory memory;
    ls_status status;
    char sentence[1024]; /* why status is not LS_OK: sentences belong to threads */
} slot;

struct ls_loader {
    const ls_data *data;
    ls_grain_staging staging;           /* all zero: the heap */
    pthread_t thread;
    bool running;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int64_t asked, filled, taken, done; /* guarded */
    bool stop;                          /* guarded */
    ls_trace *trace;                    /* guarded */
    bool filling;                       /* guarded: the thread is inside fill(), and may write to a trace */
    double stall;                       /* seconds; the training thread's own */
    int slots;
    slot *slot;
};

static slot *slot_of(ls_loader *loader, int64_t number)
{
    return &loader->slot[number % loader->slots];
}

static void fill(const ls_loader *loader, slot *s)
{
    s->status = ls_data_fill_grain(loader->data, &s->request, &s->memory, &s->grain);
    if (s->status == LS_OK && loader->staging.filled)
        s->status = loader->staging.filled(loader->staging.context, s->memory.block);
    if (s->status != LS_OK)
        snprintf(s->sentence, sizeof s->sentence, "%s", ls_fail_sentence());
}

static void *fill_all(void *context)
{
    ls_loader *loader = context;
    pthread_mutex_lock(&loader->mutex);
    for (;;) {
        while (!loader->stop && loader->filled == loader->asked)
            pthread_cond_wait(&loader->changed, &loader->mutex);
        if (loader->stop)
            break;
        slot *next = slot_of(loader, loader->filled);
        ls_trace *trace = loader->trace;
        loader->filling = true;
        pthread_mutex_unlock(&loader->mutex);
        const int64_t begin = ls_trace_begin(trace);
        fill(loader, next);
        ls_trace_end(trace, LS_TRACE_LOADER, LS_TRACE_LOAD, "read grain", begin, 0, 0);
        pthread_mutex_lock(&loader->mutex);
        loader->filling = false;
        loader->filled++;
        pthread_cond_broadcast(&loader->changed);
    }
    pthread_mutex_unlock(&loader->mutex);
    return NULL;
}

/* Signals are for the main thread: one that ends a run early must not land here. */
static bool start_thread(ls_loader *loader)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    loader->running = pthread_create(&loader->thread, NULL, fill_all, loader) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return loader->running;
}

ls_status ls_loader_open_staged(ls_loader **out, ls_data *data, int ahead, const ls_grain_staging *staging)
{
    *out = NULL;
    const int64_t rows = ls_data_grain_rows(data);
    if (ahead < 1 || rows < 1)
        return ls_fail(LS_EARG, "loader: %d grains ahead (data.ahead), %lld rows a grain (batch.grain); both must be at least 1", ahead,
                       (long long)rows);
    ls_loader *loader = calloc(1, sizeof *loader);
    if (!loader)
        return ls_fail(LS_EMEM, "loader: no memory");
    loader->data = data;
    if (staging)
        loader->staging = *staging;
    pthread_mutex_init(&loader->mutex, NULL);
    pthread_cond_init(&loader->changed, NULL);
    loader->slots = ahead + 1;
    loader->slot = calloc((size_t)loader->slots, sizeof *loader->slot);
    ls_status status = loader->slot ? LS_OK : ls_fail(LS_EMEM, "no memory for them");
    for (int i = 0; i < loader->slots && status == LS_OK; i++)
        status = ls_grain_memory_stage(&loader->slot[i].memory, data, staging ? &loader->staging : NULL);
    if (status == LS_OK && !start_thread(loader))
        status = ls_fail(LS_EMEM, "no thread");
    if (status != LS_OK) {
        ls_loader_free(loader);
        return ls_fail_at(status, "loader: %d grains of %lld rows; lower data.ahead or batch.grain", ahead + 1, (long long)rows);
    }
    *out = loader;
    return LS_OK;
}

ls_status ls_loader_open(ls_loader **out, ls_data *data, int ahead)
{
    return ls_loader_open_staged(out, data, ahead, NULL);
}

void ls_loader_free(ls_loader *loader)
{
    if (!loader)
        return;
    if (loader->running) {
        pthread_mutex_lock(&loader->mutex);
        loader->stop = true;
        pthread_cond_broadcast(&loader->changed);
        pthread_mutex_unlock(&loader->mutex);
        pthread_join(loader->thread, NULL);
    }
    for (int i = 0; loader->slot && i < loader->slots; i++)
        ls_grain_memory_free(&loader->slot[i].memory);
    free(loader->slot);
    pthread_cond_destroy(&loader->changed);
    pthread_mutex_destroy(&loader->mutex);
    free(loader);
}

void ls_loader_ask(ls_loader *loader, const ls_grain_request *request)
{
    pthread_mutex_lock(&loader->mutex);
    while (loader->asked - loader->done == loader->slots)
        pthread_cond_wait(&loader->changed, &loader->mutex);
    slot_of(loader, loader->asked)->request = *request;
    loader->asked++;
    pthread_cond_broadcast(&loader->changed);
    pthread_mutex_unlock(&loader->mutex);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

ls_status ls_loader_next(ls_loader *loader, const ls_grain **grain)
{
    *grain = NULL;
    pthread_mutex_lock(&loader->mutex);
    if (loader->taken == loader->asked) {
        pthread_mutex_unlock(&loader->mutex);
        return ls_fail(LS_EARG, "loader: a grain is taken that was not asked for");
    }
    if (loader->filled == loader->taken) {
        const double from = seconds();
        while (loader->filled == loader->taken)
            pthread_cond_wait(&loader->changed, &loader->mutex);
        loader->stall += seconds() - from;
    }
    slot *next = slot_of(loader, loader->taken);
    loader->taken++;
    pthread_mutex_unlock(&loader->mutex);
    if (next->status != LS_OK)
        return ls_fail_copy(next->status, next->sentence);
    *grain = &next->grain;
    return LS_OK;
}

void ls_loader_done(ls_loader *loader, const ls_grain *grain)
{
    pthread_mutex_lock(&loader->mutex);
    if (grain && loader->done < loader->taken)
        loader->done++;
    pthread_cond_broadcast(&loader->changed);
    pthread_mutex_unlock(&loader->mutex);
}

void ls_loader_trace(ls_loader *loader, ls_trace *trace)
{
    pthread_mutex_lock(&loader->mutex);
    loader->trace = trace;
    while (loader->filling)
        pthread_cond_wait(&loader->changed, &loader->mutex);
    pthread_mutex_unlock(&loader->mutex);
}

double ls_loader_stall(const ls_loader *loader)
{
    return loader->stall;
}
