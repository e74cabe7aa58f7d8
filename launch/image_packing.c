/* See image_packing.h. */
#include "launch/image_packing.h"
#include "base/random.h"
#include "datasets/picture_folder.h"
#include "launch/data_commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Where images come from: all in memory, or files that are decoded one at a time. */
typedef struct {
    ls_image_shape shape;
    int64_t count;
    const char **names; /* [shape.classes]; NULL: numbers */
    char *names_text;

    ls_image_input input;

    bool pictures;
    ls_picture_folder folder;
    ls_picture_reader *reader;
    uint8_t *pixels; /* of one picture */
    int64_t bad;
} origin;

static void close_origin(origin *o)
{
    free(o->names);
    free(o->names_text);
    ls_image_input_free(&o->input);
    ls_picture_folder_free(&o->folder);
    ls_picture_reader_free(o->reader);
    free(o->pixels);
}

/* ---- opening ---- */

/* The names given must be at least one a class; more of them make more classes. */
static ls_status take_names(origin *o, const char *text)
{
    int64_t count = 1;
    if (!text)
        return LS_OK;
    for (const char *c = text; *c; c++)
        count += *c == ',';
    if (count < o->shape.classes)
        return ls_fail(LS_EARG, "--names has %lld names, the labels go up to %lld", (long long)count,
                       (long long)o->shape.classes - 1);
    o->shape.classes = count;
    o->names_text = strdup(text);
    o->names = calloc((size_t)count, sizeof *o->names);
    if (!o->names_text || !o->names)
        return ls_fail(LS_EMEM, "no memory for the names of classes");
    char *rest = o->names_text;
    for (int64_t i = 0; i < count; i++)
        o->names[i] = strsep(&rest, ",");
    return LS_OK;
}

static ls_status open_file(origin *o, const ls_image_packing *p)
{
    ls_status status = p->labels ? ls_image_input_idx(&o->input, p->input, p->labels)
                                 : ls_image_input_csv(&o->input, p->input, &p->csv);
    o->shape = o->input.shape;
    o->count = o->input.count;
    return status == LS_OK ? take_names(o, p->names) : status;
}

static ls_status list_like(origin *o, const ls_image_packing *p, ls_picture_options *how)
{
    ls_images *like;
    ls_status status = ls_images_open(&like, p->like, false);
    if (status != LS_OK)
        return ls_fail_at(status, "--like");
    const ls_image_shape *shape = ls_images_shape(like);
    if (!how->height) {
        how->height = shape->height;
        how->width = shape->width;
        how->channels = shape->channels;
    }
    const char **names = calloc((size_t)shape->classes, sizeof *names);
    for (int64_t c = 0; names && c < shape->classes; c++)
        names[c] = ls_images_class_name(like, c);
    status = names ? ls_picture_folder_list(&o->folder, p->input, names, shape->classes)
                   : ls_fail(LS_EMEM, "%s: no memory for the names of its classes", p->like);
    free(names);
    ls_images_free(like);
    return status;
}

static ls_status open_folder(origin *o, const ls_image_packing *p)
{
    ls_picture_options how = p->picture;
    o->pictures = true;
    if (p->labels || p->names)
        return ls_fail(LS_EARG, "%s is a folder: its classes are the folders in it, so leave %s out", p->input,
                       p->labels ? "--labels" : "--names");
    ls_status status = p->like ? list_like(o, p, &how) : ls_picture_folder_list(&o->folder, p->input, NULL, 0);
    if (status != LS_OK)
        return status;
    if (!how.height)
        return ls_fail(LS_EARG, "%s is a folder of pictures: say what size they are to have, as --size 224x224",
                       p->input);
    status = ls_picture_reader_open(&o->reader, &how);
    if (status != LS_OK)
        return status;
    o->shape = (ls_image_shape){how.height, how.width, how.channels, o->folder.classes};
    o->count = o->folder.count;
    o->pixels = malloc((size_t)(how.height * how.width * how.channels));
    o->names = calloc((size_t)o->folder.classes, sizeof *o->names);
    if (!o->pixels || !o->names)
        return ls_fail(LS_EMEM, "no memory for a picture of %lld x %lld", (long long)how.height, (long long)how.width);
    for (int64_t c = 0; c < o->folder.classes; c++)
        o->names[c] = o->folder.class_name[c];
    return LS_OK;
}

static ls_status open_origin(origin *o, const ls_image_packing *p)
{
    struct stat about;
    *o = (origin){0};
    const bool folder = stat(p->input, &about) == 0 && S_ISDIR(about.st_mode);
    if (!folder && p->like)
        return ls_fail(LS_EARG, "--like is for folders of pictures, %s is not a folder", p->input);
    const ls_status status = folder ? open_folder(o, p) : open_file(o, p);
    if (status != LS_OK)
        return status;
    if (p->last < INT64_MAX && p->last >= o->count)
        return ls_fail(LS_EARG, "--range %lld..%lld: %s holds images 0..%lld", (long long)p->first, (long long)p->last,
                       p->input, (long long)o->count - 1);
    return LS_OK;
}

/* ---- writing ---- */

/* Names a bad file; after some the count must do. */
static void tell_bad(origin *o)
{
    enum { MOST = 20 };
    if (o->bad < MOST)
        fprintf(stderr, "left out: %s\n", ls_fail_sentence());
    if (o->bad == MOST)
        fputs("left out: more, which are counted\n", stderr);
    o->bad++;
}

/* *pixels NULL: a bad file, left out. */
static ls_status get(origin *o, const ls_image_packing *p, int64_t i, const uint8_t **pixels, int32_t *label)
{
    if (!o->pictures) {
        *pixels = o->input.pixels + i * o->shape.height * o->shape.width * o->shape.channels;
        *label = o->input.label[i];
        return LS_OK;
    }
    *pixels = o->pixels;
    *label = o->folder.picture[i].label;
    const ls_status status = ls_picture_read(o->reader, o->folder.picture[i].path, o->pixels);
    if (!ls_picture_is_bad(status))
        return status;
    if (!p->skip_bad)
        return ls_fail(status, "%s (--on-bad skip leaves such files out)", ls_fail_sentence());
    tell_bad(o);
    *pixels = NULL;
    return LS_OK;
}

static void tell_set(const origin *o, const char *folder, int64_t images, int64_t bad)
{
    const ls_image_shape *s = &o->shape;
    printf("%s: %lld images of %lld x %lld x %lld, %lld classes", folder, (long long)images, (long long)s->height,
           (long long)s->width, (long long)s->channels, (long long)s->classes);
    if (bad)
        printf("; bad files left out: %lld", (long long)bad);
    putchar('\n');
}

static ls_status write_set(origin *o, const ls_image_packing *p, const char *folder, bool held_out)
{
    const ls_image_options how = {.shape = o->shape, .source = p->input, .class_names = o->names, .replace = p->force};
    const ls_random stream = {.seed = p->seed, .purpose = LS_RANDOM_DATA};
    const int64_t bad_before = o->bad;
    ls_image_writer *writer;
    ls_status status = ls_image_writer_open(&writer, folder, &how);
    if (status != LS_OK)
        return status;
    for (int64_t i = p->first; i <= p->last && i < o->count && status == LS_OK; i++) {
        const uint8_t *pixels;
        int32_t label;
        if (((double)ls_random_uniform(&stream, (uint64_t)i) < p->holdout) != held_out)
            continue;
        status = get(o, p, i, &pixels, &label);
        if (status == LS_OK && pixels)
            status = ls_image_writer_add(writer, pixels, label);
    }
    const int64_t images = ls_image_writer_count(writer);
    if (status == LS_OK)
        status = ls_image_writer_commit(writer);
    else
        ls_image_writer_discard(writer);
    if (status == LS_OK)
        tell_set(o, folder, images, o->bad - bad_before);
    return status;
}

/* The held-out part first: what carries the main name is the last to appear. */
static ls_status write_sets(origin *o, const ls_image_packing *p)
{
    char folder[4096];
    int length = (int)strlen(p->out);
    while (length > 1 && p->out[length - 1] == '/')
        length--;
    snprintf(folder, sizeof folder, "%.*s-holdout", length, p->out);
    ls_status status = p->holdout > 0 ? write_set(o, p, folder, true) : LS_OK;
    snprintf(folder, sizeof folder, "%.*s", length, p->out);
    if (status == LS_OK)
        status = write_set(o, p, folder, false);
    if (status == LS_OK && o->folder.others)
        printf("not looked at, since they are not called as pictures are: %lld files\n", (long long)o->folder.others);
    return status;
}

ls_status ls_pack_images(const ls_image_packing *p)
{
    origin o;
    ls_status status = open_origin(&o, p);
    if (status == LS_OK)
        status = write_sets(&o, p);
    close_origin(&o);
    return status;
}
