/* See rate.h. Times itself, so never part of a result. */
#include "tensor/rate.h"

#include <time.h>

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double ls_device_matmul_rate(ls_device *device, ls_type type)
{
    enum { SIDE = 1024 };
    const double budget = 0.2;
    size_t bytes = (size_t)SIDE * SIDE * ls_type_size(type);
    void *block[3] = {NULL, NULL, NULL};
    ls_arena *scratch = NULL;
    double best = 0, start = seconds();
    if (ls_arena_create(&scratch, "matmul rate", (size_t)256 << 20) != LS_OK)
        return 0;
    for (int i = 0; i < 3; i++) {
        if (device->allocate(device, bytes, &block[i]) != LS_OK)
            goto done;
        device->fill(device, type, (int64_t)SIDE * SIDE, 0.5, block[i]);
    }
    for (int calls = 0; calls < 2 || seconds() - start < budget; calls++) {
        double began = seconds();
        ls_matmul_args product = {.batch = 1,
                                  .m = SIDE,
                                  .n = SIDE,
                                  .k = SIDE,
                                  .trans_b = true,
                                  .type_ab = type,
                                  .type_c = type,
                                  .a = block[0],
                                  .b = block[1],
                                  .c = block[2],
                                  .lda = SIDE,
                                  .ldb = SIDE,
                                  .ldc = SIDE};
        if (device->matmul(device, &product, scratch) != LS_OK)
            break;
        double rate = 2.0 * SIDE * SIDE * SIDE / (seconds() - began) * 1e-9;
        best = rate > best ? rate : best;
    }
done:
    for (int i = 0; i < 3; i++)
        if (block[i])
            device->release(device, block[i], bytes);
    ls_arena_free(scratch);
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
        const double rate = 3.0 * (double)bytes / (seconds() - began) * 1e-9;
        best = rate > best ? rate : best;
    }
done:
    for (int i = 0; i < 2; i++)
        if (block[i])
            device->release(device, block[i], bytes);
    return best;
}
