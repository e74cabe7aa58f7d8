/* Any bytes as a file of images: either they are refused with a sentence that names the file, or they make images that
 * keep their word. The same bytes go to every reader: as an IDX file of images and of labels, as CSV, and as a picture.
 * Built into tests/datasets/test_image_input.c, which replays the seeds and damages them, and by the preset `fuzz` with
 * clang's libFuzzer (tests/fuzz/CMakeLists.txt). */
#include "datasets/image_input.h"
#include "datasets/picture/container.h"
#include "datasets/picture/decoder.h"
#include "datasets/picture/resize.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* Reads every pixel and label, so that the sanitizer sees what is not there. */
static void judge(ls_status status, ls_image_input *in, const char *name)
{
    if (status != LS_OK) {
        require((status == LS_EFORMAT || status == LS_EARG) && strstr(ls_fail_sentence(), name) && !in->pixels &&
                !in->label);
        return;
    }
    const int64_t bytes = in->shape.height * in->shape.width * in->shape.channels;
    unsigned sum = 0;
    require(in->count > 0 && bytes > 0);
    for (int64_t i = 0; i < in->count; i++) {
        require(in->label[i] >= 0 && in->label[i] < in->shape.classes);
        for (int64_t b = 0; b < bytes; b++)
            sum += in->pixels[i * bytes + b];
    }
    require(sum <= 255u * (unsigned)(in->count * bytes));
    ls_image_input_free(in);
}

static void read_files(const uint8_t *data, size_t size)
{
    static const uint8_t images[] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 1, 2, 3, 4},
                         labels[] = {0, 0, 8, 1, 0, 0, 0, 2, 1, 0};
    static const ls_csv_options how[] = {
        {0}, {.label_first = true, .scale = 16}, {.height = 1, .width = 2, .channels = 2}};
    ls_image_input in;
    judge(ls_image_input_idx_bytes(&in, "fuzz-i", data, size, "fuzz-l", labels, sizeof labels), &in, "fuzz-");
    judge(ls_image_input_idx_bytes(&in, "fuzz-i", images, sizeof images, "fuzz-l", data, size), &in, "fuzz-");
    char *text = malloc(size + 1);
    require(text);
    memcpy(text, data, size);
    text[size] = '\0';
    for (size_t i = 0; i < sizeof how / sizeof *how; i++)
        judge(ls_image_input_csv_bytes(&in, "fuzz-c", text, size, &how[i]), &in, "fuzz-c");
    free(text);
}

static void read_picture(const uint8_t *data, size_t size)
{
    ls_decoded_picture picture;
    char why[64];
    memset(why, 'x', sizeof why);
    const ls_decode_result result = ls_picture_decode(data, size, &picture, why, sizeof why);
    require(memchr(why, '\0', sizeof why));
    if (result != LS_DECODE_GOOD) {
        require(result == LS_DECODE_NO_MEMORY || *why);
        return;
    }
    require(picture.width > 0 && picture.height > 0);
    uint8_t small[5 * 3 * 4];
    const ls_resize_axis down = {7, 1, 5}, across = {3, 0, 3};
    require(ls_picture_resize(picture.rgba, picture.height, picture.width, 4, size % 2, down, across, small) == LS_OK);
    free(picture.rgba);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_files(data, size);
    read_picture(data, size);
    return 0;
}
