/* TensorBoard's record framing around protobuf-c's packing. See events.h. */
#include "train/events.h"

#include "event.pb-c.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { RECORD_ROOM = 4096 };

struct ls_events {
    int fd;
    char path[4096];
    uint8_t record[RECORD_ROOM];
};

uint32_t ls_crc32c(const void *bytes, size_t size)
{
    const uint8_t *p = bytes;
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < size; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (0x82f63b78u & (0u - (crc & 1u)));
    }
    return ~crc;
}

/* TFRecord's mask: a CRC of bytes that hold CRCs would be weak. */
static uint32_t masked_crc(const void *bytes, size_t size)
{
    const uint32_t crc = ls_crc32c(bytes, size);
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

static ls_status write_event(ls_events *events, const Lockstep__Event *event)
{
    const size_t size = lockstep__event__get_packed_size(event);
    if (size + 16 > RECORD_ROOM)
        return ls_fail(LS_EARG, "%s: an event of %zu bytes, at most %d fit", events->path, size, RECORD_ROOM - 16);
    const uint64_t length = size;
    memcpy(events->record, &length, 8);
    uint32_t crc = masked_crc(events->record, 8);
    memcpy(events->record + 8, &crc, 4);
    lockstep__event__pack(event, events->record + 12);
    crc = masked_crc(events->record + 12, size);
    memcpy(events->record + 12 + size, &crc, 4);
    const ssize_t written = write(events->fd, events->record, size + 16);
    if (written != (ssize_t)(size + 16))
        return ls_fail(errno == ENOSPC ? LS_ESPACE : LS_EIO, "%s: cannot write (%s)", events->path,
                       written < 0 ? strerror(errno) : "short write");
    return LS_OK;
}

ls_status ls_events_open(ls_events **out, const char *folder)
{
    *out = NULL;
    ls_events *events = calloc(1, sizeof *events);
    if (!events)
        return ls_fail(LS_EMEM, "no memory for the TensorBoard writer");
    char host[128] = "host";
    gethostname(host, sizeof host - 1);
    snprintf(events->path, sizeof events->path, "%s/events.out.tfevents.%010lld.%s.%d", folder, (long long)time(NULL),
             host, (int)getpid());
    events->fd = open(events->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (events->fd < 0) {
        const ls_status status = ls_fail(LS_EIO, "%s: cannot create (%s)", events->path, strerror(errno));
        free(events);
        return status;
    }
    Lockstep__Event event = LOCKSTEP__EVENT__INIT;
    event.wall_time = (double)time(NULL);
    event.what_case = LOCKSTEP__EVENT__WHAT_FILE_VERSION;
    event.file_version = (char[]){"brain.Event:2"};
    const ls_status status = write_event(events, &event);
    if (status != LS_OK) {
        ls_events_close(events);
        return status;
    }
    *out = events;
    return LS_OK;
}

void ls_events_close(ls_events *events)
{
    if (!events)
        return;
    close(events->fd);
    free(events);
}

ls_status ls_events_add(ls_events *events, int64_t step, const ls_scalar *scalars, int count)
{
    Lockstep__SummaryValue values[LS_MAX_SCALARS];
    Lockstep__SummaryValue *pointers[LS_MAX_SCALARS];
    char tags[LS_MAX_SCALARS][64];
    if (count > LS_MAX_SCALARS)
        return ls_fail(LS_EARG, "%d scalars in one event, at most %d", count, LS_MAX_SCALARS);
    for (int i = 0; i < count; i++) {
        values[i] = (Lockstep__SummaryValue)LOCKSTEP__SUMMARY_VALUE__INIT;
        snprintf(tags[i], sizeof tags[i], "%s", scalars[i].tag);
        values[i].tag = tags[i];
        values[i].value_case = LOCKSTEP__SUMMARY_VALUE__VALUE_SIMPLE_VALUE;
        values[i].simple_value = (float)scalars[i].value;
        pointers[i] = &values[i];
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    Lockstep__Summary summary = LOCKSTEP__SUMMARY__INIT;
    summary.n_value = (size_t)count;
    summary.value = pointers;
    Lockstep__Event event = LOCKSTEP__EVENT__INIT;
    event.wall_time = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    event.step = step;
    event.what_case = LOCKSTEP__EVENT__WHAT_SUMMARY;
    event.summary = &summary;
    return write_event(events, &event);
}
