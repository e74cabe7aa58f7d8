/* See protobuf.h. */
#include "datasets/tokenizer/protobuf.h"

#include <string.h>

enum { VARINT = 0, EIGHT = 1, BYTES = 2, FOUR = 5 };

/* False: it does not end within ten bytes, or within the message. */
static bool read_varint(ls_wire *wire, uint64_t *value)
{
    *value = 0;
    for (int shift = 0; shift < 70 && wire->at < wire->end; shift += 7) {
        const uint8_t byte = *wire->at++;
        *value |= shift < 64 ? (uint64_t)(byte & 0x7f) << shift : 0;
        if (byte < 0x80)
            return true;
    }
    return false;
}

/* Little-endian, whatever the machine. */
static bool read_fixed(ls_wire *wire, int bytes, uint64_t *value)
{
    if (wire->end - wire->at < bytes)
        return false;
    *value = 0;
    for (int i = 0; i < bytes; i++)
        *value |= (uint64_t)*wire->at++ << (8 * i);
    return true;
}

ls_status ls_wire_next(ls_wire *wire, ls_wire_field *field, bool *more)
{
    const size_t place = (size_t)(wire->at - wire->begin);
    uint64_t key, size;
    *field = (ls_wire_field){0};
    *more = wire->at < wire->end;
    if (!*more)
        return LS_OK;
    bool whole = read_varint(wire, &key);
    field->number = whole ? key >> 3 : 0;
    field->type = whole ? (int)(key & 7) : 0;
    if (whole && field->type == VARINT) {
        whole = read_varint(wire, &field->value);
    } else if (whole && (field->type == EIGHT || field->type == FOUR)) {
        whole = read_fixed(wire, field->type == EIGHT ? 8 : 4, &field->value);
    } else if (whole && field->type == BYTES) {
        whole = read_varint(wire, &size) && size <= (uint64_t)(wire->end - wire->at);
        if (whole) {
            field->bytes = (const char *)wire->at;
            field->size = (size_t)size;
            wire->at += size;
        }
    } else if (whole) {
        return ls_fail(LS_EFORMAT, "byte %zu: field %llu has wire type %d; those known are 0, 1, 2 and 5", place, (unsigned long long)field->number, field->type);
    }
    if (!whole || !field->number)
        return ls_fail(LS_EFORMAT, "byte %zu: a field that ends beyond its message (cut short?), or has no number", place);
    return LS_OK;
}

ls_wire ls_wire_inside(const ls_wire *wire, const ls_wire_field *field)
{
    const uint8_t *at = (const uint8_t *)field->bytes;
    return (ls_wire){wire->begin, at, at + field->size};
}

float ls_wire_float(const ls_wire_field *field)
{
    const uint32_t bits = (uint32_t)field->value;
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}
