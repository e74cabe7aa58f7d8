/* See added_reader.h. */
#include "datasets/tokenizer/added_reader.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    char *content;
    size_t bytes;
    int64_t id;
    bool special, normalized;
} description;

static ls_status read_content(ls_json *json, description *token)
{
    ls_json_text text;
    ls_status status = ls_json_string(json, &text);
    if (status)
        return status;
    free(token->content);
    token->content = malloc(text.bytes + 1);
    if (!token->content)
        return ls_fail(LS_EMEM, "no memory for an added token of %zu bytes", text.bytes);
    memcpy(token->content, text.text, text.bytes);
    token->bytes = text.bytes;
    return LS_OK;
}

static ls_status must_be_false(ls_json *json, const char *name)
{
    bool set;
    ls_status status = ls_json_bool(json, &set);
    if (status || !set)
        return status;
    return ls_json_refuse(json, "an added token with \"%s\": true, which lockstep does not do", name);
}

static ls_status read_member(ls_json *json, description *token, const ls_json_text *key)
{
    static const char *const unknown[] = {"lstrip", "rstrip", "single_word"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        if (ls_json_is(key, unknown[i]))
            return must_be_false(json, unknown[i]);
    if (ls_json_is(key, "id"))
        return ls_json_integer(json, &token->id);
    if (ls_json_is(key, "content"))
        return read_content(json, token);
    if (ls_json_is(key, "special"))
        return ls_json_bool(json, &token->special);
    if (ls_json_is(key, "normalized"))
        return ls_json_bool(json, &token->normalized);
    return ls_json_skip(json);
}

ls_status ls_tokenizer_read_added(ls_json *json, ls_tokenizer *tokenizer, int64_t id)
{
    description token = {.id = id};
    ls_json_text key;
    ls_status status = ls_json_object(json);
    while (!status && (status = ls_json_key(json, &key)) == LS_OK && key.text)
        status = read_member(json, &token, &key);
    if (!status && (!token.content || token.id < 0))
        status = ls_json_refuse(json, "an added token without \"id\" or \"content\"");
    if (!status) {
        status =
            ls_tokenizer_add_token(tokenizer, token.content, token.bytes, token.id, token.special, token.normalized);
        if (status == LS_EFORMAT)
            status = ls_json_refuse(json, "%s", ls_fail_sentence());
    }
    free(token.content);
    return status;
}
