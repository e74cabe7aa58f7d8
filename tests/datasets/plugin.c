/* An HDF5 plug-in that leaves a mark when it is loaded: a filter that hands its bytes on. For test_bad_shards.c. */
#include <H5PLextern.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static size_t pass(unsigned flags, size_t values, const unsigned value[], size_t bytes, size_t *room, void **buffer)
{
    (void)flags, (void)values, (void)value, (void)room, (void)buffer;
    return bytes;
}

static const H5Z_class2_t filter = {H5Z_CLASS_T_VERS, 40123, 1, 1, "lockstep's test", NULL, NULL, pass};

H5PL_type_t H5PLget_plugin_type(void)
{
    return H5PL_TYPE_FILTER;
}

const void *H5PLget_plugin_info(void)
{
    const char *mark = getenv("LS_PLUGIN_MARK");
    if (mark)
        close(open(mark, O_WRONLY | O_CREAT, 0666));
    return &filter;
}
