/* Is the answer right? Checking replies to arithmetic problems without a model's opinion.
 *
 * GSM8K (Cobbe et al. 2021; openai/grade-school-math): the strict check is theirs, the first match of
 *     #### (\-?[0-9\.\,]+)
 * in the reply and in the gold solution, commas deleted, compared as text; no match is wrong. The lenient check, which
 * newer harnesses report, takes the last number anywhere in the reply and compares it with the gold one as exact
 * rationals, so that 18, 18.00 and 36/2 are one answer. Both are always reported.
 *
 * A number is a sign, digits with commas between them, a decimal part, "/ digits" or "%" behind it; dollar signs and
 * units are not part of it. Numbers that do not fit into 64-bit fractions are no numbers. Never compares floats. */
#pragma once
#include "base/type.h"

typedef struct {
    int64_t numerator, denominator; /* lowest terms, denominator > 0 */
    bool percent;                   /* written with "%": the value is already divided by 100 */
} ls_rational;

bool ls_gsm8k_right(const char *reply, size_t reply_bytes, const char *gold, size_t gold_bytes);
bool ls_gsm8k_right_leniently(const char *reply, size_t reply_bytes, const char *gold, size_t gold_bytes);

/* Rules that judge a reply by a gold solution. `marked`: the number behind the first '#' (or run of them) in each, as exact
 * rationals, so "#### 1,000", "#1000.0" and "# 2000/2" agree; a gold text without the mark is judged by its last number, a reply
 * without it is wrong. */
typedef enum { LS_ANSWER_MARKED, LS_ANSWER_GSM8K, LS_ANSWER_LENIENT } ls_answer_rule;
#define LS_ANSWER_RULES "marked|gsm8k|lenient"
bool ls_answer_right(ls_answer_rule rule, const char *reply, size_t reply_bytes, const char *gold, size_t gold_bytes);

/* The equations of a text in their order, without blanks: "47+38=85;85*2=170;". An equation is numbers with + - * / (x for *)
 * between them, = and a number; <<16-3=13>>13 gives it once. A text without any stands for itself. malloc'ed; NULL: no memory. */
char *ls_equations(const char *text, size_t bytes);

/* The last number of `text`; false: there is none. */
bool ls_rational_last(const char *text, size_t bytes, ls_rational *value);
/* The number that begins at text[0], sign included; how many bytes it takes, 0: none begins there. */
size_t ls_rational_read(const char *text, size_t bytes, ls_rational *value);
bool ls_rational_equal(ls_rational a, ls_rational b);

/* Wilson's 95% interval of a share (1927): of `of` trials `right` succeeded. [0, 1] when of = 0. */
void ls_wilson_interval(int64_t right, int64_t of, double *low, double *high);
