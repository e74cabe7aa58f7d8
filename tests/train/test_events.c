#include "train/events.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Test(events, crc32c_gives_the_published_check_value)
{
    cr_assert_eq(ls_crc32c("123456789", 9), 0xe3069283u);
}

static uint32_t mask(uint32_t crc)
{
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

/* Walks the records as TensorBoard's reader does. */
Test(events, every_record_frames_and_checks)
{
    char folder[] = "/tmp/ls-events-XXXXXX", path[4096];
    cr_assert_not_null(mkdtemp(folder));
    ls_events *events;
    cr_assert_eq(ls_events_open(&events, folder), LS_OK);
    const ls_scalar scalars[] = {{"train/loss", 1.5}, {"train/lr", 0}};
    for (int step = 1; step <= 3; step++)
        cr_assert_eq(ls_events_add(events, step, scalars, 2), LS_OK);
    ls_events_close(events);

    DIR *entries = opendir(folder);
    path[0] = '\0';
    for (struct dirent *e; (e = readdir(entries));)
        if (strstr(e->d_name, "tfevents"))
            snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
    closedir(entries);
    uint8_t bytes[4096];
    FILE *in = fopen(path, "rb");
    const size_t size = fread(bytes, 1, sizeof bytes, in);
    fclose(in);
    size_t at = 0;
    int records = 0;
    bool tag = false, zero = false;
    while (at < size) {
        uint64_t length;
        uint32_t crc;
        memcpy(&length, bytes + at, 8);
        memcpy(&crc, bytes + at + 8, 4);
        cr_assert_eq(crc, mask(ls_crc32c(bytes + at, 8)));
        memcpy(&crc, bytes + at + 12 + length, 4);
        cr_assert_eq(crc, mask(ls_crc32c(bytes + at + 12, length)));
        /* a value of 0 is written too: tag 1 "train/lr", then field 2 as four zero bytes */
        zero = zero || memmem(bytes + at, length + 12, "train/lr\x15\0\0\0\0", 13);
        tag = tag || memmem(bytes + at, length + 12, "train/loss", 10);
        at += 16 + length;
        records++;
    }
    cr_assert_eq(at, size);
    cr_assert_eq(records, 4, "the version record and three steps");
    cr_assert(tag);
    cr_assert(zero);
    unlink(path);
    rmdir(folder);
}
