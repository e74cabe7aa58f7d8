/* See zip.h. */
#include "checkpoint/foreign/zip.h"

#include <string.h>

enum { END = 22, ENTRY = 46, LOCAL = 30, COMMENT = 65535 };

typedef struct {
    const char *file;
    const uint8_t *bytes;
    size_t size;
} archive;

static uint64_t get(const uint8_t *at, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value |= (uint64_t)at[i] << 8 * i;
    return value;
}

static ls_status damaged(const archive *a, const char *what)
{
    return ls_fail(LS_EFORMAT, "%s: a ZIP archive of which %s; it is cut short or damaged: fetch it again", a->file,
                   what);
}

/* The directory's place: its end record is within the last 64 KiB. */
static ls_status find_directory(const archive *a, uint64_t *begin, uint64_t *bytes, uint64_t *entries)
{
    const size_t least = a->size > END + COMMENT ? a->size - END - COMMENT : 0;
    for (size_t at = a->size < END ? 0 : a->size - END + 1; at-- > least;) {
        const uint8_t *end = a->bytes + at;
        if (get(end, 4) != 0x06054b50)
            continue;
        *entries = get(end + 10, 2), *bytes = get(end + 12, 4), *begin = get(end + 16, 4);
        if (at < 20 || get(end - 20, 4) != 0x07064b50) /* no locator of a 64-bit record */
            return LS_OK;
        const uint64_t wide = get(end - 12, 8);
        if (wide > a->size || a->size - wide < 56 || get(a->bytes + wide, 4) != 0x06064b50)
            return damaged(a, "the 64-bit directory is not where it should be");
        *entries = get(a->bytes + wide + 32, 8), *bytes = get(a->bytes + wide + 40, 8),
        *begin = get(a->bytes + wide + 48, 8);
        return LS_OK;
    }
    return damaged(a, "the directory is missing");
}

/* Sizes and the offset that did not fit 32 bits stand in the extra field 1, in this order. */
static void widen(const uint8_t *extra, size_t length, uint64_t *size, uint64_t *packed, uint64_t *offset)
{
    uint64_t *const wide[] = {size, packed, offset};
    for (size_t at = 0; at + 4 <= length;) {
        const size_t id = get(extra + at, 2), bytes = get(extra + at + 2, 2), first = at + 4;
        at = first + bytes;
        if (id != 1 || at > length)
            continue;
        for (size_t i = 0, field = first; i < 3; i++)
            if (*wide[i] == UINT32_MAX && field + 8 <= at)
                *wide[i] = get(extra + field, 8), field += 8;
    }
}

/* The member that the directory's entry at *at describes; *at goes to the next. */
static ls_status read_entry(const archive *a, uint64_t *at, uint64_t end, ls_zip_member *member)
{
    if (end - *at < ENTRY || get(a->bytes + *at, 4) != 0x02014b50)
        return damaged(a, "an entry of the directory is not one");
    const uint8_t *e = a->bytes + *at;
    const uint64_t name = get(e + 28, 2), extra = get(e + 30, 2), comment = get(e + 32, 2);
    if (end - *at - ENTRY < name + extra + comment)
        return damaged(a, "an entry goes beyond the directory");
    uint64_t packed = get(e + 20, 4), size = get(e + 24, 4), offset = get(e + 42, 4);
    widen(e + ENTRY + name, extra, &size, &packed, &offset);
    *at += ENTRY + name + extra + comment;
    *member = (ls_zip_member){.name = (const char *)e + ENTRY, .length = name, .size = size};
    member->packed = get(e + 10, 2) != 0 || (get(e + 8, 2) & 1) || packed != size;
    if (offset > a->size || a->size - offset < LOCAL || get(a->bytes + offset, 4) != 0x04034b50)
        return damaged(a, "a member is not where the directory says");
    const uint64_t data = offset + LOCAL + get(a->bytes + offset + 26, 2) + get(a->bytes + offset + 28, 2);
    if (data > a->size || a->size - data < packed)
        return damaged(a, "a member goes beyond the end");
    member->bytes = member->packed ? NULL : a->bytes + data;
    return LS_OK;
}

ls_status ls_zip_walk(const char *file, const void *bytes, size_t size,
                      ls_status (*visit)(void *context, const ls_zip_member *member), void *context)
{
    const archive a = {.file = file, .bytes = bytes, .size = size};
    uint64_t at = 0, length = 0, entries = 0;
    ls_status status = find_directory(&a, &at, &length, &entries);
    if (status == LS_OK && (at > size || size - at < length))
        status = damaged(&a, "the directory goes beyond the end");
    const uint64_t end = status == LS_OK ? at + length : 0;
    for (uint64_t i = 0; i < entries && status == LS_OK; i++) {
        ls_zip_member member;
        status = read_entry(&a, &at, end, &member);
        if (status == LS_OK)
            status = visit(context, &member);
    }
    return status;
}
