/* YAML as a tree of nodes that remember where they stood.
 *
 * libyaml's document API gives line numbers; libcyaml, which maps YAML straight into structs, was tried on paper and put
 * aside: its schema is compiled in, while a recipe's last section (the task's) is known only after `task:` was read, and
 * it reports no line for a value out of range. An override "key.path=value" becomes a node of the same tree, so files
 * and command lines are checked by the same code.
 *
 * Everything lives in the caller's arena. Input from outside: files over 1 MiB, more than 4096 nodes or 8 levels
 * (aliases count each time they are used) are refused. */
#pragma once
#include "base/arena.h"

typedef enum { LS_YAML_SCALAR, LS_YAML_LIST, LS_YAML_MAP } ls_yaml_kind;

typedef struct ls_yaml_node ls_yaml_node;
struct ls_yaml_node {
    ls_yaml_kind kind;
    bool quoted;          /* SCALAR: "12" is text, 12 is not */
    int line;             /* from 1 */
    const char *override; /* "optimizer.lr=3" when it came from the command line, else NULL */
    const char *key;      /* in a MAP, else NULL */
    const char *text;     /* SCALAR */
    ls_yaml_node *first, *next;
};

/* LS_ENOTFOUND, LS_EIO: the file. LS_ERECIPE: "recipes/x.yaml:7: ...". An empty file is an empty map. */
ls_status ls_yaml_read(ls_yaml_node **root, const char *path, ls_arena *arena);
/* As above from memory; `place` names it in errors. An empty text is an empty scalar. */
ls_status ls_yaml_parse(ls_yaml_node **root, const char *text, size_t bytes, const char *place, ls_arena *arena);
/* Puts `override` ("key.path=value", the value is YAML) into the map `root`, over what stands there. */
ls_status ls_yaml_override(ls_yaml_node *root, const char *override, ls_arena *arena);

/* NULL: no such key. */
ls_yaml_node *ls_yaml_find(const ls_yaml_node *map, const char *key);
/* ~, null or nothing at all, unquoted. */
bool ls_yaml_is_null(const ls_yaml_node *node);
/* How a node looks in a sentence: "abc" in quotes, a list, a section. Returns text. */
const char *ls_yaml_shown(const ls_yaml_node *node, char text[80]);
