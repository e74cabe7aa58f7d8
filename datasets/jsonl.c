/* See jsonl.h. jansson parses; the line, its number and the sentence are ours. */
#include "datasets/jsonl.h"
#include "datasets/flat_json.h"
#include "datasets/utf8.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct ls_jsonl {
    char *path;
    FILE *file;
    char *line; /* getline's buffer */
    size_t line_room;
    char *scratch; /* of line_room, for ls_flat_json */
    size_t scratch_room;
    int64_t number; /* of `line`, from 1 */
    json_t *object; /* of `line` */
};

ls_status ls_jsonl_open(ls_jsonl **out, const char *path)
{
    *out = NULL;
    ls_jsonl *reader = calloc(1, sizeof *reader);
    if (!reader || !(reader->path = strdup(path))) {
        free(reader);
        return ls_fail(LS_EMEM, "%s: no memory for its reader", path);
    }
    struct stat about;
    reader->file = fopen(path, "rb");
    if (!reader->file) {
        int error = errno;
        ls_jsonl_close(reader);
        return ls_fail(error == ENOENT ? LS_ENOTFOUND : LS_EIO, "%s: cannot open: %s", path, strerror(error));
    }
    if (fstat(fileno(reader->file), &about) == 0 && S_ISDIR(about.st_mode)) {
        ls_jsonl_close(reader);
        return ls_fail(LS_EIO, "%s: is a folder; name the .jsonl files in it", path);
    }
    *out = reader;
    return LS_OK;
}

void ls_jsonl_close(ls_jsonl *reader)
{
    if (!reader)
        return;
    json_decref(reader->object);
    if (reader->file)
        fclose(reader->file);
    free(reader->line);
    free(reader->scratch);
    free(reader->path);
    free(reader);
}

static json_t *parse_quickly(ls_jsonl *reader, const char *text, size_t bytes)
{
    if (reader->scratch_room < bytes) {
        free(reader->scratch);
        reader->scratch = malloc(reader->line_room);
        reader->scratch_room = reader->scratch ? reader->line_room : 0;
    }
    return reader->scratch ? ls_flat_json(text, bytes, reader->scratch) : NULL;
}

/* Parses one line, blanks cut off at both ends. */
static ls_status parse_line(ls_jsonl *reader, const char *text, size_t bytes)
{
    size_t valid = ls_utf8_prefix(text, bytes);
    if (valid < bytes)
        return ls_fail(LS_EFORMAT,
                       "%s:%lld: byte %lld of the line (0x%02x) is not UTF-8; convert the file with `iconv -t UTF-8`",
                       reader->path, (long long)reader->number, (long long)(text - reader->line) + (long long)valid + 1,
                       (unsigned)(unsigned char)text[valid]);
    reader->object = parse_quickly(reader, text, bytes);
    if (reader->object)
        return LS_OK;
    json_error_t error;
    /* \u0000 is a character like others: a model that draws bytes draws it too, and what `rejection` wrote must be read again */
    reader->object = json_loadb(text, bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!reader->object)
        return ls_fail(LS_EFORMAT, "%s:%lld: column %d: %s; each line must be one whole JSON object", reader->path,
                       (long long)reader->number, error.column, error.text);
    if (!json_is_object(reader->object)) {
        json_decref(reader->object);
        reader->object = NULL;
        return ls_fail(LS_EFORMAT,
                       "%s:%lld: the line is JSON, but not an object like {\"question\": \"...\", \"answer\": \"...\"}",
                       reader->path, (long long)reader->number);
    }
    return LS_OK;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

ls_status ls_jsonl_next(ls_jsonl *reader, json_t **object)
{
    *object = NULL;
    json_decref(reader->object);
    reader->object = NULL;
    for (;;) {
        errno = 0;
        ssize_t got = getline(&reader->line, &reader->line_room, reader->file);
        if (got < 0) {
            if (feof(reader->file))
                return LS_OK;
            return ls_fail(errno == ENOMEM ? LS_EMEM : LS_EIO, "%s:%lld: cannot read the next line: %s", reader->path,
                           (long long)reader->number + 1, strerror(errno));
        }
        reader->number++;
        const char *text = reader->line;
        size_t bytes = (size_t)got;
        if (reader->number == 1 && bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
            text += 3, bytes -= 3;
        while (bytes && is_blank(text[bytes - 1]))
            bytes--;
        while (bytes && is_blank(*text))
            text++, bytes--;
        if (!bytes)
            continue;
        ls_status status = parse_line(reader, text, bytes);
        *object = reader->object;
        return status;
    }
}

int64_t ls_jsonl_line(const ls_jsonl *reader)
{
    return reader->number;
}

const char *ls_jsonl_path(const ls_jsonl *reader)
{
    return reader->path;
}

static const char *kind_of(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_INTEGER:
    case JSON_REAL: return "a number";
    case JSON_NULL: return "null";
    default: return "true or false";
    }
}

ls_status ls_jsonl_text(const ls_jsonl *reader, const char *key, const char **text, size_t *bytes)
{
    const json_t *value = json_object_get(reader->object, key);
    if (json_is_string(value)) {
        *text = json_string_value(value);
        *bytes = json_string_length(value);
        return LS_OK;
    }
    if (value)
        return ls_fail(LS_EFORMAT, "%s:%lld: \"%s\" is %s, not a string", reader->path, (long long)reader->number, key,
                       kind_of(value));
    char keys[256] = "";
    size_t used = 0;
    const char *other;
    json_t *ignored;
    json_object_foreach(reader->object, other, ignored)
    {
        int wrote = snprintf(keys + used, sizeof keys - used, "%s%s", used ? ", " : "", other);
        if (wrote < 0 || (size_t)wrote >= sizeof keys - used)
            break;
        used += (size_t)wrote;
    }
    return ls_fail(LS_EFORMAT, "%s:%lld: no key \"%s\"; the keys are: %s", reader->path, (long long)reader->number, key,
                   keys);
}
