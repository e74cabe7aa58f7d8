/* What a tokenizer.json says of SentencePiece's way with blanks: the parts of it that are not the model. */
#pragma once
#include "datasets/tokenizer/json.h"
#include "datasets/tokenizer/parts.h"

/* The value that comes next is the normalizer, the pre_tokenizer or the decoder of a model with byte_fallback. LS_EFORMAT:
 * it asks for what is not done here, by name. */
ls_status ls_pieces_read_normalizer(ls_json *json, ls_tokenizer *tokenizer);
ls_status ls_pieces_read_pre_tokenizer(ls_json *json, ls_tokenizer *tokenizer);
ls_status ls_pieces_check_decoder(ls_json *json);
/* Puts a key of the vocabulary: "<0x41>" is a byte, in any other key U+2581 is a blank. */
ls_status ls_pieces_put(ls_tokenizer *tokenizer, int64_t id, const char *key, size_t bytes);
bool ls_pieces_begin_blank(const char *text, size_t bytes); /* with U+2581? */
/* The text with a blank for each U+2581, in `to` [bytes], which may be `text` itself. Returns its length. */
size_t ls_pieces_blanks(const char *text, size_t bytes, char *to);
