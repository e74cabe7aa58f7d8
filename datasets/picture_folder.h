/* A folder of pictures, one folder a class (torchvision's ImageFolder):
 *
 *     ROOT/cat/1.png, ROOT/cat/more/2.jpg, ROOT/dog/1.jpeg
 *
 * Classes are the folders in ROOT in the order of their names' bytes, and are numbered so. Pictures are numbered class
 * by class, folder by folder, name by name, in the same order. Names that begin with a dot are not looked at. */
#pragma once
#include "base/error.h"
#include "base/type.h"

typedef struct {
    char *path;          /* ROOT/... */
    size_t folder_bytes; /* of it are the folder's path */
    int32_t label;
} ls_picture_file;

typedef struct {
    int64_t classes, count;
    char **class_name;        /* [classes] */
    ls_picture_file *picture; /* [count]: files that are called as pictures are, .png, .jpg, .gif ... */
    int64_t others;           /* files that are not */
} ls_picture_folder;

/* LS_ENOTFOUND, LS_EIO; LS_EFORMAT: not a folder, no folders in it, a class without pictures, folders too deep.
 * `like` [likes]: the classes to number by, else NULL; LS_EFORMAT: a folder that is none of them. */
ls_status ls_picture_folder_list(ls_picture_folder *folder, const char *root, const char *const *like, int64_t likes);
void ls_picture_folder_free(ls_picture_folder *folder);
