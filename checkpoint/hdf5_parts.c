/* See hdf5_parts.h. All numbers are little-endian in the file, and so is every machine lockstep runs on. */
#include "checkpoint/hdf5_parts.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "slices are written as they stand in memory");

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local char complaint[256];

static herr_t deepest(unsigned depth, const H5E_error2_t *error, void *unused)
{
    (void)unused;
    if (depth == 0 && error->desc)
        snprintf(complaint, sizeof complaint, "%s", error->desc);
    return 0;
}

/* HDF5 calls it whenever one of its functions fails. The first failure is the cause; those after it are clean-up. */
static herr_t keep_first(hid_t stack, void *unused)
{
    (void)unused;
    if (!complaint[0])
        H5Ewalk2(stack, H5E_WALK_UPWARD, deepest, NULL);
    return 0;
}

void ls_hdf5_start(void)
{
    pthread_mutex_lock(&turn);
    complaint[0] = '\0';
    H5Eset_auto2(H5E_DEFAULT, keep_first, NULL);
    H5PLset_loading_state(0);
}

void ls_hdf5_end(void)
{
    pthread_mutex_unlock(&turn);
}

ls_status ls_hdf5_fail(ls_status code, const char *what)
{
    return ls_fail(code, "%s: HDF5: %s", what, complaint[0] ? complaint : "no reason given");
}

/* A float of 16 bits: sign at 15, `exponent` bits behind it, the rest mantissa. */
static hid_t narrow_type(size_t exponent)
{
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    const size_t mantissa = 15 - exponent;
    if (H5Tset_fields(type, 15, mantissa, exponent, 0, mantissa) < 0 || H5Tset_size(type, 2) < 0 || H5Tset_ebias(type, ((size_t)1 << (exponent - 1)) - 1) < 0) {
        H5Tclose(type);
        return -1;
    }
    return type;
}

hid_t ls_hdf5_type(ls_type type)
{
    switch (type) {
    case LS_F32: return H5Tcopy(H5T_IEEE_F32LE);
    case LS_BF16: return narrow_type(8);
    case LS_F16: return narrow_type(5);
    case LS_F64: return H5Tcopy(H5T_IEEE_F64LE);
    case LS_I32: return H5Tcopy(H5T_STD_I32LE);
    case LS_I64: return H5Tcopy(H5T_STD_I64LE);
    case LS_U8: return H5Tcopy(H5T_STD_U8LE);
    }
    return -1;
}

hid_t ls_hdf5_text(size_t size)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    if (H5Tset_size(type, size) < 0) {
        H5Tclose(type);
        return -1;
    }
    return type;
}

hid_t ls_hdf5_space(int ndim, const int64_t *shape)
{
    hsize_t dims[LS_MAX_DIMS];
    for (int d = 0; d < ndim; d++)
        dims[d] = (hsize_t)shape[d];
    return ndim == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(ndim, dims, NULL);
}

static bool put(hid_t object, const char *name, hid_t type, const void *value)
{
    hid_t space = H5Screate(H5S_SCALAR), attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    bool ok = attribute >= 0 && H5Awrite(attribute, type, value) >= 0;
    H5Aclose(attribute);
    H5Sclose(space);
    return ok;
}

/* The file may say anything: the attribute must have one element and the size that `type` has. */
static bool get(hid_t object, const char *name, hid_t type, void *value)
{
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    hid_t stored = H5Aget_type(attribute), space = H5Aget_space(attribute);
    bool ok = attribute >= 0 && H5Tget_class(stored) == H5Tget_class(type) &&
              H5Tget_size(stored) == H5Tget_size(type) && H5Tis_variable_str(stored) <= 0 &&
              H5Sget_simple_extent_npoints(space) == 1 && H5Aread(attribute, type, value) >= 0;
    H5Sclose(space);
    H5Tclose(stored);
    H5Aclose(attribute);
    return ok;
}

bool ls_hdf5_put_i64(hid_t object, const char *name, int64_t value)
{
    return put(object, name, H5T_STD_I64LE, &value);
}

bool ls_hdf5_put_u64(hid_t object, const char *name, uint64_t value)
{
    return put(object, name, H5T_STD_U64LE, &value);
}

bool ls_hdf5_put_text(hid_t object, const char *name, const char *text, size_t size)
{
    hid_t type = ls_hdf5_text(size);
    bool ok = type >= 0 && put(object, name, type, text);
    H5Tclose(type);
    return ok;
}

bool ls_hdf5_get_i64(hid_t object, const char *name, int64_t *value)
{
    return get(object, name, H5T_STD_I64LE, value);
}

bool ls_hdf5_get_u64(hid_t object, const char *name, uint64_t *value)
{
    return get(object, name, H5T_STD_U64LE, value);
}

bool ls_hdf5_get_text(hid_t object, const char *name, char *text, size_t size)
{
    hid_t type = ls_hdf5_text(size);
    bool ok = type >= 0 && get(object, name, type, text) && memchr(text, '\0', size);
    H5Tclose(type);
    return ok;
}
