/* The driver's table (H5FDpublic.h, HDF5 1.10). Addresses are offsets into the range; set_eoa makes it grow. */
#include "checkpoint/memory_file.h"

#include "checkpoint/format.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef struct {
    H5FD_t base; /* first: HDF5 sees only this */
    ls_memory_file *file;
    haddr_t end; /* of what is allocated */
} memory_driver;

static const size_t growth = 1 << 20;

ls_status ls_memory_file_reserve(ls_memory_file *file, size_t size)
{
    if (size <= file->reserved)
        return LS_OK;
    size_t wanted = (size + growth - 1) / growth * growth;
    void *bytes = file->bytes
                      ? mremap(file->bytes, file->reserved, wanted, MREMAP_MAYMOVE)
                      : mmap(NULL, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (bytes == MAP_FAILED)
        return ls_fail(LS_EMEM, "no address space for a file of %zu bytes (see ulimit -v)", size);
    file->bytes = bytes;
    file->reserved = wanted;
    return LS_OK;
}

static H5FD_t *driver_open(const char *name, unsigned flags, hid_t fapl, haddr_t most)
{
    (void)name, (void)flags, (void)most;
    ls_memory_file *const *info = H5Pget_driver_info(fapl);
    memory_driver *driver = info ? calloc(1, sizeof *driver) : NULL;
    if (!driver)
        return NULL;
    driver->file = *info;
    return &driver->base;
}

static herr_t driver_close(H5FD_t *base)
{
    free(base);
    return 0;
}

static herr_t driver_query(const H5FD_t *base, unsigned long *flags)
{
    (void)base;
    *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_AGGREGATE_SMALLDATA;
    return 0;
}

static haddr_t driver_get_eoa(const H5FD_t *base, H5FD_mem_t type)
{
    (void)type;
    return ((const memory_driver *)base)->end;
}

static herr_t driver_set_eoa(H5FD_t *base, H5FD_mem_t type, haddr_t end)
{
    (void)type;
    memory_driver *driver = (memory_driver *)base;
    if (ls_memory_file_reserve(driver->file, (size_t)end) != LS_OK)
        return -1;
    driver->end = end;
    return 0;
}

static haddr_t driver_get_eof(const H5FD_t *base, H5FD_mem_t type)
{
    (void)type;
    return ((const memory_driver *)base)->file->size;
}

static herr_t driver_read(H5FD_t *base, H5FD_mem_t type, hid_t dxpl, haddr_t address, size_t size, void *buffer)
{
    (void)type, (void)dxpl;
    const ls_memory_file *file = ((memory_driver *)base)->file;
    if (address > file->reserved || size > file->reserved - address)
        return -1;
    memcpy(buffer, file->bytes + address, size);
    return 0;
}

static herr_t driver_write(H5FD_t *base, H5FD_mem_t type, hid_t dxpl, haddr_t address, size_t size, const void *buffer)
{
    (void)type, (void)dxpl;
    ls_memory_file *file = ((memory_driver *)base)->file;
    if (address > file->reserved || size > file->reserved - address)
        return -1;
    memcpy(file->bytes + address, buffer, size);
    if (address + size > file->size)
        file->size = (size_t)(address + size);
    return 0;
}

/* HDF5 calls it last of all before close: the file ends where allocation ended. */
static herr_t driver_truncate(H5FD_t *base, hid_t dxpl, hbool_t closing)
{
    (void)dxpl, (void)closing;
    memory_driver *driver = (memory_driver *)base;
    driver->file->size = (size_t)driver->end;
    return 0;
}

static const H5FD_class_t driver_class = {
    .name = "lockstep-memory",
    .maxaddr = (haddr_t)1 << 46,
    .fc_degree = H5F_CLOSE_STRONG, /* closing the file closes what was opened in it */
    .fapl_size = sizeof(ls_memory_file *),
    .open = driver_open,
    .close = driver_close,
    .query = driver_query,
    .get_eoa = driver_get_eoa,
    .set_eoa = driver_set_eoa,
    .get_eof = driver_get_eof,
    .read = driver_read,
    .write = driver_write,
    .truncate = driver_truncate,
    .fl_map = H5FD_FLMAP_DICHOTOMY,
};

/* One for the process, as HDF5's own drivers are, and HDF5's to free at exit. It must outlive every file: H5FD_close
 * (1.10) gives up the file's share in the driver before it calls the driver's close, out of freed memory if that share
 * was the last. Calls come one at a time (design: HDF5 behind one lock). */
static hid_t memory_driver_id(void)
{
    static hid_t id = -1;
    if (H5Iget_type(id) != H5I_VFL)
        id = H5FDregister(&driver_class);
    return id;
}

static hid_t access_list(ls_memory_file *file, bool aligned)
{
    hid_t driver = memory_driver_id(), list = H5Pcreate(H5P_FILE_ACCESS);
    bool ok = driver >= 0 && list >= 0 && H5Pset_driver(list, driver, &file) >= 0 &&
              H5Pset_libver_bounds(list, H5F_LIBVER_V110, H5F_LIBVER_V110) >= 0 &&
              H5Pset_fclose_degree(list, H5F_CLOSE_STRONG) >= 0;
    if (ok && aligned)
        ok = H5Pset_alignment(list, LS_CHECKPOINT_ALIGN_FROM, LS_CHECKPOINT_ALIGN) >= 0;
    if (ok)
        return list;
    if (list >= 0)
        H5Pclose(list);
    return -1;
}

ls_status ls_memory_file_create(ls_memory_file *file, size_t user_block, hid_t *h5)
{
    *file = (ls_memory_file){0};
    *h5 = -1;
    hid_t access = access_list(file, user_block == 0), create = H5Pcreate(H5P_FILE_CREATE);
    if (access >= 0 && create >= 0 && (user_block == 0 || H5Pset_userblock(create, user_block) >= 0))
        *h5 = H5Fcreate("memory", H5F_ACC_TRUNC, create, access);
    ls_status status = *h5 < 0 ? ls_hdf5_fail(LS_EMEM, "a file in memory") : LS_OK;
    H5Pclose(create);
    H5Pclose(access);
    return status;
}

ls_status ls_memory_file_open(ls_memory_file *file, hid_t *h5)
{
    hid_t access = access_list(file, false);
    *h5 = access < 0 ? -1 : H5Fopen("memory", H5F_ACC_RDONLY, access);
    ls_status status = *h5 < 0 ? ls_hdf5_fail(LS_ECORRUPT, "not readable") : LS_OK;
    H5Pclose(access);
    return status;
}

void ls_memory_file_free(ls_memory_file *file)
{
    if (file->bytes)
        munmap(file->bytes, file->reserved);
    *file = (ls_memory_file){0};
}
