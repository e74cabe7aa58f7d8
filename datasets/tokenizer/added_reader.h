/* One added token as Hugging Face's files describe it, in tokenizer.json and in tokenizer_config.json. */
#pragma once
#include "datasets/tokenizer/json.h"
#include "datasets/tokenizer/parts.h"

/* Reads {"id", "content", "special", "normalized", "lstrip", "rstrip", "single_word"} and adds the token. `id` >= 0
 * when the key in front has given it. The last three must be false: lockstep does not do them. */
ls_status ls_tokenizer_read_added(ls_json *json, ls_tokenizer *tokenizer, int64_t id);
