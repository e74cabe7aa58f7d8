/* Which reader a path needs, by what is there. See ls_tokenizer_open. */
#include "datasets/tokenizer/parts.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FILE_BYTES = 1 << 28 }; /* the largest tokenizer.json in use has 35 MB */

typedef struct {
    char *path, *bytes;
    size_t size;
} file;

static void forget(file *read)
{
    free(read->path);
    free(read->bytes);
    *read = (file){0};
}

/* Reads folder/name, or `name` itself for a NULL folder, whole. LS_ENOTFOUND, LS_EIO, LS_EFORMAT: too large. */
static ls_status load(file *read, const char *folder, const char *name)
{
    FILE *stream = NULL;
    long size = -1;
    ls_status status = LS_OK;
    *read = (file){0};
    if (asprintf(&read->path, "%s%s%s", folder ? folder : "", folder ? "/" : "", name) < 0) {
        read->path = NULL;
        return ls_fail(LS_EMEM, "%s: no memory for its name", name);
    }
    if (!(stream = fopen(read->path, "rb")) || fseek(stream, 0, SEEK_END) || (size = ftell(stream)) < 0 ||
        fseek(stream, 0, SEEK_SET))
        status = ls_fail(errno == ENOENT ? LS_ENOTFOUND : LS_EIO, "%s: cannot open: %s", read->path, strerror(errno));
    else if (size > FILE_BYTES)
        status = ls_fail(LS_EFORMAT, "%s: %ld bytes; no tokenizer has more than %d", read->path, size, FILE_BYTES);
    else if (!(read->bytes = malloc((size_t)size + 1)))
        status = ls_fail(LS_EMEM, "%s: no memory for its %ld bytes", read->path, size);
    else if ((read->size = fread(read->bytes, 1, (size_t)size, stream)) != (size_t)size)
        status = ls_fail(LS_EIO, "%s: only %zu of its %ld bytes could be read: %s", read->path, read->size, size,
                         strerror(errno));
    if (stream)
        fclose(stream);
    if (status)
        forget(read);
    return status;
}

static bool exists(const char *folder, const char *name)
{
    char *path;
    if (asprintf(&path, "%s/%s", folder, name) < 0)
        return false;
    struct stat about;
    bool there = stat(path, &about) == 0;
    free(path);
    return there;
}

/* tiktoken's form: base64, a blank and a digit. */
static bool looks_like_tiktoken(const char *bytes, size_t size)
{
    size_t at = 0;
    while (at < size && bytes[at] > ' ' && bytes[at] != '{')
        at++;
    return at > 1 && at + 1 < size && bytes[at] == ' ' && bytes[at + 1] >= '0' && bytes[at + 1] <= '9';
}

static bool looks_like_json(const char *bytes, size_t size)
{
    size_t at = size >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    while (at < size && strchr(" \t\r\n", bytes[at]) && bytes[at])
        at++;
    return at < size && bytes[at] == '{';
}

/* A protocol buffer that begins with a piece, which begins with its text. llama2.c's file begins with a length, below 2^24. */
static bool looks_like_sentencepiece(const char *bytes, size_t size)
{
    size_t at = 1;
    while (at < size && at < 6 && (unsigned char)bytes[at] >= 0x80)
        at++;
    return at + 1 < size && bytes[0] == 0x0a && bytes[at] && bytes[at + 1] == 0x0a;
}

static ls_status read_by_content(ls_tokenizer **tokenizer, const char *name, const char *bytes, size_t size)
{
    if (looks_like_json(bytes, size))
        return ls_tokenizer_read_json(tokenizer, name, bytes, size);
    if (looks_like_tiktoken(bytes, size))
        return ls_tokenizer_read_tiktoken(tokenizer, name, bytes, size);
    if (looks_like_sentencepiece(bytes, size))
        return ls_tokenizer_read_sentencepiece(tokenizer, name, bytes, size);
    return ls_tokenizer_read_llama2c(tokenizer, name, bytes, size);
}

/* The end of every way to open: on failure nothing is left. */
static ls_status finish(ls_tokenizer **tokenizer, const char *name, ls_status status)
{
    if (!status && (status = ls_tokenizer_ready(*tokenizer)) != LS_OK)
        ls_fail_at(status, "%s", name);
    if (status) {
        ls_tokenizer_free(*tokenizer);
        *tokenizer = NULL;
    }
    return status;
}

ls_status ls_tokenizer_open_bytes(ls_tokenizer **tokenizer, const char *name, const char *bytes, size_t size)
{
    *tokenizer = NULL;
    return finish(tokenizer, name, read_by_content(tokenizer, name, bytes, size));
}

static ls_status read_one(ls_tokenizer **tokenizer, const char *folder, const char *name)
{
    file only;
    ls_status status = load(&only, folder, name);
    if (!status)
        status = read_by_content(tokenizer, only.path, only.bytes, only.size);
    forget(&only);
    return status;
}

/* vocab.json + merges.txt under either of their names. */
static ls_status read_pair(ls_tokenizer **tokenizer, const char *folder)
{
    file vocabulary, merges = {0};
    ls_status status = load(&vocabulary, folder, exists(folder, "vocab.json") ? "vocab.json" : "encoder.json");
    if (!status)
        status = load(&merges, folder, exists(folder, "merges.txt") ? "merges.txt" : "vocab.bpe");
    if (!status)
        status = ls_tokenizer_read_legacy(tokenizer, vocabulary.path, vocabulary.bytes, vocabulary.size, merges.path,
                                          merges.bytes, merges.size);
    forget(&vocabulary);
    forget(&merges);
    return status;
}

static ls_status read_config(ls_tokenizer *tokenizer, const char *folder)
{
    if (!exists(folder, "tokenizer_config.json"))
        return LS_OK;
    file config;
    ls_status status = load(&config, folder, "tokenizer_config.json");
    if (!status)
        status = ls_tokenizer_read_config(tokenizer, config.path, config.bytes, config.size);
    forget(&config);
    return status;
}

static ls_status open_folder(ls_tokenizer **tokenizer, const char *folder)
{
    static const char *const single[] = {"tokenizer.json", "tokenizer.model", "tokenizer.bin"};
    for (size_t i = 0; i < sizeof single / sizeof *single; i++)
        if (exists(folder, single[i])) {
            ls_status status = read_one(tokenizer, folder, single[i]);
            return status ? status : read_config(*tokenizer, folder);
        }
    if (!exists(folder, "vocab.json") && !exists(folder, "encoder.json"))
        return ls_fail(LS_ENOTFOUND,
                       "%s: no tokenizer in this folder: looked for tokenizer.json, tokenizer.model, tokenizer.bin, "
                       "and vocab.json or encoder.json with merges.txt or vocab.bpe",
                       folder);
    ls_status status = read_pair(tokenizer, folder);
    if (!status)
        status = read_config(*tokenizer, folder);
    const char *gpt2 = ls_pattern_named("gpt2");
    if (!status && !ls_split_patterns((*tokenizer)->split)) /* the configuration names no class */
        status = ls_split_add((*tokenizer)->split, gpt2, strlen(gpt2));
    return status;
}

ls_status ls_tokenizer_open(ls_tokenizer **tokenizer, const char *path)
{
    struct stat about;
    *tokenizer = NULL;
    if (stat(path, &about) != 0)
        return ls_fail(errno == ENOENT ? LS_ENOTFOUND : LS_EIO, "%s: no tokenizer there: %s", path, strerror(errno));
    return finish(tokenizer, path,
                  S_ISDIR(about.st_mode) ? open_folder(tokenizer, path) : read_one(tokenizer, NULL, path));
}
