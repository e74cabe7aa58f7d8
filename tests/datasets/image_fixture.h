/* Image sets of known pixels, for the tests of datasets. */
#pragma once
#include "datasets/images.h"

/* Byte i of image n: all levels appear, and no two images are alike. */
uint8_t image_fixture_byte(int64_t image, int64_t i);
int32_t image_fixture_label(int64_t image, int64_t classes);
/* Packs `images` of them as fixture_path(name); asserts success. bytes_per_shard 0: one shard. */
void image_fixture_pack(const char *name, ls_image_shape shape, int64_t images, int64_t bytes_per_shard);
