/* Options live in tables: one row a key. The recipe's schema, its error messages, `--help` and docs/recipes.md all come
 * from these rows. The layer that uses an option owns its row; launch/ reads the YAML and fills the structs. */
#pragma once
#include "base/error.h"
#include "base/type.h"

typedef enum {
    LS_OPTION_BOOL,    /* bool */
    LS_OPTION_INT,     /* int64_t, in [min, max]; 1k, 2M, 1Ki suffixes are read */
    LS_OPTION_FLOAT,   /* double, in [min, max]; 2e-5 is a number whatever YAML thinks */
    LS_OPTION_STRING,  /* const char *, NULL when unset */
    LS_OPTION_PATH,    /* as STRING; relative paths are the user's, resolved against the working directory */
    LS_OPTION_CHOICE,  /* int: index into `choices`, "a|b|c" */
    LS_OPTION_FLOATS,  /* ls_option_floats */
    LS_OPTION_INTS,    /* ls_option_ints */
    LS_OPTION_SOURCES, /* ls_option_sources: data sets with weights; a bare path is one source of weight 1 */
    LS_OPTION_EVERY,   /* ls_option_every: 100 or 100 steps, or 30 s, 10 min, 2 h; at most `max` steps; 0: never */
    LS_OPTION_LIST,    /* ls_option_list: [{key: value, ...}, ...], each by a table of its own; at most `max` of them */
} ls_option_kind;

typedef enum {
    LS_OPTION_REQUIRED = 1u << 0, /* no default: refused when missing */
    LS_OPTION_FREE = 1u << 1,     /* may change on resume; the others are fixed for the life of a run folder */
} ls_option_flag;

typedef struct {
    int count;
    double value[8];
} ls_option_floats;

typedef struct {
    int count;
    int64_t value[16];
} ls_option_ints;

/* How often: one of the two is above 0, or neither. */
typedef struct {
    int64_t steps;
    double seconds;
} ls_option_every;

enum { LS_MAX_SOURCES = 16 };
typedef struct {
    int count;
    struct {
        const char *path;
        double weight;
    } source[LS_MAX_SOURCES];
} ls_option_sources;

/* Elements of a LIST: an array of the struct that the table's offsets point into. */
typedef struct {
    int count;
    void *item;
} ls_option_list;

typedef struct {
    const char *key; /* within its section */
    ls_option_kind kind;
    size_t offset; /* of the field in the section's struct */
    unsigned flags;
    double min, max;         /* INT, FLOAT and each element of lists; ignored when both are 0 */
    const char *fallback;    /* default, written as in YAML; NULL: unset (0, false, NULL, empty) */
    const void *choices;     /* CHOICE: "adamw|sgd|lion"; LIST: the ls_option_section of one element */
    const char *sentence;    /* what it does, with its unit, for --help and the manual */
} ls_option;

/* A recipe section: `name: {key: value, ...}`; "" is the top level. `options` ends with a row whose key is NULL. */
typedef struct {
    const char *name;
    const ls_option *options;
    size_t size; /* of the struct that the offsets point into */
} ls_option_section;
