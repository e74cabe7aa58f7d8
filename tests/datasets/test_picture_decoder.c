/* The decoder itself, linked and not loaded: the same pixels with and without the processor's vectors. */
#include "datasets/picture/container.h"
#include "datasets/picture/decoder.h"
#include "tests/datasets/fixture.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <libavutil/cpu.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static ls_decoded_picture decode(const char *path)
{
    ls_decoded_picture picture;
    char why[256];
    size_t bytes;
    uint8_t *content = fixture_read(path, &bytes);
    cr_assert_eq(ls_picture_decode(content, bytes, &picture, why, sizeof why), LS_DECODE_GOOD, "%s: %s", path, why);
    free(content);
    return picture;
}

Test(picture_decoder, vectors_of_the_processor_do_not_change_a_pixel)
{
    char folder[1024], path[1400];
    snprintf(folder, sizeof folder, "%s/tests/data/pictures", getenv("LS_SOURCE"));
    DIR *directory = opendir(folder);
    cr_assert_not_null(directory);
    int pictures = 0;
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (!strstr(entry->d_name, ".png") && !strstr(entry->d_name, ".jpg"))
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        av_force_cpu_flags(-1);
        cr_assert(av_get_cpu_flags() != 0, "this machine has no vectors to leave out");
        ls_decoded_picture with = decode(path);
        av_force_cpu_flags(0);
        ls_decoded_picture without = decode(path);
        cr_assert(with.width == without.width && with.height == without.height);
        cr_assert_eq(memcmp(with.rgba, without.rgba, (size_t)with.width * (size_t)with.height * 4), 0, "%s",
                     entry->d_name);
        free(with.rgba);
        free(without.rgba);
        pictures++;
    }
    closedir(directory);
    cr_assert_eq(pictures, 29);
}

Test(picture_decoder, every_orientation_reaches_every_pixel_once)
{
    enum { WIDTH = 5, HEIGHT = 3 };
    for (int orientation = 1; orientation <= 8; orientation++) {
        bool seen[HEIGHT][WIDTH] = {0};
        const int width = orientation < 5 ? WIDTH : HEIGHT, height = orientation < 5 ? HEIGHT : WIDTH;
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++) {
                int from_x, from_y;
                ls_orientation_source(orientation, WIDTH, HEIGHT, x, y, &from_x, &from_y);
                cr_assert(from_x >= 0 && from_x < WIDTH && from_y >= 0 && from_y < HEIGHT && !seen[from_y][from_x]);
                seen[from_y][from_x] = true;
            }
    }
}

/* Whatever the bytes: what is kept fits, and is a container again that loses nothing more. */
Test(picture_decoder, stripping_twice_is_stripping_once)
{
    static const char *const names[] = {"turned-6.png", "turned-6.jpg", "progressive.jpg", "cmyk.jpg"};
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        char path[1400];
        const char *name;
        size_t bytes, once, twice;
        int orientation;
        snprintf(path, sizeof path, "%s/tests/data/pictures/%s", getenv("LS_SOURCE"), names[n]);
        uint8_t *content = fixture_read(path, &bytes), *out = malloc(bytes), *again = malloc(bytes);
        const ls_container kind = ls_container_of(content, bytes, &name);
        cr_assert_eq(ls_container_strip(kind, content, bytes, out, &once, &orientation), LS_STRIP_WHOLE);
        cr_assert_eq(orientation, n < 2 ? 6 : 1);
        cr_assert_eq(ls_container_strip(kind, out, once, again, &twice, &orientation), LS_STRIP_WHOLE);
        cr_assert_eq(orientation, 1, "Exif is left out");
        cr_assert(once == twice && memcmp(out, again, once) == 0 && (once < bytes || n > 1));
        free(content);
        free(out);
        free(again);
    }
}
