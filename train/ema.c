/* See ema.h. */
#include "train/ema.h"

#include <string.h>

static bool is_on(const ls_ema *ema)
{
    return ema->options && ema->options->decay > 0;
}

bool ls_ema_is_evaluated(const ls_ema *ema)
{
    return is_on(ema) && ema->options->evaluate;
}

size_t ls_ema_bytes(const ls_ema_options *options, int64_t elements, int ranks)
{
    return options->decay > 0 ? (size_t)elements / (size_t)ranks * sizeof(float) : 0;
}

ls_status ls_ema_open(ls_ema *ema, const ls_ema_options *options, ls_flat *flat)
{
    *ema = (ls_ema){.options = options, .flat = flat};
    if (!is_on(ema))
        return LS_OK;
    const ls_status status =
        flat->device->allocate(flat->device, (size_t)flat->slice_count * sizeof(float), (void **)&ema->slice);
    return ls_fail_at(status, "averaged weights of %lld elements", (long long)flat->slice_count);
}

void ls_ema_close(ls_ema *ema)
{
    if (ema->slice)
        ema->flat->device->release(ema->flat->device, ema->slice, (size_t)ema->flat->slice_count * sizeof(float));
    *ema = (ls_ema){0};
}

void ls_ema_begin(ls_ema *ema)
{
    if (is_on(ema))
        memcpy(ema->slice, ema->flat->master, (size_t)ema->flat->slice_count * sizeof(float));
}

double ls_ema_decay(const ls_ema_options *options, int64_t n)
{
    const double early = (double)(1 + n) / (double)(10 + n);
    return options->warmup && early < options->decay ? early : options->decay;
}

bool ls_ema_update(ls_ema *ema, int64_t step)
{
    const ls_ema_options *options = ema->options;
    if (!is_on(ema) || step % options->every != 0)
        return false;
    ls_flat *flat = ema->flat;
    flat->device->average(flat->device, flat->slice_count, 1 - ls_ema_decay(options, step / options->every),
                          flat->master, ema->slice);
    return true;
}

static void exchange_slices(float *a, float *b, int64_t count)
{
    float piece[LS_CHUNK];
    for (int64_t at = 0; at < count; at += LS_CHUNK) { /* slices are whole chunks */
        memcpy(piece, a + at, sizeof piece);
        memcpy(a + at, b + at, sizeof piece);
        memcpy(b + at, piece, sizeof piece);
    }
}

ls_status ls_ema_exchange(ls_ema *ema, ls_reducer *reducer, ls_world *world)
{
    if (!is_on(ema))
        return LS_OK;
    const ls_status status = ls_device_wait(ema->flat->device);
    if (status != LS_OK)
        return status;
    exchange_slices(ema->flat->master, ema->slice, ema->flat->slice_count);
    ls_flat_round(ema->flat);
    return ls_flat_publish(ema->flat, reducer, world);
}

ls_status ls_ema_state(ls_ema *ema, ls_state_tree *tree)
{
    return is_on(ema) ? ls_flat_entries(ema->flat, tree, "ema", LS_STATE_MOMENT, true, ema->slice) : LS_OK;
}
