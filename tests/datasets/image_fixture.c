#include "tests/datasets/image_fixture.h"
#include "base/random.h"
#include "tests/datasets/fixture.h"

#include <criterion/criterion.h>
#include <stdlib.h>

uint8_t image_fixture_byte(int64_t image, int64_t i)
{
    const ls_random stream = {.seed = 99, .slot = (uint32_t)image};
    return (uint8_t)ls_random_bits(&stream, (uint64_t)i);
}

int32_t image_fixture_label(int64_t image, int64_t classes)
{
    return (int32_t)((image * 7 + image / 5) % classes);
}

void image_fixture_pack(const char *name, ls_image_shape shape, int64_t images, int64_t bytes_per_shard)
{
    ls_image_writer *writer;
    const ls_image_options options = {.shape = shape, .source = "a test", .bytes_per_shard = bytes_per_shard};
    const int64_t bytes = shape.height * shape.width * shape.channels;
    uint8_t *pixels = malloc((size_t)bytes);
    cr_assert_not_null(pixels);
    cr_assert_eq(ls_image_writer_open(&writer, fixture_path(name), &options), LS_OK, "%s", ls_fail_sentence());
    for (int64_t n = 0; n < images; n++) {
        for (int64_t i = 0; i < bytes; i++)
            pixels[i] = image_fixture_byte(n, i);
        cr_assert_eq(ls_image_writer_add(writer, pixels, image_fixture_label(n, shape.classes)), LS_OK, "%s",
                     ls_fail_sentence());
    }
    free(pixels);
    cr_assert_eq(ls_image_writer_commit(writer), LS_OK, "%s", ls_fail_sentence());
}
