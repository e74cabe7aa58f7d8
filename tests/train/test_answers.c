#include "train/answers.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool strict(const char *reply, const char *gold)
{
    return ls_gsm8k_right(reply, strlen(reply), gold, strlen(gold));
}

static bool lenient(const char *reply, const char *gold)
{
    return ls_gsm8k_right_leniently(reply, strlen(reply), gold, strlen(gold));
}

/* What openai/grade-school-math's is_correct says, case by case. */
Test(answers, strict_is_text_equality_after_the_mark)
{
    static const struct {
        const char *reply, *gold;
        bool right;
    } rows[] = {
        {"so #### 18", "#### 18", true},
        {"#### 1,080", "... = 1080\n#### 1080", true},
        {"#### 1080", "#### 1,080", true},
        {"#### -5", "#### -5", true},
        {"#### 5", "#### -5", false},
        {"#### 18.", "#### 18", false}, /* text, not number */
        {"#### 18.0", "#### 18", false},
        {"#### 018", "#### 18", false},
        {"#### 18 dollars", "#### 18", true},
        {"#### $18", "#### 18", false},
        {"####18", "#### 18", false},
        {"##### 18", "#### 18", true}, /* the pattern is not anchored */
        {"18", "#### 18", false},
        {"", "#### 18", false},
        {"#### ", "#### 18", false},
        {"#### -", "#### 18", false},
        {"#### x #### 18", "#### 18", true}, /* the first match, not the first mark */
        {"#### 17 #### 18", "#### 18", false},
        {"#### 18", "no answer", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_expect_eq(strict(rows[i].reply, rows[i].gold), rows[i].right, "\"%s\" against \"%s\"", rows[i].reply, rows[i].gold);
}

Test(answers, lenient_is_the_last_number_as_a_rational)
{
    static const struct {
        const char *reply, *gold;
        bool right;
    } rows[] = {
        {"She makes 9 * 2 = $18 every day.", "#### 18", true},
        {"#### 18.00", "#### 18", true},
        {"36/2", "#### 18", true},
        {"the answer is 1,080.", "#### 1080", true},
        {"10-5", "#### 5", true},
        {"10-5", "#### -5", false},
        {"x = -5", "#### -5", true},
        {"-$5", "#### -5", true},
        {"it grew by 25%", "#### 25", true},
        {"it grew by 25%", "#### 0.25", true},
        {"it grew by 25", "#### 0.25", false},
        {"0.1", "#### 1/10", false}, /* the gold pattern ends at the slash: 1 */
        {".5", "#### 0.5", true},
        {"18 in 3 days", "#### 18", false},
        {"none", "#### 18", false},
        {"18 99999999999999999999", "#### 18", true}, /* no number of ours; the one before it counts */
        {"1/0", "#### 0", true},                      /* no fraction: 1, then 0 */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_expect_eq(lenient(rows[i].reply, rows[i].gold), rows[i].right, "\"%s\" against \"%s\"", rows[i].reply, rows[i].gold);
}

Test(answers, every_strictly_right_answer_is_leniently_right)
{
    static const char *const numbers[] = {"0", "7", "-7", "1,000", "3.5", "-0.25", "123456789"};
    for (size_t i = 0; i < 7; i++)
        for (size_t j = 0; j < 7; j++) {
            char reply[64], gold[64];
            snprintf(reply, sizeof reply, "so #### %s", numbers[i]);
            snprintf(gold, sizeof gold, "#### %s", numbers[j]);
            cr_expect_eq(strict(reply, gold), i == j);
            cr_expect_eq(lenient(reply, gold), i == j, "%s %s", reply, gold);
        }
}

Test(answers, rationals_are_in_lowest_terms_and_bounded)
{
    ls_rational value;
    cr_assert_eq(ls_rational_read("-12.50 apples", 13, &value), 6);
    cr_assert_eq(value.numerator, -25);
    cr_assert_eq(value.denominator, 2);
    cr_assert_eq(ls_rational_read("6/4", 3, &value), 3);
    cr_assert_eq(value.numerator, 3);
    cr_assert_eq(value.denominator, 2);
    cr_assert_eq(ls_rational_read("0/5", 3, &value), 3);
    cr_assert_eq(value.numerator, 0);
    cr_assert_eq(value.denominator, 1);
    cr_assert_eq(ls_rational_read("9223372036854775807", 19, &value), 19);
    cr_assert_eq(value.numerator, INT64_MAX);
    cr_assert_eq(ls_rational_read("9223372036854775808", 19, &value), 0);
    cr_assert_eq(ls_rational_read("0.00000000000000000001", 22, &value), 0);
    cr_assert_eq(ls_rational_read("-", 1, &value), 0);
    cr_assert_eq(ls_rational_read("", 0, &value), 0);
}

Test(answers, wilson_interval_matches_published_values)
{
    double low, high;
    ls_wilson_interval(81, 263, &low, &high); /* Newcombe 1998, table I: 0.2553 to 0.3662 */
    cr_assert(fabs(low - 0.2553) < 5e-5 && fabs(high - 0.3662) < 5e-5, "%g %g", low, high);
    ls_wilson_interval(0, 20, &low, &high); /* the same: 0 to 0.1611 */
    cr_assert(low == 0 && fabs(high - 0.1611) < 5e-5, "%g %g", low, high);
    ls_wilson_interval(1, 29, &low, &high); /* 0.0061 to 0.1718 */
    cr_assert(fabs(low - 0.0061) < 5e-5 && fabs(high - 0.1718) < 5e-5, "%g %g", low, high);
    ls_wilson_interval(0, 0, &low, &high);
    cr_assert(low == 0 && high == 1);
}

Test(answers, the_marked_number_as_a_rational)
{
    static const struct {
        const char *reply, *gold;
        bool right;
    } rows[] = {
        {"47+38=85;85*2=170#170", "#170", true},
        {"#170", "47+38=85;85*2=170#170", true},
        {"#### 1,000", "# 1000.0", true},
        {"## 2000/2", "#1000", true},
        {"#-5", "#-5", true},
        {"#5", "#-5", false},
        {"#17#18", "#17", true}, /* the first mark */
        {"#17#18", "#18", false},
        {"170", "#170", false},  /* a reply without the mark is wrong */
        {"#170", "it is 170", true},
        {"", "#170", false},
        {"47+38*2=", "#170", false}, /* the prompt copied */
        {"#", "#170", false},
        {"#x170", "#170", false},
        {"#170", "none", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_expect_eq(ls_answer_right(LS_ANSWER_MARKED, rows[i].reply, strlen(rows[i].reply), rows[i].gold, strlen(rows[i].gold)), rows[i].right,
                     "\"%s\" against \"%s\"", rows[i].reply, rows[i].gold);
}

Test(answers, equations_in_their_order)
{
    static const struct {
        const char *text, *equations;
    } rows[] = {
        {"47+38=85;85*2=170#170", "47+38=85;85*2=170;"},
        {"She has 16 - 3 = <<16-3=13>>13 eggs, then 13 x $2 = $26.", "16-3=13;13*2=26;"},
        {"1.5 + 2.25 = 3.75", "1.5+2.25=3.75;"},
        {"2*3*4=24", "2*3*4=24;"},
        {"5-8=-3 and -3*2=-6", "5-8=-3;-3*2=-6;"},
        {"x = 5", "x = 5"},
        {"12 = 12", "12 = 12"},
        {"3+", "3+"},
        {"", ""},
        {"3+4", "3+4"},
        {"3+4=", "3+4="},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *got = ls_equations(rows[i].text, strlen(rows[i].text));
        cr_expect_str_eq(got, rows[i].equations, "\"%s\": \"%s\"", rows[i].text, got);
        free(got);
    }
}

/* "A: 18" is how these models write "#### 18". Their authors' verdict is text equality; the rationals may only add to it. */
Test(answers, they_agree_with_the_verdicts_on_real_model_answers)
{
    char path[4096], line[4096];
    snprintf(path, sizeof path, "%s/tests/data/gsm8k-answers/answers.tsv", getenv("LS_SOURCE"));
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file, "%s", path);
    int all = 0, right = 0, agree[3] = {0}, more[3] = {0};
    while (fgets(line, sizeof line, file)) {
        char *gold = strchr(line, '\t') + 1, *reply = strchr(gold, '\t'), marked[2][4096];
        *reply++ = '\0';
        reply[strcspn(reply, "\n")] = '\0';
        snprintf(marked[0], sizeof marked[0], "#### %.4000s", gold + 3);
        snprintf(marked[1], sizeof marked[1], "%s%.4000s", strncmp(reply, "A: ", 3) ? "" : "#### ", strncmp(reply, "A: ", 3) ? reply : reply + 3);
        const bool verdict = line[0] == '1';
        all++;
        right += verdict;
        for (ls_answer_rule rule = LS_ANSWER_MARKED; rule <= LS_ANSWER_LENIENT; rule++) {
            const bool ours = ls_answer_right(rule, marked[1], strlen(marked[1]), marked[0], strlen(marked[0]));
            agree[rule] += ours == verdict;
            more[rule] += ours && !verdict;
        }
    }
    fclose(file);
    printf("agreement with %d verdicts, %d of them right: marked %d, gsm8k %d, lenient %d; right only here: %d, %d, %d\n", all, right, agree[0], agree[1], agree[2],
           more[0], more[1], more[2]);
    cr_assert_eq(all, 5276);
    for (int rule = 0; rule < 3; rule++)
        cr_expect_eq(agree[rule], all, "rule %d", rule);
}
