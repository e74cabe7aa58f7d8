/* See rate.h. Times itself, so never part of a result. */
#include "tensor/rate.h"

#include <time.h>

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* The best rate of products of `side`, within `budget` seconds; *call: of the fastest one. 0: no memory, or an error. */
static double rate_of_side(ls_device *device, ls_type type, int64_t side, double budget, double *call)
{
    const size_t bytes = (size_t)(side * side) * ls_type_size(type);
    void *block[3] = {NULL, NULL, NULL};
    ls_arena *scratch = NULL;
    double best = 0;
    if (ls_arena_create(&scratch, "matmul rate", (size_t)256 << 20) != LS_OK)
        return 0;
    for (int i = 0; i < 3; i++) {
        if (device->allocate(device, bytes, &block[i]) != LS_OK)
            goto done;
        device->fill(device, type, side * side, 0.5, block[i]);
    }
    if (ls_device_wait(device) != LS_OK)
        goto done;
    const double start = seconds();
    for (int calls = 0; calls < 2 || seconds() - start < budget; calls++) {
        double began = seconds();
        ls_matmul_args product = {.batch = 1,
                                  .m = side,
                                  .n = side,
                                  .k = side,
                                  .trans_b = true,
                                  .type_ab = type,
                                  .type_c = type,
                                  .a = block[0],
                                  .b = block[1],
                                  .c = block[2],
                                  .lda = side,
                                  .ldb = side,
                                  .ldc = side};
        if (device->matmul(device, &product, scratch) != LS_OK || ls_device_wait(device) != LS_OK)
            break;
        const double took = seconds() - began, rate = 2.0 * (double)(side * side * side) / took * 1e-9;
        if (rate > best) {
            best = rate;
            *call = took;
        }
    }
done:
    for (int i = 0; i < 3; i++)
        if (block[i])
            device->release(device, block[i], bytes);
    ls_arena_free(scratch);
    return best;
}

/* What fills a CPU is too small for a GPU, where a call must be long beside its launch, and too large for an emulated one. */
double ls_device_matmul_rate(ls_device *device, ls_type type)
{
    enum { CPU_SIDE = 1024, LEAST_SIDE = 64, MOST_SIDE = 8192 };
    double call = 0, best = 0;
    if (!device->synchronize)
        return rate_of_side(device, type, CPU_SIDE, 0.2, &call);
    for (int64_t side = LEAST_SIDE; side <= MOST_SIDE && call < 5e-3; side *= 2) {
        const double rate = rate_of_side(device, type, side, 0, &call);
        if (rate == 0)
            break;
        best = rate > best ? rate : best;
    }
    return best;
}

double ls_device_memory_rate(ls_device *device)
{
    enum { COUNT = 16 << 20 };
    const double budget = 0.2;
    const size_t bytes = (size_t)COUNT * sizeof(float);
    void *block[2] = {NULL, NULL};
    double best = 0;
    for (int i = 0; i < 2; i++) {
        if (device->allocate(device, bytes, &block[i]) != LS_OK)
            goto done;
        device->fill(device, LS_F32, COUNT, 0.5, block[i]);
    }
    const double start = seconds();
    for (int calls = 0; calls < 2 || seconds() - start < budget; calls++) {
        const double began = seconds();
        device->add_to(device, LS_F32, COUNT, block[0], block[1]);
        if (ls_device_wait(device) != LS_OK)
            break;
        const double rate = 3.0 * (double)bytes / (seconds() - began) * 1e-9;
        best = rate > best ? rate : best;
    }
done:
    for (int i = 0; i < 2; i++)
        if (block[i])
            device->release(device, block[i], bytes);
    return best;
}
