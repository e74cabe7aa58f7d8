/* HDF5 glue. See hdf5.h. */
#include "datasets/hdf5.h"
#include "datasets/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "arrays are mapped as they lie in the file: little-endian");

enum { GROWS_BY = 4 << 20 };

/* HDF5 prints a stack of errors unless told not to; the setting is the calling thread's. */
static void be_quiet(void)
{
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    H5PLset_loading_state(0);
}

static herr_t keep_innermost(unsigned number, const H5E_error2_t *error, void *context)
{
    if (number == 0 && error->desc)
        snprintf(context, 256, "%s", error->desc);
    return 0;
}

/* Why HDF5 failed: the innermost line of its error stack. */
static const char *reason(char text[256])
{
    snprintf(text, 256, "no reason given");
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, text);
    return text;
}

static ls_status write_failed(const char *path, const char *what)
{
    char why[256];
    return ls_fail(LS_EMEM, "%s: HDF5 cannot lay out %s in memory (%s)", path, what, reason(why));
}

/* HDF5's core driver keeps a file in memory of ours, and leaves it to us when the file is closed: only then are its
 * bytes final (a copy by H5Fget_file_image has a wrong checksum in its superblock). */

static void *image_malloc(size_t size, H5FD_file_image_op_t why, void *output)
{
    (void)why, (void)output;
    return malloc(size);
}

static void *image_realloc(void *bytes, size_t size, H5FD_file_image_op_t why, void *output)
{
    (void)why, (void)output;
    return realloc(bytes, size);
}

static herr_t image_free(void *bytes, H5FD_file_image_op_t why, void *context)
{
    ls_h5_output *output = context;
    if (why == H5FD_FILE_IMAGE_OP_FILE_CLOSE) {
        free(output->bytes); /* of a file that stands at the path: HDF5 looks at it first, and closes it again */
        output->bytes = bytes;
    } else {
        free(bytes);
    }
    return 0;
}

static void *share_output(void *output)
{
    return output;
}

static herr_t unshare_output(void *output)
{
    (void)output;
    return 0;
}

ls_status ls_h5_create(ls_h5_output *output, const char *path)
{
    be_quiet();
    *output = (ls_h5_output){.path = path};
    H5FD_file_image_callbacks_t callbacks = {.image_malloc = image_malloc, .image_realloc = image_realloc, .image_free = image_free,
                                             .udata_copy = share_output, .udata_free = unshare_output, .udata = output};
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), creation = H5Pcreate(H5P_FILE_CREATE);
    H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V18);
    H5Pset_alignment(access, 1, 64);
    H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
    H5Pset_fapl_core(access, GROWS_BY, false);
    H5Pset_file_image_callbacks(access, &callbacks);
    H5Pset_obj_track_times(creation, false); /* of the root group */
    output->id = H5Fcreate(path, H5F_ACC_TRUNC, creation, access);
    ls_status status = output->id < 0 ? write_failed(path, "the file") : LS_OK; /* any other call forgets the reason */
    H5Pclose(creation);
    H5Pclose(access);
    return status;
}

static hid_t attribute_type(const ls_h5_attribute *row)
{
    if (row->kind != LS_H5_TEXT)
        return H5Tcopy(row->kind == LS_H5_I64 ? H5T_STD_I64LE : H5T_STD_U64LE);
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, row->bytes);
    H5Tset_cset(type, H5T_CSET_UTF8);
    return type;
}

ls_status ls_h5_write_header(ls_h5_output *output, const ls_h5_attribute *rows, const void *header)
{
    be_quiet();
    ls_status status = LS_OK;
    hid_t scalar = H5Screate(H5S_SCALAR);
    for (const ls_h5_attribute *row = rows; row->name && status == LS_OK; row++) {
        hid_t type = attribute_type(row);
        hid_t attribute = H5Acreate2(output->id, row->name, type, scalar, H5P_DEFAULT, H5P_DEFAULT);
        if (attribute < 0 || H5Awrite(attribute, type, (const char *)header + row->offset) < 0)
            status = write_failed(output->path, row->name);
        H5Aclose(attribute);
        H5Tclose(type);
    }
    H5Sclose(scalar);
    return status;
}

ls_status ls_h5_write_array(ls_h5_output *output, const char *name, hid_t type, int64_t count, const void *data)
{
    be_quiet();
    hsize_t length = (hsize_t)count;
    hid_t space = H5Screate_simple(1, &length, NULL), plan = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_obj_track_times(plan, false);
    H5Pset_fill_time(plan, H5D_FILL_TIME_NEVER);
    hid_t array = H5Dcreate2(output->id, name, type, space, H5P_DEFAULT, plan, H5P_DEFAULT);
    bool good = array >= 0 && H5Dwrite(array, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0;
    ls_status status = good ? LS_OK : write_failed(output->path, name); /* before a close clears the reason */
    H5Dclose(array);
    H5Pclose(plan);
    H5Sclose(space);
    return status;
}

ls_status ls_h5_finish(ls_h5_output *output)
{
    enum { END_OF_FILE = 28 }; /* where superblock 2 keeps the end's address ("HDF5 File Format Specification", II.A) */
    be_quiet();
    const ssize_t most = H5Fflush(output->id, H5F_SCOPE_GLOBAL) >= 0 ? H5Fget_file_image(output->id, NULL, 0) : -1;
    ls_status status;
    uint64_t bytes = 0; /* closing gives back what was allocated ahead */
    if (most > END_OF_FILE + 8 && H5Fclose(output->id) >= 0 && output->bytes)
        memcpy(&bytes, (const char *)output->bytes + END_OF_FILE, sizeof bytes);
    if (bytes == 0 || bytes > (uint64_t)most)
        status = write_failed(output->path, "the file");
    else
        status = ls_data_file_write(output->path, output->bytes, (size_t)bytes);
    free(output->bytes);
    *output = (ls_h5_output){.id = H5I_INVALID_HID};
    return status;
}

void ls_h5_abandon(ls_h5_output *output)
{
    be_quiet();
    H5Fclose(output->id);
    free(output->bytes);
    *output = (ls_h5_output){.id = H5I_INVALID_HID};
}

static ls_status map_file(ls_h5_input *input)
{
    int fd = open(input->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ls_fail(errno == ENOENT ? LS_ENOTFOUND : LS_EIO, "%s: cannot open it (%s)", input->path, strerror(errno));
    struct stat about;
    ls_status status = LS_OK;
    if (fstat(fd, &about) != 0 || !S_ISREG(about.st_mode)) {
        status = ls_fail(LS_EFORMAT, "%s: not a regular file", input->path);
    } else if (about.st_size == 0) {
        status = ls_fail(LS_ECORRUPT, "%s: the file is empty (0 bytes); copy it again, or pack again with `lockstep data pack`",
                         input->path);
    } else {
        input->bytes = (size_t)about.st_size;
        void *map = mmap(NULL, input->bytes, PROT_READ, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED)
            status = ls_fail(LS_EIO, "%s: cannot map %zu bytes (%s)", input->path, input->bytes, strerror(errno));
        else
            input->map = map;
    }
    close(fd);
    return status;
}

static ls_status open_failed(const char *path)
{
    char why[256];
    reason(why);
    if (strstr(why, "signature not found"))
        return ls_fail(LS_EFORMAT, "%s: not an HDF5 file; a data set's folder is made by `lockstep data pack`", path);
    return ls_fail(LS_ECORRUPT, "%s: damaged or cut short (HDF5: %s); copy it again, or pack again with `lockstep data pack`",
                   path, why);
}

/* The first attributes any reader looks at: whose file this is, and how old. */
typedef struct {
    char format[32];
    int64_t schema;
} identity;

static const ls_h5_attribute identity_rows[] = {
    {"format", LS_H5_TEXT, offsetof(identity, format), sizeof((identity *)0)->format},
    {"schema", LS_H5_I64, offsetof(identity, schema), 0},
    {NULL, 0, 0, 0},
};

static ls_status check_identity(const ls_h5_input *input, const char *format, int64_t newest)
{
    identity id = {0};
    if (ls_h5_read_header(input, identity_rows, &id) != LS_OK || strcmp(id.format, format) != 0)
        return ls_fail(LS_EFORMAT, "%s: an HDF5 file, but not a %s (its attribute `format` says %s%s%s); "
                       "a data set is made by `lockstep data pack`",
                       input->path, format, id.format[0] ? "'" : "", id.format[0] ? id.format : "nothing", id.format[0] ? "'" : "");
    if (id.schema > newest)
        return ls_fail(LS_EVERSION, "%s: schema %lld, this lockstep reads up to %lld; upgrade, or pack again with `lockstep data pack`",
                       input->path, (long long)id.schema, (long long)newest);
    if (id.schema < 1)
        return ls_fail(LS_ECORRUPT, "%s: schema %lld, they start at 1", input->path, (long long)id.schema);
    return LS_OK;
}

ls_status ls_h5_open(ls_h5_input *input, const char *path, const char *format, int64_t newest)
{
    be_quiet();
    *input = (ls_h5_input){.id = H5I_INVALID_HID, .path = path};
    ls_status status = map_file(input);
    if (status != LS_OK)
        return status;
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
    H5Pset_file_locking(access, false, true);
    input->id = H5Fopen(path, H5F_ACC_RDONLY, access);
    status = input->id < 0 ? open_failed(path) : LS_OK;
    H5Pclose(access);
    if (status == LS_OK)
        status = check_identity(input, format, newest);
    if (status != LS_OK) {
        ls_h5_close(input);
        ls_h5_unmap(input);
    }
    return status;
}

/* Numbers must have exactly our type; a text may be any fixed-length string that fits its field. */
static bool read_attribute(hid_t attribute, const ls_h5_attribute *row, void *field)
{
    hid_t stored = H5Aget_type(attribute), space = H5Aget_space(attribute), wanted = attribute_type(row);
    bool good = stored >= 0 && H5Sget_simple_extent_npoints(space) == 1;
    if (row->kind == LS_H5_TEXT) {
        good = good && H5Tget_class(stored) == H5T_STRING && H5Tis_variable_str(stored) == 0 && H5Tget_size(stored) <= row->bytes;
        good = good && H5Tset_cset(wanted, H5Tget_cset(stored)) >= 0; /* HDF5 converts no character sets */
    } else {
        good = good && H5Tequal(stored, wanted) > 0;
    }
    good = good && H5Aread(attribute, wanted, field) >= 0;
    H5Tclose(wanted);
    H5Sclose(space);
    H5Tclose(stored);
    return good;
}

ls_status ls_h5_read_header(const ls_h5_input *input, const ls_h5_attribute *rows, void *header)
{
    be_quiet();
    for (const ls_h5_attribute *row = rows; row->name; row++) {
        char *field = (char *)header + row->offset;
        hid_t attribute = H5Aexists(input->id, row->name) > 0 ? H5Aopen(input->id, row->name, H5P_DEFAULT) : H5I_INVALID_HID;
        bool good = attribute >= 0 && read_attribute(attribute, row, field);
        if (attribute >= 0)
            H5Aclose(attribute);
        if (row->kind == LS_H5_TEXT)
            field[row->bytes - 1] = '\0';
        if (!good)
            return ls_fail(LS_ECORRUPT, "%s: attribute `%s` is missing or of another type; copy the file again, or pack again",
                           input->path, row->name);
    }
    return LS_OK;
}

/* Only a hard link in the root group: a soft or external one could lead out of the file. */
static hid_t open_array(const ls_h5_input *input, const char *name)
{
    H5L_info_t link;
    if (H5Lexists(input->id, name, H5P_DEFAULT) <= 0 || H5Lget_info(input->id, name, &link, H5P_DEFAULT) < 0 ||
        link.type != H5L_TYPE_HARD)
        return H5I_INVALID_HID;
    return H5Dopen2(input->id, name, H5P_DEFAULT);
}

static ls_status locate(const ls_h5_input *input, const char *name, hid_t array, hid_t type, int64_t count, const void **data)
{
    hid_t stored = H5Dget_type(array), space = H5Dget_space(array), plan = H5Dget_create_plist(array);
    hsize_t length = 0;
    bool shaped = H5Sget_simple_extent_ndims(space) == 1 && H5Sget_simple_extent_dims(space, &length, NULL) == 1 &&
                  length == (hsize_t)count && H5Tequal(stored, type) > 0;
    bool mappable = H5Pget_layout(plan) == H5D_CONTIGUOUS && H5Pget_external_count(plan) == 0;
    size_t width = H5Tget_size(type);
    haddr_t offset = mappable ? H5Dget_offset(array) : HADDR_UNDEF;
    H5Pclose(plan);
    H5Sclose(space);
    H5Tclose(stored);
    if (!shaped)
        return ls_fail(LS_ECORRUPT, "%s: array `%s` does not have the type and the %lld elements that its header says",
                       input->path, name, (long long)count);
    *data = input->map;
    if (count == 0)
        return LS_OK;
    if (offset == HADDR_UNDEF || offset % width)
        return ls_fail(LS_EFORMAT, "%s: array `%s` is compressed, chunked, external or not aligned, and cannot be mapped; "
                       "pack again with `lockstep data pack`", input->path, name);
    if (offset > input->bytes || (uint64_t)count > (input->bytes - offset) / width)
        return ls_fail(LS_ECORRUPT, "%s: array `%s` (%lld elements at byte %llu) ends outside the file of %zu bytes",
                       input->path, name, (long long)count, (unsigned long long)offset, input->bytes);
    *data = input->map + offset;
    return LS_OK;
}

ls_status ls_h5_map_array(const ls_h5_input *input, const char *name, hid_t type, int64_t count, const void **data)
{
    be_quiet();
    *data = NULL;
    hid_t array = open_array(input, name);
    if (array < 0)
        return ls_fail(LS_ECORRUPT, "%s: array `%s` is missing or cannot be read; copy the file again, or pack again",
                       input->path, name);
    ls_status status = locate(input, name, array, type, count, data);
    H5Dclose(array);
    return status;
}

void ls_h5_close(ls_h5_input *input)
{
    be_quiet();
    if (input->id >= 0)
        H5Fclose(input->id);
    input->id = H5I_INVALID_HID;
}

void ls_h5_unmap(ls_h5_input *input)
{
    if (input->map)
        munmap((void *)(uintptr_t)input->map, input->bytes);
    input->map = NULL;
}
