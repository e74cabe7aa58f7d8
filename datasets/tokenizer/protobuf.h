/* The wire format of protocol buffers, read from memory: fields one after the other, nothing decoded that was not asked for.
 *
 *     key = varint (number << 3 | type); type 0: varint, 1: 8 bytes, 2: varint length and so many bytes, 5: 4 bytes */
#pragma once
#include "base/error.h"
#include "base/type.h"

typedef struct {
    const uint8_t *begin, *at, *end; /* begin: of the file, for offsets in messages */
} ls_wire;

typedef struct {
    uint64_t number; /* of the field */
    int type;
    uint64_t value;  /* type 0, 1, 5 */
    const char *bytes; /* type 2: in the file */
    size_t size;
} ls_wire_field;

/* The next field in *field, with *more; at the end *more is false. LS_EFORMAT with the byte: it reaches over the end, or its type is
 * none of these (groups, which proto2 gave up). */
ls_status ls_wire_next(ls_wire *wire, ls_wire_field *field, bool *more);
/* A message inside the field. */
ls_wire ls_wire_inside(const ls_wire *wire, const ls_wire_field *field);
float ls_wire_float(const ls_wire_field *field); /* of type 5 */
