/* TensorBoard event files: RUN/events.out.tfevents.SECONDS.HOST.
 * A file is a list of records {length u64, masked CRC32C of the length, bytes, masked CRC32C of the bytes}, the bytes
 * being an Event of train/event.proto. A record is written with one write, so a crash leaves at most one torn record
 * at the end, which TensorBoard's reader skips. */
#pragma once
#include "base/error.h"
#include "base/type.h"

typedef struct ls_events ls_events;

typedef struct {
    const char *tag;
    double value;
} ls_scalar;

enum { LS_MAX_SCALARS = 24 };

ls_status ls_events_open(ls_events **events, const char *folder);
void ls_events_close(ls_events *events);
/* At most LS_MAX_SCALARS. Allocates nothing. */
ls_status ls_events_add(ls_events *events, int64_t step, const ls_scalar *scalars, int count);
/* CRC32C (Castagnoli), for the tests. */
uint32_t ls_crc32c(const void *bytes, size_t size);
