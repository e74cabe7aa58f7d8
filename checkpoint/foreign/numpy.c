/* An array of numpy.savez's archive, "NAME.npy":
 *     "\x93NUMPY", version 1.0 (2.0, 3.0), header's length in 2 (4) bytes, the header, the numbers
 * The header is a Python literal: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } with blanks behind it.
 * (Format: numpy/lib/format.py, "Format Version 1.0".) */
#include "checkpoint/foreign/parts.h"
#include "checkpoint/foreign/zip.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *descr;
    ls_foreign_type type;
} kinds[] = {
    {"<f4", LS_FOREIGN_F32}, {"<f8", LS_FOREIGN_F64}, {"<f2", LS_FOREIGN_F16}, {"<i8", LS_FOREIGN_I64},
    {"<i4", LS_FOREIGN_I32}, {"<i2", LS_FOREIGN_I16}, {"|i1", LS_FOREIGN_I8},  {"<u8", LS_FOREIGN_U64},
    {"<u4", LS_FOREIGN_U32}, {"<u2", LS_FOREIGN_U16}, {"|u1", LS_FOREIGN_U8},  {"|b1", LS_FOREIGN_BOOL},
};

enum { HEADER = 4096 }; /* more than any array of numbers has */

/* What stands behind 'key': in the header; NULL: nothing. */
static const char *value_of(const char *header, const char *key)
{
    char quoted[32];
    snprintf(quoted, sizeof quoted, "'%s':", key);
    const char *at = strstr(header, quoted);
    at = at ? at + strlen(quoted) : NULL;
    while (at && *at == ' ')
        at++;
    return at;
}

/* (), (10,), (2, 3) */
static bool read_shape(const char *at, ls_foreign_tensor *tensor)
{
    if (!at || *at++ != '(')
        return false;
    while (*at != ')') {
        char *end;
        if (tensor->ndim == LS_MAX_DIMS || *at < '0' || *at > '9')
            return false;
        tensor->shape[tensor->ndim++] = strtoll(at, &end, 10);
        at = end;
        while (*at == ',' || *at == ' ')
            at++;
    }
    return true;
}

static bool read_header(const char *header, ls_foreign_tensor *tensor)
{
    const char *descr = value_of(header, "descr"), *order = value_of(header, "fortran_order");
    size_t k = 0;
    while (descr && *descr == '\'' && k < sizeof kinds / sizeof *kinds && strncmp(descr + 1, kinds[k].descr, 3))
        k++;
    if (!descr || *descr != '\'' || k == sizeof kinds / sizeof *kinds || descr[4] != '\'' ||
        !read_shape(value_of(header, "shape"), tensor))
        return false;
    tensor->type = kinds[k].type;
    return order && (!strncmp(order, "False", 5) || tensor->ndim < 2);
}

ls_status ls_numpy_add(ls_foreign *set, const ls_zip_member *m)
{
    const char *file = set->file[set->files - 1].path;
    char name[512], header[HEADER + 1];
    if (m->length < 5 || m->length >= sizeof name || memcmp(m->name + m->length - 4, ".npy", 4))
        return ls_fail(LS_EFORMAT,
                       "%s: member \"%.*s\" is no array; only archives of torch.save and numpy.savez are read", file,
                       (int)(m->length < 200 ? m->length : 200), m->name);
    snprintf(name, sizeof name, "%.*s", (int)m->length - 4, m->name);
    const size_t wide = m->size >= 12 && !m->packed && m->bytes[6] > 1 ? 4 : 2;
    size_t length = 0;
    for (size_t i = 0; i < wide && m->size >= 12 && !m->packed; i++)
        length |= (size_t)m->bytes[8 + i] << 8 * i;
    if (m->packed || m->size < 12 || memcmp(m->bytes, "\x93NUMPY", 6) || length > HEADER || length > m->size - 8 - wide)
        return ls_fail(LS_EFORMAT, "%s: array \"%.200s\" is compressed or damaged; write it with numpy.savez", file,
                       name);
    memcpy(header, m->bytes + 8 + wide, length);
    header[length] = '\0';
    ls_foreign_tensor tensor = {.name = name, .data = m->bytes + 8 + wide + length};
    int64_t bytes;
    if (!read_header(header, &tensor))
        return ls_fail(
            LS_EFORMAT,
            "%s: array \"%.200s\": its header is %.200s; numbers in row-major order are read, of up to %d axes", file,
            name, header, LS_MAX_DIMS);
    if (!ls_foreign_measure(&tensor, &bytes) || (uint64_t)bytes != m->size - 8 - wide - length)
        return ls_fail(LS_EFORMAT, "%s: array \"%.200s\" is not as long as its header says; the file is damaged", file,
                       name);
    return ls_foreign_add(set, &tensor);
}
