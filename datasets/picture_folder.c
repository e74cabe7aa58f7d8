/* See picture_folder.h. */
#include "datasets/picture_folder.h"
#include "datasets/images.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { MOST_DEPTH = 32 }; /* a link that leads back would go on for ever */

void ls_picture_folder_free(ls_picture_folder *f)
{
    for (int64_t i = 0; i < f->classes; i++)
        free(f->class_name[i]);
    for (int64_t i = 0; i < f->count; i++)
        free(f->picture[i].path);
    free(f->class_name);
    free(f->picture);
    *f = (ls_picture_folder){0};
}

/* Also kinds that are not read: who has WebP files is told so, instead of being left without them. */
static bool called_as_pictures_are(const char *name)
{
    static const char *const endings[] = {".png",  ".jpg", ".jpeg", ".jpe", ".gif", ".webp", ".bmp",  ".tif",
                                          ".tiff", ".ppm", ".pgm",  ".pbm", ".pnm", ".avif", ".heic", ".jxl"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof endings / sizeof *endings; i++)
        if (strcasecmp(dot, endings[i]) == 0)
            return true;
    return false;
}

static ls_status add_picture(ls_picture_folder *f, int64_t *room, char *path, size_t folder_bytes, int32_t label)
{
    if (f->count == *room) {
        const size_t more = *room ? (size_t)*room * 2 : 1024;
        ls_picture_file *grown = realloc(f->picture, more * sizeof *grown);
        if (!grown) {
            free(path);
            return ls_fail(LS_EMEM, "no memory for a list of %zu pictures", more);
        }
        f->picture = grown;
        *room = (int64_t)more;
    }
    f->picture[f->count++] = (ls_picture_file){path, folder_bytes, label};
    return LS_OK;
}

static ls_status list_pictures(ls_picture_folder *f, int64_t *room, const char *path, int32_t label, int depth);

static ls_status list_entry(ls_picture_folder *f, int64_t *room, const char *folder, const char *name, int32_t label,
                            int depth)
{
    struct stat about;
    char *path;
    if (asprintf(&path, "%s/%s", folder, name) < 0)
        return ls_fail(LS_EMEM, "%s: no memory for a path", folder);
    const bool there = stat(path, &about) == 0; /* a link that leads nowhere is a bad picture where it is called one */
    if (there && S_ISDIR(about.st_mode)) {
        const ls_status status = list_pictures(f, room, path, label, depth + 1);
        free(path);
        return status;
    }
    if (called_as_pictures_are(name))
        return add_picture(f, room, path, strlen(folder), label);
    f->others++;
    free(path);
    return LS_OK;
}

static ls_status list_pictures(ls_picture_folder *f, int64_t *room, const char *path, int32_t label, int depth)
{
    if (depth > MOST_DEPTH)
        return ls_fail(LS_EFORMAT, "%s: folders in folders, more than %d deep; does a link lead back?", path,
                       MOST_DEPTH);
    DIR *directory = opendir(path);
    if (!directory)
        return ls_fail(LS_EIO, "%s: cannot be listed (%s)", path, strerror(errno));
    ls_status status = LS_OK;
    for (struct dirent *entry; status == LS_OK && (entry = readdir(directory));)
        if (entry->d_name[0] != '.')
            status = list_entry(f, room, path, entry->d_name, label, depth);
    closedir(directory);
    return status;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Class, then the folder's whole path, then the name. */
static int by_place(const void *a, const void *b)
{
    const ls_picture_file *x = a, *y = b;
    if (x->label != y->label)
        return x->label < y->label ? -1 : 1;
    const size_t shorter = x->folder_bytes < y->folder_bytes ? x->folder_bytes : y->folder_bytes;
    const int folders = memcmp(x->path, y->path, shorter);
    if (folders || x->folder_bytes != y->folder_bytes)
        return folders ? folders : x->folder_bytes < y->folder_bytes ? -1 : 1;
    return strcmp(x->path, y->path);
}

static ls_status add_class(ls_picture_folder *f, const char *root, const char *name)
{
    struct stat about;
    char *path;
    if (asprintf(&path, "%s/%s", root, name) < 0)
        return ls_fail(LS_EMEM, "%s: no memory for a path", root);
    const bool is_folder = stat(path, &about) == 0 && S_ISDIR(about.st_mode);
    free(path);
    if (!is_folder) {
        f->others++;
        return LS_OK;
    }
    if (f->classes == LS_IMAGE_MAX_CLASSES)
        return ls_fail(LS_EFORMAT, "%s: more than %d folders, one a class", root, LS_IMAGE_MAX_CLASSES);
    char **grown = realloc(f->class_name, (size_t)(f->classes + 1) * sizeof *grown);
    f->class_name = grown ? grown : f->class_name;
    char *copy = grown ? strdup(name) : NULL;
    if (!copy)
        return ls_fail(LS_EMEM, "%s: no memory for its classes", root);
    f->class_name[f->classes++] = copy;
    return LS_OK;
}

static ls_status list_classes(ls_picture_folder *f, const char *root)
{
    DIR *directory = opendir(root);
    if (!directory)
        return ls_fail(errno == ENOENT ? LS_ENOTFOUND : LS_EIO, "%s: cannot be listed (%s)", root, strerror(errno));
    ls_status status = LS_OK;
    for (struct dirent *entry; status == LS_OK && (entry = readdir(directory));)
        if (entry->d_name[0] != '.')
            status = add_class(f, root, entry->d_name);
    closedir(directory);
    if (status == LS_OK && f->classes == 0)
        status = ls_fail(LS_EFORMAT, "%s: no folders in it; each class has a folder of its own, %s/CLASS/picture.png",
                         root, root);
    if (status == LS_OK)
        qsort(f->class_name, (size_t)f->classes, sizeof *f->class_name, by_name);
    return status;
}

/* Numbers of an earlier set's classes: all of them are classes here, those without a folder have no pictures. */
static ls_status take_classes(ls_picture_folder *f, const char *root, const char *const *like, int64_t likes)
{
    for (int64_t i = 0; i < f->classes; i++) {
        bool known = false;
        for (int64_t k = 0; k < likes && !known; k++)
            known = strcmp(f->class_name[i], like[k]) == 0;
        if (!known)
            return ls_fail(LS_EFORMAT, "%s: folder \"%s\" is none of the %lld classes that were given (--like)", root,
                           f->class_name[i], (long long)likes);
    }
    char **names = calloc((size_t)likes, sizeof *names);
    bool good = names;
    for (int64_t k = 0; k < likes && good; k++)
        good = (names[k] = strdup(like[k]));
    if (!good) {
        for (int64_t k = 0; names && k < likes; k++)
            free(names[k]);
        free(names);
        return ls_fail(LS_EMEM, "%s: no memory for its classes", root);
    }
    for (int64_t i = 0; i < f->classes; i++)
        free(f->class_name[i]);
    free(f->class_name);
    f->class_name = names;
    f->classes = likes;
    return LS_OK;
}

static ls_status list_class(ls_picture_folder *f, int64_t *room, const char *root, int64_t label, bool may_lack)
{
    struct stat about;
    char *path;
    const int64_t before = f->count;
    if (asprintf(&path, "%s/%s", root, f->class_name[label]) < 0)
        return ls_fail(LS_EMEM, "%s: no memory for a path", root);
    ls_status status = LS_OK;
    if (!may_lack || stat(path, &about) == 0) {
        status = list_pictures(f, room, path, (int32_t)label, 0);
        if (status == LS_OK && f->count == before)
            status = ls_fail(LS_EFORMAT, "%s: a class without pictures; remove the folder, or put some in", path);
    }
    free(path);
    return status;
}

ls_status ls_picture_folder_list(ls_picture_folder *f, const char *root, const char *const *like, int64_t likes)
{
    int64_t room = 0;
    *f = (ls_picture_folder){0};
    ls_status status = list_classes(f, root);
    if (status == LS_OK && like)
        status = take_classes(f, root, like, likes);
    for (int64_t c = 0; c < f->classes && status == LS_OK; c++)
        status = list_class(f, &room, root, c, like != NULL);
    if (status == LS_OK)
        qsort(f->picture, (size_t)f->count, sizeof *f->picture, by_place);
    else
        ls_picture_folder_free(f);
    return status;
}
