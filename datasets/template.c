/* Messages to tokens. See template.h. */
#include "datasets/template.h"

#include <stdlib.h>
#include <string.h>

/* A turn is   open role after_role  text  end after_text ; a NULL mark is left out. */
struct ls_template_kind {
    const char *name, *alias;
    const char *system; /* said first where the conversation does not begin with a system message; NULL: nothing is */
    const char *begin; /* once; NULL: the tokenizer's begin-of-text, if it has one */
    const char *open, *close, *end;
    const char *after_role, *after_text;
    bool roles; /* says who speaks */
    bool trims;
    bool wraps_tools; /* what tools answer is said by the user, between <tool_response> and </tool_response> */
};

static const struct ls_template_kind kinds[] = {
    {.name = "plain", .after_text = "\n"},
    {.name = "chatml", .open = "<|im_start|>", .end = "<|im_end|>", .after_role = "\n", .after_text = "\n", .roles = true},
    {.name = "qwen", .open = "<|im_start|>", .end = "<|im_end|>", .after_role = "\n", .after_text = "\n", .roles = true, .wraps_tools = true,
     .system = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."},
    {.name = "qwen-3", .open = "<|im_start|>", .end = "<|im_end|>", .after_role = "\n", .after_text = "\n", .roles = true, .wraps_tools = true},
    {.name = "llama-3", .alias = "llama3", .begin = "<|begin_of_text|>", .open = "<|start_header_id|>", .close = "<|end_header_id|>", .end = "<|eot_id|>",
     .after_role = "\n\n", .after_text = "", .roles = true, .trims = true},
};

void ls_masked_ids_free(ls_masked_ids *ids)
{
    free(ids->ids.id);
    free(ids->mask);
    *ids = (ls_masked_ids){0};
}

static ls_status find_mark(ls_tokenizer *tokenizer, const char *template_name, const char *text, int32_t *id)
{
    *id = text ? ls_tokenizer_id(tokenizer, text) : -1;
    if (text && *id < 0)
        return ls_fail(LS_ERECIPE, "template %s needs the token %s, which the tokenizer lacks; choose another template (" LS_TEMPLATE_CHOICES
                       "), or train a tokenizer with that special token", template_name, text);
    return LS_OK;
}

ls_status ls_template_open(ls_template *t, const char *name, ls_tokenizer *tokenizer, const char *end)
{
    *t = (ls_template){.begin = -1, .open = -1, .close = -1, .end = -1, .bos = ls_tokenizer_bos(tokenizer)};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].name, name) == 0 || (kinds[i].alias && strcmp(kinds[i].alias, name) == 0))
            t->kind = &kinds[i];
    if (!t->kind)
        return ls_fail(LS_EARG, "no template is called '%s'; there are " LS_TEMPLATE_CHOICES, name);
    t->eot = end ? ls_tokenizer_id(tokenizer, end) : ls_tokenizer_eot(tokenizer);
    if (end && t->eot < 0)
        return ls_fail(LS_ERECIPE, "the tokenizer has no token %s to end texts with; name another one", end);
    ls_status status;
    if ((status = find_mark(tokenizer, name, t->kind->begin, &t->begin)) != LS_OK ||
        (status = find_mark(tokenizer, name, t->kind->open, &t->open)) != LS_OK ||
        (status = find_mark(tokenizer, name, t->kind->close, &t->close)) != LS_OK ||
        (status = find_mark(tokenizer, name, t->kind->end, &t->end)) != LS_OK)
        return status;
    if (t->begin < 0)
        t->begin = t->bos;
    if (!t->kind->end && t->eot < 0)
        return ls_fail(LS_ERECIPE, "the tokenizer has no end-of-text token by a usual name (<|endoftext|>, </s>, ...); name the one to use");
    if (!t->kind->end)
        t->end = t->eot;
    return LS_OK;
}

/* Gives every id that has no mask yet the mask `learnt`. */
static ls_status mark_new(ls_masked_ids *ids, int64_t from, bool learnt)
{
    if (ids->ids.room > ids->room) {
        uint8_t *mask = realloc(ids->mask, (size_t)ids->ids.room);
        if (!mask)
            return ls_fail(LS_EMEM, "no memory for the masks of %lld tokens", (long long)ids->ids.room);
        ids->mask = mask;
        ids->room = ids->ids.room;
    }
    if (ids->ids.count > from)
        memset(ids->mask + from, learnt, (size_t)(ids->ids.count - from));
    return LS_OK;
}

static ls_status add_text(ls_tokenizer *tokenizer, const char *text, size_t bytes, bool learnt, ls_masked_ids *ids)
{
    int64_t from = ids->ids.count;
    ls_status status = bytes ? ls_tokenizer_encode(tokenizer, text, bytes, false, &ids->ids) : LS_OK;
    return status == LS_OK ? mark_new(ids, from, learnt) : status;
}

static ls_status add_id(int32_t id, bool learnt, ls_masked_ids *ids)
{
    if (id < 0)
        return LS_OK;
    if (ids->ids.count == ids->ids.room) {
        int64_t room = ids->ids.room ? ids->ids.room * 2 : 256;
        int32_t *grown = realloc(ids->ids.id, (size_t)room * sizeof *grown);
        if (!grown)
            return ls_fail(LS_EMEM, "no memory for %lld tokens", (long long)room);
        ids->ids.id = grown;
        ids->ids.room = room;
    }
    ids->ids.id[ids->ids.count++] = id;
    return mark_new(ids, ids->ids.count - 1, learnt);
}

/* Texts that are encoded as one, since no one begins to write between them. */
static ls_status add_joined(ls_tokenizer *tokenizer, const char *const *part, const size_t *bytes, int parts, ls_masked_ids *ids)
{
    size_t all = 0, at = 0;
    for (int i = 0; i < parts; i++)
        all += bytes[i];
    char *joined = malloc(all + 1);
    if (!joined)
        return ls_fail(LS_EMEM, "no memory for a message of %zu bytes", all);
    for (int i = 0; i < parts; at += bytes[i++])
        memcpy(joined + at, part[i], bytes[i]);
    ls_status status = add_text(tokenizer, joined, all, false, ids);
    free(joined);
    return status;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

static ls_message trimmed(ls_message message)
{
    while (message.bytes && is_blank(message.text[message.bytes - 1]))
        message.bytes--;
    for (; message.bytes && is_blank(*message.text); message.bytes--)
        message.text++;
    return message;
}

/* The marks and the role in front of an assistant's text. */
static ls_status add_header(const ls_template *t, ls_tokenizer *tokenizer, const char *role, ls_masked_ids *ids)
{
    const struct ls_template_kind *kind = t->kind;
    ls_status status = add_id(t->open, false, ids);
    if (status != LS_OK || !kind->roles)
        return status;
    if (kind->close) {
        if ((status = add_text(tokenizer, role, strlen(role), false, ids)) != LS_OK || (status = add_id(t->close, false, ids)) != LS_OK)
            return status;
        return add_text(tokenizer, kind->after_role, strlen(kind->after_role), false, ids);
    }
    return add_joined(tokenizer, (const char *const[]){role, kind->after_role}, (const size_t[]){strlen(role), strlen(kind->after_role)}, 2, ids);
}

static ls_status add_assistant(const ls_template *t, ls_tokenizer *tokenizer, const ls_message *m, ls_masked_ids *ids)
{
    ls_status status = add_header(t, tokenizer, m->role, ids);
    if (status != LS_OK || (status = add_text(tokenizer, m->text, m->bytes, !m->only_read, ids)) != LS_OK ||
        (status = add_id(t->end, !m->only_read, ids)) != LS_OK)
        return status;
    if (!t->kind->roles) /* plain: end-of-text is the end */
        return LS_OK;
    return add_text(tokenizer, t->kind->after_text, strlen(t->kind->after_text), false, ids);
}

/* Any other speaker: header and text as one where no token stands between them. */
static ls_status add_other(const ls_template *t, ls_tokenizer *tokenizer, const ls_message *m, ls_masked_ids *ids)
{
    const struct ls_template_kind *kind = t->kind;
    const char *role = kind->roles ? m->role : "", *after_role = kind->roles ? kind->after_role : "";
    ls_status status = add_id(t->open, false, ids);
    if (status == LS_OK && kind->close) {
        if ((status = add_text(tokenizer, role, strlen(role), false, ids)) == LS_OK)
            status = add_id(t->close, false, ids);
        role = "";
    }
    if (status != LS_OK)
        return status;
    const char *behind = kind->roles ? "" : kind->after_text;
    status = add_joined(tokenizer, (const char *const[]){role, after_role, m->text, behind},
                        (const size_t[]){strlen(role), strlen(after_role), m->bytes, strlen(behind)}, 4, ids);
    if (status != LS_OK || !kind->roles)
        return status;
    if ((status = add_id(t->end, false, ids)) != LS_OK)
        return status;
    return add_text(tokenizer, kind->after_text, strlen(kind->after_text), false, ids);
}

/* What a tool answered; several in a row are one turn of the user. */
static ls_status add_tool(const ls_template *t, ls_tokenizer *tokenizer, const ls_message *m, bool first, bool last, ls_masked_ids *ids)
{
    static const char before[] = "\n<tool_response>\n", behind[] = "\n</tool_response>";
    const char *role = first ? "user" : "";
    ls_status status = first ? add_id(t->open, false, ids) : LS_OK;
    if (status == LS_OK)
        status = add_joined(tokenizer, (const char *const[]){role, before, m->text, behind},
                            (const size_t[]){strlen(role), sizeof before - 1, m->bytes, sizeof behind - 1}, 4, ids);
    if (status != LS_OK || !last)
        return status;
    if ((status = add_id(t->end, false, ids)) != LS_OK)
        return status;
    return add_text(tokenizer, t->kind->after_text, strlen(t->kind->after_text), false, ids);
}

static bool is_tool(const ls_template *t, const ls_message *messages, int count, int i)
{
    return t->kind->wraps_tools && i >= 0 && i < count && strcmp(messages[i].role, "tool") == 0;
}

ls_status ls_template_encode(const ls_template *t, ls_tokenizer *tokenizer, const ls_message *messages, int count, bool prompt,
                             ls_masked_ids *ids)
{
    if (count < 1)
        return ls_fail(LS_EFORMAT, "a conversation without messages");
    ls_status status = add_id(t->begin, false, ids);
    if (status == LS_OK && t->kind->system && strcmp(messages[0].role, "system") != 0)
        status = add_other(t, tokenizer, &(ls_message){.role = "system", .text = t->kind->system, .bytes = strlen(t->kind->system)}, ids);
    for (int i = 0; i < count && status == LS_OK; i++) {
        const ls_message m = t->kind->trims ? trimmed(messages[i]) : messages[i];
        if (is_tool(t, messages, count, i))
            status = add_tool(t, tokenizer, &m, !is_tool(t, messages, count, i - 1), !is_tool(t, messages, count, i + 1), ids);
        else
            status = strcmp(m.role, "assistant") == 0 ? add_assistant(t, tokenizer, &m, ids) : add_other(t, tokenizer, &m, ids);
    }
    return status == LS_OK && prompt ? add_header(t, tokenizer, "assistant", ids) : status;
}

ls_status ls_template_document(const ls_template *t, ls_tokenizer *tokenizer, const char *text, size_t bytes, ls_masked_ids *ids)
{
    if (t->eot < 0)
        return ls_fail(LS_ERECIPE, "the tokenizer has no end-of-text token by a usual name (<|endoftext|>, </s>, ...); name the one to use");
    ls_status status = add_id(t->bos, true, ids);
    if (status == LS_OK)
        status = add_text(tokenizer, text, bytes, true, ids);
    return status == LS_OK ? add_id(t->eot, true, ids) : status;
}
