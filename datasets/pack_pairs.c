/* Preference pairs: which conversation came out better. A line has `chosen` and `rejected`, each of these
 *     a string, with `prompt` a string or a list of messages    the assistant's answer to that prompt
 *     a list of messages, with or without a `prompt`            what follows the prompt, or the whole conversation
 *     a string that begins with "Human:", without a prompt      a whole conversation, as Anthropic's hh-rlhf writes it
 * and may have a number `margin`, by which the chosen one is better.
 *
 * What is learnt (loss mask 1; the log-probabilities of task dpo) is what the assistant says from the first message on
 * in which the two differ: nearly always the last answer alone, but in some pairs of hh-rlhf the conversations part
 * earlier. */
#include "datasets/pack_input.h"

#include <math.h>
#include <string.h>

typedef struct {
    ls_message message[LS_PACK_MESSAGES];
    int count;
} conversation;

static const char human[] = "Human:", assistant[] = "Assistant:";

static bool begins_with(const char *text, const char *end, const char *word)
{
    const size_t length = strlen(word);
    return (size_t)(end - text) >= length && memcmp(text, word, length) == 0;
}

/* Where the next turn begins: behind an empty line, a speaker's name. */
static const char *next_turn(const char *text, const char *end)
{
    while ((text = memmem(text, (size_t)(end - text), "\n\n", 2))) {
        if (begins_with(text + 2, end, human) || begins_with(text + 2, end, assistant))
            return text;
        text++;
    }
    return end;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* "\n\nHuman: How ...?\n\nAssistant: By ..."; blanks around a text are the format's, not the speaker's. */
static ls_status split_transcript(const char *text, size_t bytes, const char *key, conversation *into)
{
    const char *end = text + bytes;
    while (text < end && is_blank(*text))
        text++;
    if (!begins_with(text, end, human) && !begins_with(text, end, assistant))
        return ls_fail(
            LS_EFORMAT,
            "\"%s\" is a text without a \"prompt\", and no conversation of \"Human:\" and \"Assistant:\" turns either",
            key);
    while (text < end) {
        const bool user = *text == 'H';
        const char *behind = next_turn(text, end), *from = text + (user ? sizeof human : sizeof assistant) - 1,
                   *to = behind;
        while (from < to && is_blank(*from))
            from++;
        while (to > from && is_blank(to[-1]))
            to--;
        if (into->count == LS_PACK_MESSAGES)
            return ls_fail(LS_EFORMAT, "\"%s\" has more than %d turns", key, LS_PACK_MESSAGES);
        into->message[into->count++] =
            (ls_message){.role = user ? "user" : "assistant", .text = from, .bytes = (size_t)(to - from)};
        text = behind < end ? behind + 2 : end;
    }
    return LS_OK;
}

static ls_status add_text(const char *role, const json_t *text, conversation *into)
{
    if (into->count == LS_PACK_MESSAGES)
        return ls_fail(LS_EFORMAT, "a conversation of more than %d messages", LS_PACK_MESSAGES);
    into->message[into->count++] =
        (ls_message){.role = role, .text = json_string_value(text), .bytes = json_string_length(text)};
    return LS_OK;
}

/* The prompt, if the line has one, and what stands under `key`. */
static ls_status read_side(const json_t *object, const char *prompt_key, const char *key, conversation *into)
{
    const json_t *prompt = json_object_get(object, prompt_key), *answer = json_object_get(object, key);
    ls_status status = LS_OK;
    if (!json_is_string(answer) && !json_is_array(answer))
        return ls_fail(LS_EFORMAT, "\"%s\" is %s; a pair has \"chosen\" and \"rejected\", texts or lists of messages",
                       key, answer ? "neither" : "not there");
    if (json_is_string(prompt))
        status = add_text("user", prompt, into);
    else if (prompt)
        status = ls_pack_messages_of(prompt, prompt_key, into->message, &into->count);
    if (status != LS_OK)
        return status;
    if (json_is_array(answer))
        return ls_pack_messages_of(answer, key, into->message, &into->count);
    return prompt ? add_text("assistant", answer, into)
                  : split_transcript(json_string_value(answer), json_string_length(answer), key, into);
}

static bool same_message(const ls_message *a, const ls_message *b)
{
    return strcmp(a->role, b->role) == 0 && a->bytes == b->bytes && memcmp(a->text, b->text, a->bytes) == 0;
}

/* The first message in which two conversations differ; their length where they do not. */
static int parting(const conversation *a, const conversation *b)
{
    int i = 0;
    while (i < a->count && i < b->count && same_message(&a->message[i], &b->message[i]))
        i++;
    return i;
}

static ls_status read_margin(const json_t *object, float *margin)
{
    const json_t *value = json_object_get(object, "margin");
    if (value && !json_is_number(value))
        return ls_fail(LS_EFORMAT, "\"margin\" is not a number");
    *margin = (float)json_number_value(value);
    return isfinite(*margin) ? LS_OK : ls_fail(LS_EFORMAT, "\"margin\" is %g, too large", json_number_value(value));
}

ls_status ls_pack_encode_preference(const json_t *object, const ls_pack_options *options, const ls_template *template,
                                    ls_tokenizer *tokenizer, ls_packed *packed)
{
    static const char *const keys[] = {"chosen", "rejected"};
    conversation side[2];
    ls_status status = read_margin(object, &packed->value);
    for (int i = 0; i < 2 && status == LS_OK; i++) {
        side[i].count = 0;
        status = read_side(object, options->prompt ? options->prompt : "prompt", keys[i], &side[i]);
    }
    if (status != LS_OK)
        return status;
    const int apart = parting(&side[0], &side[1]);
    packed->text_bytes = 0;
    packed->alike = apart == side[0].count && apart == side[1].count;
    if (packed->alike || !side[0].count || !side[1].count)
        return LS_OK;
    for (int i = 0; i < 2 && status == LS_OK; i++) {
        for (int m = 0; m < side[i].count; m++) {
            side[i].message[m].only_read = m < apart;
            packed->text_bytes += (int64_t)side[i].message[m].bytes;
        }
        packed->first = i ? packed->ids.ids.count : 0;
        status = ls_template_encode(template, tokenizer, side[i].message, side[i].count, false, &packed->ids);
    }
    return status;
}
