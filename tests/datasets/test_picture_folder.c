/* A folder of pictures: which files, which classes, in which order. */
#include "datasets/picture_folder.h"
#include "tests/datasets/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(picture_folder, .fini = fixture_clean);

static void make(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s", fixture_path(name));
    for (char *slash = path + strlen(fixture_folder()) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    fixture_write(path, (const uint8_t *)"x", 1);
}

static void make_tree(void)
{
    static const char *const names[] = {"r/dog/b.png",      "r/dog/a.JPEG",          "r/cat/z.jpg",
                                        "r/cat/more/a.png", "r/cat/more-2/a.png",    "r/cat/notes.txt",
                                        "r/README.md",      "r/.git/x.png",          "r/cat/.hidden.png",
                                        "r/Zebra/1.webp",   "r/cat/more/deep/0.png", "r/cat/further/a.png"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        make(names[i]);
}

Test(picture_folder, classes_and_pictures_come_in_the_order_of_torchvisions_image_folder)
{
    /* sorted(os.listdir), sorted(os.walk), sorted(names): by bytes, capitals first; a folder's own files before those
     * of folders in it; "more-2" before "more/deep", since '-' is below '/'. */
    static const struct {
        const char *path;
        int32_t label;
    } want[] = {{"r/Zebra/1.webp", 0},   {"r/cat/z.jpg", 1},        {"r/cat/further/a.png", 1},
                {"r/cat/more/a.png", 1}, {"r/cat/more-2/a.png", 1}, {"r/cat/more/deep/0.png", 1},
                {"r/dog/a.JPEG", 2},     {"r/dog/b.png", 2}};
    ls_picture_folder f;
    make_tree();
    cr_assert_eq(ls_picture_folder_list(&f, fixture_path("r"), NULL, 0), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(f.classes, 3);
    cr_assert(!strcmp(f.class_name[0], "Zebra") && !strcmp(f.class_name[1], "cat") && !strcmp(f.class_name[2], "dog"));
    cr_assert_eq(f.count, 8);
    for (int i = 0; i < 8; i++) {
        cr_assert_str_eq(f.picture[i].path, fixture_path(want[i].path));
        cr_assert_eq(f.picture[i].label, want[i].label);
    }
    cr_assert_eq(f.others, 2, "README.md and notes.txt, and nothing that begins with a dot");
    ls_picture_folder_free(&f);
}

Test(picture_folder, classes_of_an_earlier_set_keep_their_numbers)
{
    static const char *const like[] = {"Zebra", "ant", "cat", "dog"}, *const other[] = {"cat", "dog"};
    ls_picture_folder f;
    make_tree();
    cr_assert_eq(ls_picture_folder_list(&f, fixture_path("r"), like, 4), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(f.classes, 4);
    cr_assert_eq(f.count, 8);
    cr_assert(f.picture[0].label == 0 && f.picture[1].label == 2 && f.picture[7].label == 3);
    ls_picture_folder_free(&f);
    cr_assert_eq(ls_picture_folder_list(&f, fixture_path("r"), other, 2), LS_EFORMAT);
    cr_assert(strstr(ls_fail_sentence(), "\"Zebra\" is none of the 2"), "%s", ls_fail_sentence());
    cr_assert_null(f.picture);
}

static void check_refused(const char *name, ls_status status, const char *word)
{
    ls_picture_folder f;
    cr_assert_eq(ls_picture_folder_list(&f, fixture_path(name), NULL, 0), status);
    cr_assert(strstr(ls_fail_sentence(), word), "%s", ls_fail_sentence());
    cr_assert(!f.picture && !f.class_name);
}

Test(picture_folder, what_is_no_such_folder_is_refused)
{
    check_refused("nothing", LS_ENOTFOUND, "nothing");
    make("flat/a.png");
    check_refused("flat", LS_EFORMAT, "no folders in it");
    make("empty/a/1.png");
    make("empty/b/notes.txt");
    check_refused("empty", LS_EFORMAT, "empty/b: a class without pictures");
    make("loop/a/1.png");
    cr_assert_eq(symlink("..", fixture_path("loop/a/up")), 0);
    check_refused("loop", LS_EFORMAT, "more than 32 deep");
    make("gone/a/1.png");
    cr_assert_eq(symlink("nowhere", fixture_path("gone/a/2.png")), 0);
    ls_picture_folder f;
    cr_assert_eq(ls_picture_folder_list(&f, fixture_path("gone"), NULL, 0), LS_OK,
                 "a link to nowhere is a bad picture, later");
    cr_assert_eq(f.count, 2);
    ls_picture_folder_free(&f);
}
