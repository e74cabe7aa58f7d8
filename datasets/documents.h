/* Plain text files as documents. The file is mapped; documents are pieces of it, in order, none of them blank. */
#pragma once
#include "base/error.h"
#include "base/type.h"

typedef enum {
    LS_DOCUMENT_FILE,      /* the whole file */
    LS_DOCUMENT_PARAGRAPH, /* separated by blank lines */
    LS_DOCUMENT_LINE,
} ls_document_kind;
#define LS_DOCUMENT_CHOICES "file|paragraph|line"

typedef struct {
    const char *path;
    const char *text; /* mapped; NULL for an empty file */
    size_t bytes, at;
    int64_t line;     /* of `at`, from 1 */
    ls_document_kind kind;
} ls_documents;

/* LS_ENOTFOUND, LS_EIO, LS_EFORMAT: not a regular file, or bytes that are not UTF-8 (which line). */
ls_status ls_documents_open(ls_documents *documents, const char *path, ls_document_kind kind);
void ls_documents_close(ls_documents *documents);
/* The next document, valid until close, and the line it begins on; false at the end. */
bool ls_documents_next(ls_documents *documents, const char **text, size_t *bytes, int64_t *line);
