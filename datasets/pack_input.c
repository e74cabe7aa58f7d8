/* See pack_input.h. */
#include "datasets/pack_input.h"

#include <string.h>
#include <strings.h>

static bool ends_in(const char *path, const char *ending)
{
    const size_t length = strlen(path), tail = strlen(ending);
    return length > tail && strcasecmp(path + length - tail, ending) == 0;
}

bool ls_pack_is_json(const char *path)
{
    return ends_in(path, ".jsonl") || ends_in(path, ".ndjson") || ends_in(path, ".json");
}

ls_status ls_pack_input_open(ls_pack_input *input, const char *path, const ls_pack_options *options)
{
    *input = (ls_pack_input){.options = options};
    if (ls_pack_is_json(path))
        return ls_jsonl_open(&input->lines, path);
    return ls_documents_open(&input->documents, path, options->documents);
}

void ls_pack_input_close(ls_pack_input *input)
{
    if (input->lines)
        ls_jsonl_close(input->lines);
    else
        ls_documents_close(&input->documents);
}

static ls_status next_line(ls_pack_input *input, ls_pack_record *record, bool *more)
{
    json_t *object;
    const ls_status status = ls_jsonl_next(input->lines, &object);
    *more = status == LS_OK && object;
    if (*more)
        *record = (ls_pack_record){.path = ls_jsonl_path(input->lines), .line = ls_jsonl_line(input->lines), .object = json_incref(object),
                                   .bytes = 1024};
    return status;
}

/* Where a whole file's held-out end begins: behind the first newline after its share of the bytes. */
static size_t cut_at(const char *text, size_t bytes, double holdout)
{
    const size_t at = (size_t)((double)bytes * (1 - holdout));
    const char *newline = at < bytes ? memchr(text + at, '\n', bytes - at) : NULL;
    return newline ? (size_t)(newline - text) + 1 : bytes;
}

static int64_t newlines(const char *text, size_t bytes)
{
    int64_t lines = 0;
    for (size_t i = 0; i < bytes; i++)
        lines += text[i] == '\n';
    return lines;
}

static void next_document(ls_pack_input *input, ls_pack_record *record, bool *more)
{
    const ls_pack_options *o = input->options;
    if (input->rest_bytes) {
        *record = (ls_pack_record){.path = input->documents.path, .line = input->rest_line, .text = input->rest, .bytes = input->rest_bytes,
                                   .part = LS_PACK_HELD};
        input->rest_bytes = 0;
        return;
    }
    size_t bytes;
    *record = (ls_pack_record){.path = input->documents.path};
    *more = ls_documents_next(&input->documents, &record->text, &bytes, &record->line);
    if (!*more)
        return;
    if (o->holdout > 0 && o->documents == LS_DOCUMENT_FILE) {
        const size_t cut = cut_at(record->text, bytes, o->holdout);
        input->rest = record->text + cut;
        input->rest_bytes = (int64_t)(bytes - cut);
        input->rest_line = record->line + newlines(record->text, cut);
        record->part = LS_PACK_KEPT;
        bytes = cut;
    }
    record->bytes = (int64_t)bytes;
}

ls_status ls_pack_input_next(ls_pack_input *input, ls_pack_record *record, bool *more)
{
    if (input->lines)
        return next_line(input, record, more);
    *more = true;
    next_document(input, record, more);
    return LS_OK;
}

void ls_pack_record_free(ls_pack_record *record)
{
    json_decref(record->object); /* NULL is nothing */
    *record = (ls_pack_record){0};
}

ls_status ls_pack_text_of(const json_t *object, const char *key, size_t key_bytes, const char **text, size_t *bytes)
{
    const json_t *value = json_object_getn(object, key, key_bytes);
    if (json_is_string(value)) {
        *text = json_string_value(value);
        *bytes = json_string_length(value);
        return LS_OK;
    }
    if (value)
        return ls_fail(LS_EFORMAT, "\"%.*s\" is not a string", (int)key_bytes, key);
    char keys[256] = "";
    const char *other;
    json_t *ignored;
    json_object_foreach((json_t *)(uintptr_t)object, other, ignored)
    {
        const size_t used = strlen(keys);
        snprintf(keys + used, sizeof keys - used, "%s\"%s\"", used ? ", " : "", other);
    }
    return ls_fail(LS_EFORMAT, "no \"%.*s\"; the line has %s", (int)key_bytes, key, keys[0] ? keys : "no keys at all");
}

/* The named fields, joined by newlines, as one document. */
static ls_status encode_fields(const json_t *object, const char *fields, const ls_template *template, ls_tokenizer *tokenizer,
                               ls_masked_ids *ids, int64_t *text_bytes)
{
    char *joined = NULL;
    size_t used = 0;
    ls_status status = LS_OK;
    for (const char *field = fields; field && status == LS_OK;) {
        const size_t length = strcspn(field, ",");
        const char *text;
        size_t bytes;
        if ((status = ls_pack_text_of(object, field, length, &text, &bytes)) != LS_OK)
            break;
        char *grown = realloc(joined, used + bytes + 1);
        if (!grown) {
            status = ls_fail(LS_EMEM, "no memory for a text of %zu bytes", used + bytes);
            break;
        }
        joined = grown;
        if (used)
            joined[used++] = '\n';
        memcpy(joined + used, text, bytes);
        used += bytes;
        field = field[length] ? field + length + 1 : NULL;
    }
    *text_bytes = (int64_t)used;
    if (status == LS_OK && used)
        status = ls_template_document(template, tokenizer, joined, used, ids);
    free(joined);
    return status;
}

/* One of [{"role": "user", "content": "..."}], or of ShareGPT's [{"from": "human", "value": "..."}]. */
static ls_status read_message(const json_t *item, int number, ls_message *message)
{
    const bool old = json_is_object(item) && !json_object_get(item, "role") && json_object_get(item, "from");
    const char *role, *role_key = old ? "from" : "role", *text_key = old ? "value" : "content";
    size_t role_bytes;
    *message = (ls_message){0};
    if (!json_is_object(item))
        return ls_fail(LS_EFORMAT, "message %d is not an object like {\"role\": \"user\", \"content\": \"...\"}", number + 1);
    ls_status status = ls_pack_text_of(item, role_key, strlen(role_key), &role, &role_bytes);
    if (status == LS_OK)
        status = ls_pack_text_of(item, text_key, strlen(text_key), &message->text, &message->bytes);
    if (status != LS_OK)
        return ls_fail_at(status, "message %d", number + 1);
    static const char *const names[][2] = {{"human", "user"}, {"gpt", "assistant"}, {"model", "assistant"}, {"bot", "assistant"}};
    message->role = role;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(role, names[i][0]) == 0)
            message->role = names[i][1];
    if (strcspn(role, "<|>\n\r") < role_bytes) /* a role is not escaped: it must not look like a mark */
        return ls_fail(LS_EFORMAT, "message %d: \"%s\" is no role; use system, user, assistant or tool", number + 1, role);
    return LS_OK;
}

ls_status ls_pack_messages_of(const json_t *list, const char *key, ls_message message[LS_PACK_MESSAGES], int *count)
{
    const size_t items = json_array_size(list);
    if (!json_is_array(list))
        return ls_fail(LS_EFORMAT, "\"%s\" is not a list of messages", key);
    if (items > (size_t)(LS_PACK_MESSAGES - *count))
        return ls_fail(LS_EFORMAT, "\"%s\" is a list of more than %d messages", key, LS_PACK_MESSAGES);
    for (size_t i = 0; i < items; i++) {
        const ls_status status = read_message(json_array_get(list, i), (int)i, &message[*count]);
        if (status != LS_OK)
            return status;
        ++*count;
    }
    return LS_OK;
}

static ls_status encode_messages(const json_t *object, const char *key, const ls_template *template, ls_tokenizer *tokenizer,
                                 ls_masked_ids *ids, int64_t *text_bytes)
{
    ls_message message[LS_PACK_MESSAGES];
    const json_t *list = json_object_get(object, key);
    int count = 0;
    if (!list)
        return ls_fail(LS_EFORMAT, "\"%s\" is not there; name the fields to read with --text, or with --prompt and --response", key);
    const ls_status status = ls_pack_messages_of(list, key, message, &count);
    if (status != LS_OK)
        return status;
    int64_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += (int64_t)message[i].bytes;
    *text_bytes = bytes;
    return bytes ? ls_template_encode(template, tokenizer, message, count, false, ids) : LS_OK;
}

static ls_status encode_pair(const json_t *object, const ls_pack_options *o, const ls_template *template, ls_tokenizer *tokenizer,
                             ls_masked_ids *ids, int64_t *text_bytes)
{
    ls_message pair[2] = {{.role = "user"}, {.role = "assistant"}};
    ls_status status = ls_pack_text_of(object, o->prompt, strlen(o->prompt), &pair[0].text, &pair[0].bytes);
    if (status == LS_OK)
        status = ls_pack_text_of(object, o->response, strlen(o->response), &pair[1].text, &pair[1].bytes);
    if (status != LS_OK)
        return status;
    *text_bytes = pair[1].bytes ? (int64_t)(pair[0].bytes + pair[1].bytes) : 0; /* without a response nothing is learnt */
    return *text_bytes ? ls_template_encode(template, tokenizer, pair, 2, false, ids) : LS_OK;
}

/* true, false, or a number from 0 to 1. */
static ls_status read_outcome(const json_t *object, const char *key, float *value)
{
    const json_t *outcome = json_object_get(object, key);
    const double number = json_is_boolean(outcome) ? json_is_true(outcome) : json_is_number(outcome) ? json_number_value(outcome) : -1;
    if (!(number >= 0 && number <= 1))
        return ls_fail(LS_EFORMAT, "\"%s\" is %s; an outcome is true, false or a number from 0 to 1", key, outcome ? "none of these" : "not there");
    *value = (float)number;
    return LS_OK;
}

ls_status ls_pack_record_encode(const ls_pack_record *record, const ls_pack_options *o, const ls_template *template,
                                ls_tokenizer *tokenizer, ls_packed *packed)
{
    packed->ids.ids.count = packed->first = 0;
    packed->value = 0;
    packed->alike = false;
    packed->text_bytes = record->bytes;
    if (!record->object)
        return ls_template_document(template, tokenizer, record->text, (size_t)record->bytes, &packed->ids);
    if (o->pairs)
        return ls_pack_encode_preference(record->object, o, template, tokenizer, packed);
    const ls_status status = o->outcome ? read_outcome(record->object, o->outcome, &packed->value) : LS_OK;
    if (status != LS_OK)
        return status;
    if (o->text)
        return encode_fields(record->object, o->text, template, tokenizer, &packed->ids, &packed->text_bytes);
    if (o->prompt)
        return encode_pair(record->object, o, template, tokenizer, &packed->ids, &packed->text_bytes);
    return encode_messages(record->object, o->messages ? o->messages : "messages", template, tokenizer, &packed->ids, &packed->text_bytes);
}
