/* JSON lines: one object a line, UTF-8. One line is in memory at a time, whatever the file's size.
 *
 * Blank lines are skipped, CR LF and a byte-order mark at the start are accepted. Refused, each with "file:line":
 * a line that is not one JSON object, a key that stands twice in an object, bytes that are not UTF-8, and \u0000
 * in a key. A text may hold it: read its length too. After a refused line the next call goes on with the next line. */
#pragma once
#include "base/error.h"
#include "base/type.h"

#include <jansson.h>

typedef struct ls_jsonl ls_jsonl;

/* LS_ENOTFOUND / LS_EIO with path and reason. Close with ls_jsonl_close. */
ls_status ls_jsonl_open(ls_jsonl **reader, const char *path);
void ls_jsonl_close(ls_jsonl *reader);

/* The next line's object, borrowed until the next call or close (json_incref to keep it); NULL at the end of the file.
 * LS_EFORMAT: "path:line: what is wrong"; LS_EIO: the file could not be read to its end; LS_EMEM. */
ls_status ls_jsonl_next(ls_jsonl *reader, json_t **object);

/* The line `object` stood on, from 1; and the file, for messages. */
int64_t ls_jsonl_line(const ls_jsonl *reader);
const char *ls_jsonl_path(const ls_jsonl *reader);

/* The current object's text under `key`, borrowed like the object. LS_EFORMAT: no such key (those there are named), or
 * not a string. */
ls_status ls_jsonl_text(const ls_jsonl *reader, const char *key, const char **text, size_t *bytes);
