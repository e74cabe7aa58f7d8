/* A data set from outside must not make us open another file or run code: HDF5's plug-ins are not loaded, and neither
 * external links nor external storage are followed. Each is first shown to work in HDF5 by itself, so the tests can fail. */
#include "datasets/shard_format.h"
#include "tests/datasets/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { COUNT = 64, FILTER = 40123 };

TestSuite(outside, .fini = fixture_clean);

static size_t pass(unsigned flags, size_t values, const unsigned value[], size_t bytes, size_t *room, void **buffer)
{
    (void)flags, (void)values, (void)value, (void)room, (void)buffer;
    return bytes;
}

/* A file that ls_h5_open takes, with "tokens" as `plan` says; 0: without. */
static void write_file(const char *path, hid_t plan)
{
    const int32_t values[COUNT] = {7};
    const hsize_t length = COUNT;
    ls_h5_output file;
    cr_assert_eq(ls_h5_create(&file, path), LS_OK);
    if (plan) {
        hid_t space = H5Screate_simple(1, &length, NULL), array = H5Dcreate2(file.id, "tokens", H5T_STD_I32LE, space, H5P_DEFAULT, plan, H5P_DEFAULT);
        cr_assert_geq(array, 0);
        H5Dwrite(array, H5T_STD_I32LE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
        H5Dclose(array);
        H5Sclose(space);
    }
    struct {
        char format[32];
        int64_t schema;
    } id = {"lockstep-shard", 1};
    const ls_h5_attribute rows[] = {{"format", LS_H5_TEXT, 0, 32}, {"schema", LS_H5_I64, 32, 0}, {NULL, 0, 0, 0}};
    cr_assert_eq(ls_h5_write_header(&file, rows, &id), LS_OK);
    cr_assert_eq(ls_h5_finish(&file), LS_OK);
}

/* Whether HDF5 itself reads "tokens" of the file. */
static bool hdf5_reads(const char *path)
{
    int32_t values[COUNT] = {0};
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT), array = H5Dopen2(file, "tokens", H5P_DEFAULT);
    const bool read = array >= 0 && H5Dread(array, H5T_STD_I32LE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0 && values[0] != 0;
    if (array >= 0)
        H5Dclose(array); /* a file closes with the last of its objects */
    H5Fclose(file);
    return read;
}

static void expect_refused(const char *path, ls_status code, const char *word)
{
    ls_h5_input input;
    const void *data;
    cr_assert_eq(ls_h5_open(&input, path, LS_SHARD_FORMAT, 1), LS_OK, "%s", ls_fail_sentence());
    cr_expect_eq(ls_h5_map_array(&input, "tokens", H5T_STD_I32LE, COUNT, &data), code, "%s", ls_fail_sentence());
    cr_expect(strstr(ls_fail_sentence(), word), "%s", ls_fail_sentence());
    ls_h5_close(&input);
    ls_h5_unmap(&input);
}

/* In another process, because plug-ins are looked for once in each. */
static bool in_child(bool (*work)(const char *), const char *path)
{
    int how;
    const pid_t child = fork();
    if (child == 0)
        _exit(work(path) ? 0 : 1);
    waitpid(child, &how, 0);
    return WIFEXITED(how) && WEXITSTATUS(how) == 0;
}

static bool reads_after_opening(const char *path)
{
    ls_h5_input input;
    const void *data;
    if (ls_h5_open(&input, path, LS_SHARD_FORMAT, 1) == LS_OK)
        ls_h5_map_array(&input, "tokens", H5T_STD_I32LE, COUNT, &data);
    return hdf5_reads(path);
}

static bool write_filtered(const char *path)
{
    const H5Z_class2_t filter = {H5Z_CLASS_T_VERS, FILTER, 1, 1, "pass", NULL, NULL, pass};
    const hsize_t length = COUNT;
    H5Zregister(&filter);
    hid_t plan = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(plan, 1, &length);
    H5Pset_filter(plan, FILTER, 0, 0, NULL);
    write_file(path, plan);
    return true;
}

Test(outside, plugins_are_not_loaded)
{
    char path[256], mark[256], folder[4096];
    snprintf(path, sizeof path, "%s", fixture_path("filtered.h5"));
    snprintf(mark, sizeof mark, "%s", fixture_path("mark"));
    snprintf(folder, sizeof folder, "%s/tests/plugins", getenv("LS_BUILD"));
    setenv("HDF5_PLUGIN_PATH", folder, 1);
    setenv("LS_PLUGIN_MARK", mark, 1);
    cr_assert(in_child(write_filtered, path));
    cr_assert_neq(access(mark, F_OK), 0);
    cr_expect_not(in_child(reads_after_opening, path), "the filter is not there");
    cr_expect_neq(access(mark, F_OK), 0, "no code of the plug-in ran");
    cr_expect(in_child(hdf5_reads, path), "HDF5 by itself finds the plug-in");
    cr_expect_eq(access(mark, F_OK), 0, "and runs it");
}

Test(outside, external_links_and_storage_are_not_followed)
{
    char other[256], linked[256], stored[256], raw[256];
    const int32_t values[COUNT] = {9};
    snprintf(other, sizeof other, "%s", fixture_path("other.h5"));
    snprintf(linked, sizeof linked, "%s", fixture_path("linked.h5"));
    snprintf(stored, sizeof stored, "%s", fixture_path("stored.h5"));
    snprintf(raw, sizeof raw, "%s", fixture_path("raw"));
    hid_t plain = H5Pcreate(H5P_DATASET_CREATE), elsewhere = H5Pcreate(H5P_DATASET_CREATE);
    write_file(other, plain);
    write_file(linked, 0);
    hid_t file = H5Fopen(linked, H5F_ACC_RDWR, H5P_DEFAULT);
    cr_assert_geq(H5Lcreate_external(other, "/tokens", file, "tokens", H5P_DEFAULT, H5P_DEFAULT), 0);
    H5Fclose(file);
    cr_expect(hdf5_reads(linked), "HDF5 by itself follows it");
    expect_refused(linked, LS_ECORRUPT, "`tokens` is missing");
    fixture_write(raw, (const uint8_t *)values, sizeof values);
    H5Pset_external(elsewhere, raw, 0, sizeof values);
    write_file(stored, elsewhere);
    cr_expect(hdf5_reads(stored), "HDF5 by itself follows it");
    expect_refused(stored, LS_EFORMAT, "external");
    H5Pclose(plain);
    H5Pclose(elsewhere);
}
