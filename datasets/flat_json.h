/* A quick way through the commonest line of a .jsonl file: one object of text fields. */
#pragma once
#include "base/type.h"

#include <jansson.h>

/* The object that jansson makes of `text`, when that is {"key": "text", ...} with nothing but strings in it, of
 * distinct keys; NULL for anything else, right or wrong, and when there is no memory: then ask jansson, who knows all of
 * JSON and words the error. `text` must be valid UTF-8. `scratch` has room for `bytes`. */
json_t *ls_flat_json(const char *text, size_t bytes, char *scratch);
