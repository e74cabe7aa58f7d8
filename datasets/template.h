/* Templates: how messages become tokens, and which of them are learnt. Packing, `generate` and `eval` use the same code,
 * so a model is asked exactly as it was trained.
 *
 *     plain    {user}\n{assistant}<eot>                                          no marks for roles
 *     chatml   <|im_start|>{role}\n{text}<|im_end|>\n ...                        many models
 *     qwen     the same, with Qwen2.5's own system message where there is none, and tools' answers as the user's
 *     qwen-3   the same without a system message (Qwen3's instruct models, without thinking)
 *     llama-3  <|begin_of_text|><|start_header_id|>{role}<|end_header_id|>\n\n{text}<|eot_id|> ...    text trimmed; also "llama3"
 * They write what the models' own templates write (tests/golden/make_template_golden.py).
 * A prompt with its response is a conversation of two messages. LEARNT (mask 1): what the assistant says and the token
 * that ends its turn; all else is only read (mask 0). A message is encoded apart from the assistant's text, since in
 * generation the model begins there: the ids of an open prompt are always a prefix of the packed sample's.
 * Texts are encoded without special tokens: a "<|im_end|>" inside a message stays text and ends nothing. */
#pragma once
#include "datasets/tokenizer.h"

#define LS_TEMPLATE_CHOICES "plain|chatml|qwen|qwen-3|llama-3"

/* Ids with their loss_mask; grows. Zero it to begin with. */
typedef struct {
    ls_ids ids;
    uint8_t *mask; /* [ids.count] */
    int64_t room;
} ls_masked_ids;
void ls_masked_ids_free(ls_masked_ids *ids);

typedef struct {
    const char *role; /* "system", "user", "assistant", "tool", ... */
    const char *text;
    size_t bytes;
    bool only_read; /* not learnt, though the assistant says it */
} ls_message;

/* A template with the ids of its marks. Plain data; needs no freeing. */
typedef struct {
    const struct ls_template_kind *kind;
    int32_t begin, open, close, end; /* -1: the template has no such token */
    int32_t bos, eot;                /* the tokenizer's, or the one that was named; bos -1: none */
} ls_template;

/* `end`: the text of the end-of-text token, NULL: the tokenizer's own. LS_EARG: no such template. LS_ERECIPE: the
 * tokenizer lacks a token that the template is made of (which one; what to do). */
ls_status ls_template_open(ls_template *template, const char *name, ls_tokenizer *tokenizer, const char *end);
/* Appends a conversation. `prompt`: leave it open where the assistant's answer would begin.
 * LS_EFORMAT: no messages. */
ls_status ls_template_encode(const ls_template *template, ls_tokenizer *tokenizer, const ls_message *messages, int count, bool prompt,
                             ls_masked_ids *ids);
/* Appends a document of pretraining: begin-of-text where the tokenizer has one, the text, end-of-text; all learnt. */
ls_status ls_template_document(const ls_template *template, ls_tokenizer *tokenizer, const char *text, size_t bytes, ls_masked_ids *ids);
