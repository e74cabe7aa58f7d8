/* tokenizer_config.json, the file that Hugging Face's transformers keeps beside a tokenizer:
 *
 *     {"tokenizer_class": "Qwen2Tokenizer", "bos_token": null | "<s>" | {"content": "<s>"}, "eos_token": the same,
 *      "added_tokens_decoder": {"151643": {"content": "<|endoftext|>", "special": true, ...}, ...}, ...}  */
#include "datasets/tokenizer/added_reader.h"

#include <stdlib.h>
#include <string.h>

static ls_status read_added_tokens(ls_json *json, ls_tokenizer *tokenizer)
{
    ls_json_text key;
    ls_status status = ls_json_object(json);
    while (!status && (status = ls_json_key(json, &key)) == LS_OK && key.text) {
        char *end;
        long long id = key.bytes && key.bytes < 10 ? strtoll(key.text, &end, 10) : -1;
        if (id < 0 || *end)
            return ls_json_refuse(json, "\"%s\" is not a token id", key.text);
        status = ls_tokenizer_read_added(json, tokenizer, id);
    }
    return status;
}

/* The id of the token that is named here, by its text or by an object with the text as "content"; null is none. */
static ls_status read_name(ls_json *json, const ls_tokenizer *tokenizer, int32_t *id)
{
    ls_json_text text = {NULL, 0}, key;
    ls_status status = LS_OK;
    char kind = ls_json_peek(json);
    if (kind == '"') {
        if ((status = ls_json_string(json, &text)) == LS_OK)
            *id = ls_tokenizer_id(tokenizer, text.text);
        return status;
    }
    if (kind != '{')
        return ls_json_skip(json);
    status = ls_json_object(json);
    while (!status && (status = ls_json_key(json, &key)) == LS_OK && key.text) {
        bool content = ls_json_is(&key, "content");
        status = content ? ls_json_string(json, &text) : ls_json_skip(json);
        if (!status && content)
            *id = ls_tokenizer_id(tokenizer, text.text);
    }
    return status;
}

/* vocab.json + merges.txt do not say how text is cut; the class does. */
static ls_status read_class(ls_json *json, ls_tokenizer *tokenizer)
{
    ls_json_text name;
    if (ls_json_peek(json) != '"')
        return ls_json_skip(json);
    ls_status status = ls_json_string(json, &name);
    if (status || tokenizer->pieces || ls_split_patterns(tokenizer->split))
        return status;
    bool qwen = ls_json_is(&name, "Qwen2Tokenizer") || ls_json_is(&name, "Qwen2TokenizerFast");
    tokenizer->nfc |= qwen;
    const char *pattern = ls_pattern_named(qwen ? "qwen2" : "gpt2");
    return ls_split_add(tokenizer->split, pattern, strlen(pattern));
}

ls_status ls_tokenizer_read_config(ls_tokenizer *tokenizer, const char *name, const char *bytes, size_t size)
{
    ls_json json, bos = {0}, eos = {0};
    ls_json_text key;
    ls_status status = ls_json_open(&json, name, bytes, size);
    if (!status)
        status = ls_json_object(&json);
    while (!status && (status = ls_json_key(&json, &key)) == LS_OK && key.text) {
        (void)ls_json_peek(&json);
        if (ls_json_is(&key, "added_tokens_decoder") && ls_json_peek(&json) == '{') {
            status = read_added_tokens(&json, tokenizer);
        } else if (ls_json_is(&key, "tokenizer_class")) {
            status = read_class(&json, tokenizer);
        } else { /* bos and eos are looked up when every token is there */
            if (ls_json_is(&key, "bos_token"))
                bos = json;
            if (ls_json_is(&key, "eos_token"))
                eos = json;
            status = ls_json_skip(&json);
        }
    }
    if (!status && bos.at)
        status = read_name(&bos, tokenizer, &tokenizer->bos);
    if (!status && eos.at)
        status = read_name(&eos, tokenizer, &tokenizer->eot);
    ls_json_close(&json);
    return status;
}
