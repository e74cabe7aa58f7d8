/* Python's pickle format, as data: what a file would build is put together as a tree of plain values, and nothing is
 * ever called. Enough of protocols 0 to 5 for what torch.save writes of tensors in dictionaries and lists; any other
 * opcode is refused. (Format: CPython, Lib/pickletools.py.) */
#pragma once
#include "base/error.h"
#include "base/type.h"

typedef enum {
    LS_PICKLE_NONE,
    LS_PICKLE_BOOL,
    LS_PICKLE_INT,
    LS_PICKLE_FLOAT,
    LS_PICKLE_TEXT,
    LS_PICKLE_LIST,       /* a tuple as well */
    LS_PICKLE_DICT,       /* items: key, value, key, value, ... */
    LS_PICKLE_GLOBAL,     /* text "module name" */
    LS_PICKLE_CALL,       /* of `callable` with `arguments`; items as a dictionary's, if such were set on the result */
    LS_PICKLE_PERSISTENT, /* an id that the file's writer knows: `arguments` */
} ls_pickle_kind;

typedef struct ls_pickle_value {
    ls_pickle_kind kind;
    int64_t number;   /* BOOL, INT */
    const char *text; /* NUL-terminated; no NUL inside */
    struct ls_pickle_value *callable, *arguments;
    struct ls_pickle_value **item;
    int count, room;
} ls_pickle_value;

typedef struct ls_pickle ls_pickle;

/* `name` stands for the file. The values live until ls_pickle_close; a value may be found in itself. LS_EFORMAT: the
 * byte where it goes wrong; LS_EMEM. */
ls_status ls_pickle_read(ls_pickle **pickle, const char *name, const void *bytes, size_t size,
                         const ls_pickle_value **top);
void ls_pickle_close(ls_pickle *pickle);
