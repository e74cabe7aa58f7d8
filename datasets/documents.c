/* See documents.h. */
#include "datasets/documents.h"
#include "datasets/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int64_t lines_in(const char *text, size_t bytes)
{
    int64_t lines = 0;
    for (const char *at = text, *end = text + bytes; at < end && (at = memchr(at, '\n', (size_t)(end - at))); at++)
        lines++;
    return lines;
}

static ls_status map_text(ls_documents *d, int fd)
{
    struct stat about;
    if (fstat(fd, &about) != 0 || !S_ISREG(about.st_mode))
        return ls_fail(LS_EFORMAT, "%s: not a regular file; name the text files themselves", d->path);
    if (about.st_size == 0)
        return LS_OK;
    void *map = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        return ls_fail(LS_EIO, "%s: cannot map it (%s)", d->path, strerror(errno));
    d->text = map;
    d->bytes = (size_t)about.st_size;
    const size_t good = ls_utf8_prefix(d->text, d->bytes);
    if (good < d->bytes)
        return ls_fail(LS_EFORMAT, "%s:%lld: byte 0x%02x is not UTF-8; convert the file with `iconv -t UTF-8`", d->path,
                       (long long)(1 + lines_in(d->text, good)), (unsigned)(unsigned char)d->text[good]);
    if (d->bytes >= 3 && memcmp(d->text, "\xef\xbb\xbf", 3) == 0)
        d->at = 3;
    return LS_OK;
}

ls_status ls_documents_open(ls_documents *d, const char *path, ls_document_kind kind)
{
    *d = (ls_documents){.path = path, .kind = kind, .line = 1};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ls_fail(errno == ENOENT ? LS_ENOTFOUND : LS_EIO, "%s: cannot open it (%s)", path, strerror(errno));
    ls_status status = map_text(d, fd);
    close(fd);
    if (status != LS_OK)
        ls_documents_close(d);
    return status;
}

void ls_documents_close(ls_documents *d)
{
    if (d->text)
        munmap((void *)(uintptr_t)d->text, d->bytes);
    *d = (ls_documents){0};
}

static bool is_blank(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) /* no str function: nothing ends a mapped file */
        if (text[i] != ' ' && (text[i] < '\t' || text[i] > '\r'))
            return false;
    return true;
}

/* Bytes of the line at `at`, its newline included. */
static size_t line_bytes(const ls_documents *d, size_t at)
{
    const char *end = memchr(d->text + at, '\n', d->bytes - at);
    return end ? (size_t)(end - d->text) - at + 1 : d->bytes - at;
}

static size_t piece_bytes(const ls_documents *d)
{
    if (d->kind == LS_DOCUMENT_FILE)
        return d->bytes - d->at;
    size_t at = d->at, line = line_bytes(d, at);
    if (d->kind == LS_DOCUMENT_LINE)
        return line;
    while (at < d->bytes && !is_blank(d->text + at, line = line_bytes(d, at)))
        at += line;
    return at > d->at ? at - d->at : line; /* a blank line is a piece of its own, and skipped */
}

bool ls_documents_next(ls_documents *d, const char **text, size_t *bytes, int64_t *line)
{
    while (d->at < d->bytes) {
        const size_t piece = piece_bytes(d);
        *text = d->text + d->at;
        *bytes = piece;
        *line = d->line;
        d->line += lines_in(*text, piece);
        d->at += piece;
        if (is_blank(*text, *bytes))
            continue;
        if (d->kind != LS_DOCUMENT_FILE) /* the border's newlines belong to no document */
            while ((*text)[*bytes - 1] == '\n' || (*text)[*bytes - 1] == '\r')
                --*bytes;
        return true;
    }
    return false;
}
