/* ZIP archives whose members are stored, not packed, as torch.save and numpy.savez write them: members are stretches of
 * the mapped file. 64-bit sizes as well. (Format: PKWARE, APPNOTE.TXT, sections 4.3 and 4.5.3.) */
#pragma once
#include "base/error.h"
#include "base/type.h"

typedef struct {
    const char *name; /* in the archive; `length` bytes, not terminated */
    size_t length;
    const uint8_t *bytes;
    size_t size;
    bool packed; /* compressed or encrypted: bytes is NULL */
} ls_zip_member;

/* Calls `member` for each, in the order of the archive's directory, until it does not return LS_OK. LS_EFORMAT: what
 * does not fit in the directory, with the file's name. */
ls_status ls_zip_walk(const char *file, const void *bytes, size_t size,
                      ls_status (*member)(void *context, const ls_zip_member *member), void *context);
