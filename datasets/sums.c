/* See sums.h. */
#include "datasets/sums.h"
#include "base/hash.h"
#include "datasets/file.h"
#include "datasets/shard_format.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int is_file(const struct dirent *entry)
{
    return entry->d_name[0] != '.' && strcmp(entry->d_name, LS_SUMS_FILE) != 0;
}

enum { LINE = 512 };

/* "SUM BYTES NAME\n" */
static ls_status draw_line(char line[LINE], const char *folder, const char *name)
{
    char *path = ls_path_join(folder, name);
    struct stat about;
    uint64_t sum = 0;
    ls_status status = path ? ls_data_file_sum(path, &sum) : ls_fail(LS_EMEM, "%s: no memory for a path", folder);
    if (status == LS_OK && stat(path, &about) != 0)
        status = ls_fail(LS_EIO, "%s: %s", path, strerror(errno));
    if (status == LS_OK)
        snprintf(line, LINE, "%016" PRIx64 " %lld %.400s\n", sum, (long long)about.st_size, name);
    free(path);
    return status;
}

/* The last one, over those before. */
static int draw_end(char line[LINE], const char *text, size_t size)
{
    return snprintf(line, LINE, "%016" PRIx64 " " LS_SUMS_FILE "\n", ls_hash_bytes(text, size, LS_HASH_SEED));
}

ls_status ls_sums_write(const char *folder)
{
    char line[LINE], *text = NULL, *path = ls_path_join(folder, LS_SUMS_FILE);
    size_t size = 0;
    struct dirent **entry = NULL;
    FILE *out = open_memstream(&text, &size);
    const int count = out && path ? scandir(folder, &entry, is_file, alphasort) : -1;
    ls_status status = count >= 0 ? LS_OK : ls_fail(LS_EIO, "%s: cannot list its files (%s)", folder, strerror(errno));
    for (int i = 0; i < count; i++) {
        if (status == LS_OK && (status = draw_line(line, folder, entry[i]->d_name)) == LS_OK)
            fputs(line, out);
        free(entry[i]);
    }
    free(entry);
    if (out) {
        fflush(out);
        draw_end(line, text, size);
        fputs(line, out);
        if (fclose(out) != 0 && status == LS_OK)
            status = ls_fail(LS_EMEM, "%s: no memory for its sums", folder);
    }
    if (status == LS_OK)
        status = ls_data_file_write(path, text, size);
    free(text);
    free(path);
    return status;
}

static ls_status damaged(const char *folder, const char *name, const char *why)
{
    return ls_fail(LS_ECORRUPT, "%s/%s: %s; copy it again, or pack again with `lockstep data pack`", folder, name, why);
}

static ls_status compare_files(const char *folder, char *text)
{
    char line[LINE], *rest;
    for (char *was = strtok_r(text, "\n", &rest); was; was = strtok_r(NULL, "\n", &rest)) {
        const char *name = strrchr(was, ' ');
        if (!name || strchr(was, '/'))
            return damaged(folder, LS_SUMS_FILE, "a line that is none");
        if (!strcmp(name + 1, LS_SUMS_FILE))
            return LS_OK;
        const ls_status status = draw_line(line, folder, name + 1);
        if (status != LS_OK)
            return status;
        line[strlen(line) - 1] = '\0';
        if (strcmp(line, was) != 0)
            return damaged(folder, name + 1, "not the bytes that " LS_SUMS_FILE " tells of");
    }
    return LS_OK;
}

/* Its own sum comes first: a line that was spoilt must not be blamed on the file it is about. */
static bool is_whole(const char *text, size_t bytes)
{
    char line[LINE];
    const char *last = bytes > 1 && text[bytes - 1] == '\n' ? memrchr(text, '\n', bytes - 1) : NULL;
    const size_t before = last ? (size_t)(last + 1 - text) : 0;
    const int length = draw_end(line, text, before);
    return before && bytes - before == (size_t)length && !memcmp(text + before, line, (size_t)length);
}

ls_status ls_sums_check(const char *folder)
{
    char *text = NULL, *path = ls_path_join(folder, LS_SUMS_FILE);
    size_t room = 0;
    if (!path)
        return ls_fail(LS_EMEM, "%s: no memory for a path", folder);
    FILE *in = fopen(path, "rb");
    const bool none = !in && errno == ENOENT;
    ls_status status = in || none ? LS_OK : ls_fail(LS_EIO, "%s: cannot be read (%s)", path, strerror(errno));
    free(path);
    if (!in)
        return status;
    const ssize_t got = getdelim(&text, &room, '\0', in); /* all of it: there is no such byte in what was written */
    fclose(in);
    if (got <= 0 || !is_whole(text, (size_t)got))
        status = damaged(folder, LS_SUMS_FILE, "does not have the sum it was written with");
    else
        status = compare_files(folder, text);
    free(text);
    return status;
}
