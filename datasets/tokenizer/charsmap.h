/* SentencePiece's normalisation: rules that replace strings by strings (its precompiled_charsmap, as nmt_nfkc), and blanks taken away.
 *
 *     u32 bytes of the trie | the trie, u32 units | replacements, each ended by a zero byte          all little-endian
 *
 * The trie is darts-clone's double array (github.com/s-yata/darts-clone): its value for a key is where the replacement begins. At each
 * place of a text the longest key that stands there is replaced; where none does, a character stays. What is no UTF-8 becomes U+FFFD, a byte
 * at a time. With `squeeze` (remove_extra_whitespaces) blanks at both ends go, and of blanks side by side one stays. */
#pragma once
#include "base/error.h"
#include "base/type.h"

typedef struct {
    uint32_t *unit; /* [units] */
    char *replacement; /* [replacement_bytes], the last of them 0 */
    size_t units, replacement_bytes;
    bool squeeze;
    char *normal; /* [room], work space that grows to the longest text */
    size_t room;
} ls_charsmap; /* all zero: texts stay as they are */

/* The rules, which may be freed afterwards; size 0: there are none. LS_EFORMAT: broken; LS_EMEM. */
ls_status ls_charsmap_read(ls_charsmap *charsmap, const char *bytes, size_t size);
void ls_charsmap_free(ls_charsmap *charsmap);
static inline bool ls_charsmap_any(const ls_charsmap *charsmap)
{
    return charsmap->units || charsmap->squeeze;
}
/* *normal lies in `charsmap` until the next call. LS_EMEM. */
ls_status ls_charsmap_apply(ls_charsmap *charsmap, const char *text, size_t bytes, const char **normal, size_t *normal_bytes);
