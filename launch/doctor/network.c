/* How fast bytes go between the ranks, beside what memory gives: copying is what a reduction inside a node cannot beat. */
#include "launch/doctor/doctor.h"
#include "dist/reduce.h"
#include "tensor/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { COPY_BYTES = 64 << 20, SEND_BYTES = 4 << 20, ELEMENTS = 2 << 20, REPEATS = 3 };
/* A reduction reads and writes each byte a few times; inside a node less than this share of a copy's rate has a reason. */
#define SHARE 0.02
#define UNEVEN 3.0

static const char phase[] = "doctor: network";

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* GB/s of this rank while all copy. */
static ls_status copy_rate(ls_doctor *doctor, double *rate)
{
    char *from = malloc(COPY_BYTES), *to = malloc(COPY_BYTES);
    ls_status status = ls_agree(doctor->world, from && to ? LS_OK : ls_fail(LS_EMEM, "no memory to copy"), phase);
    double best = 1e30;
    if (status == LS_OK) {
        memset(from, 1, COPY_BYTES);
        memset(to, 1, COPY_BYTES);
        status = ls_barrier(doctor->world, phase);
    }
    for (int i = 0; i < REPEATS && status == LS_OK; i++) {
        const double begin = now();
        memcpy(to, from, COPY_BYTES);
        __asm__ volatile("" : : "r"(to) : "memory");
        best = now() - begin < best ? now() - begin : best;
    }
    free(from);
    free(to);
    *rate = 1e-9 * COPY_BYTES / best;
    return status;
}

/* GB/s at which each rank alone sends to the others; rates [ranks], the same everywhere. */
static ls_status send_rates(ls_doctor *doctor, double *rates)
{
    const int ranks = ls_world_ranks(doctor->world);
    size_t *bytes = calloc((size_t)ranks, sizeof *bytes);
    char *mine = calloc(1, SEND_BYTES), *all = malloc(SEND_BYTES);
    ls_status status = ls_agree(doctor->world, bytes && mine && all ? LS_OK : ls_fail(LS_EMEM, "no memory to send"), phase);
    for (int r = 0; r < ranks && status == LS_OK; r++) {
        bytes[r] = SEND_BYTES;
        double best = 1e30;
        for (int i = 0; i < REPEATS && status == LS_OK; i++) {
            const double begin = now();
            status = ls_all_gather_varying(doctor->world, mine, all, bytes, phase);
            best = now() - begin < best ? now() - begin : best;
        }
        rates[r] = 1e-9 * SEND_BYTES / best;
        bytes[r] = 0;
        if (status == LS_OK)
            status = ls_broadcast(doctor->world, &rates[r], sizeof rates[r], 0, phase);
    }
    free(bytes);
    free(mine);
    free(all);
    return status;
}

/* GB/s of gradient that is summed over all ranks and brought back to all, as a step does it. */
static ls_status reduce_rate(ls_doctor *doctor, double *rate)
{
    const int ranks = ls_world_ranks(doctor->world);
    const ls_reduce_options options = {.elements = ELEMENTS, .max_grains = ranks, .schedule = LS_SCHEDULE_BLOCK};
    ls_device *device = NULL;
    ls_reducer *reducer = NULL;
    float *data = calloc(ELEMENTS, sizeof *data), *sum;
    double best = 1e30;
    ls_status status = data ? ls_device_create_cpu(&device, doctor->team) : ls_fail(LS_EMEM, "no memory to add");
    status = ls_agree(doctor->world, status, phase);
    if (status == LS_OK)
        status = ls_reducer_open(&reducer, doctor->world, device, &options);
    for (int i = 0; i < REPEATS + 1 && status == LS_OK; i++) {
        const double begin = now();
        status = ls_reducer_begin(reducer, ranks);
        if (status == LS_OK)
            status = ls_reducer_add(reducer, 0, ELEMENTS, data);
        if (status == LS_OK)
            status = ls_reducer_grain_end(reducer);
        if (status == LS_OK)
            status = ls_reducer_finish(reducer, &sum);
        if (status == LS_OK)
            status = ls_all_gather_slices(reducer, LS_F32, data);
        best = i && now() - begin < best ? now() - begin : best;
    }
    ls_reducer_close(reducer);
    if (device)
        device->free(device);
    free(data);
    *rate = 1e-9 * ELEMENTS * sizeof(float) / best;
    return status;
}

static void judge(const ls_doctor *doctor, double copy, double reduce, const double *send, ls_finding *finding)
{
    const int ranks = ls_world_ranks(doctor->world);
    int least = 0, most = 0;
    for (int r = 1; r < ranks; r++) {
        least = send[r] < send[least] ? r : least;
        most = send[r] > send[most] ? r : most;
    }
    if (ls_world_nodes(doctor->world) == 1 && reduce < SHARE * copy)
        ls_doctor_find(finding, LS_DOCTOR_WARN, "gradients are added at %.2f GB/s, memory copies %.1f: more ranks than cores, a small /dev/shm, or ranks on "
                       "one core", reduce, copy);
    else if (send[most] > UNEVEN * send[least])
        ls_doctor_find(finding, LS_DOCTOR_WARN, "rank %d sends at %.2f GB/s, rank %d at %.2f: look at that node's network (link speed, "
                       "OMPI_MCA_btl_tcp_if_include)", least, send[least], most, send[most]);
    ls_doctor_find(finding, LS_DOCTOR_OK, "gradients are added over all ranks at %.2f GB/s; ranks send at %.2f to %.2f; memory copies %.1f a rank", reduce,
                   send[least], send[most], copy);
}

ls_status ls_doctor_network(ls_doctor *doctor)
{
    double copy, reduce = 0, *send = calloc((size_t)ls_world_ranks(doctor->world), sizeof *send);
    if (!send)
        return ls_fail(LS_EMEM, "no memory for the rates");
    ls_finding finding = {0};
    ls_status status = copy_rate(doctor, &copy);
    if (status == LS_OK && ls_world_ranks(doctor->world) == 1)
        ls_doctor_find(&finding, LS_DOCTOR_OK, "one rank alone; memory copies %.1f GB/s", copy);
    else if (status == LS_OK && (status = send_rates(doctor, send)) == LS_OK && (status = reduce_rate(doctor, &reduce)) == LS_OK)
        judge(doctor, copy, reduce, send, &finding);
    if (status == LS_OK)
        ls_doctor_say(doctor, "network", &finding);
    free(send);
    return status;
}
