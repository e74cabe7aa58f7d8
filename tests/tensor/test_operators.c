/* Every operator described in operators/: values against its formula, and gradients against central differences, on
 * the real device in f64; values and gradients in f32, bf16 and f16 against the f64 ones of the naive device. */
#include "tests/tensor/operator_checks.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static ls_device *device;
static ls_team *team;

static void make_device(void)
{
    cr_assert_eq(ls_team_create(&team, 2, 1), LS_OK);
    cr_assert_eq(ls_device_create_cpu(&device, team), LS_OK, "%s", ls_fail_sentence());
}

static void free_device(void)
{
    device->free(device);
    ls_team_free(team);
}

TestSuite(operators, .init = make_device, .fini = free_device);

static void value_is_the_formula(const operator_description *d, const operator_case *c)
{
    check_value(d, c, device);
}

Test(operators, values_in_f64_are_their_formulas)
{
    operator_for_each_case(value_is_the_formula);
}

static void agrees_in_f32(const operator_description *d, const operator_case *c)
{
    check_agreement(d, c, device, LS_F32, d->rounds ? 2e-2 : 3e-6);
}

static void agrees_in_bf16(const operator_description *d, const operator_case *c)
{
    check_agreement(d, c, device, LS_BF16, 2e-2);
}

static void agrees_in_f16(const operator_description *d, const operator_case *c)
{
    check_agreement(d, c, device, LS_F16, d->rounds ? 2e-2 : 3e-3);
}

Test(operators, values_and_gradients_in_f32_agree_with_f64)
{
    operator_for_each_case(agrees_in_f32);
}

Test(operators, values_and_gradients_in_bf16_agree_with_f64)
{
    operator_for_each_case(agrees_in_bf16);
}

Test(operators, values_and_gradients_in_f16_agree_with_f64)
{
    operator_for_each_case(agrees_in_f16);
}

static void gradient_is_the_difference_quotient(const operator_description *d, const operator_case *c)
{
    check_gradient(d, c, device);
}

Test(operators, gradients_in_f64_are_difference_quotients)
{
    operator_for_each_case(gradient_is_the_difference_quotient);
}

/* A stand-in for the value, in the gradient check, must be needed: it may not cover a wrong gradient. */
Test(operators, a_gradient_is_of_something_else_only_where_the_value_has_another)
{
    for (const operator_description *const *family = operator_families; *family; family++)
        for (const operator_description *d = *family; d->name; d++) {
            double most = 0;
            for (const operator_case *c = d->cases; d->gradient_of && c->what; c++) {
                const double distance = distance_from_own_gradient(d, c, device);
                most = distance > most ? distance : most;
            }
            cr_expect(!d->gradient_of || most > 1e-2, "%s: its gradient is that of its value: leave out gradient_of", d->name);
        }
}

static char *read_text(const char *name)
{
    char path[4096];
    const char *source = getenv("LS_SOURCE");
    snprintf(path, sizeof path, "%s/%s", source ? source : ".", name);
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file, "%s", path);
    char *text = calloc(1, 1 << 16);
    cr_assert_gt(fread(text, 1, (1 << 16) - 1, file), 0);
    fclose(file);
    return text;
}

Test(operators, the_page_on_adding_one_quotes_the_example_checked_here)
{
    char *page = read_text("docs/adding-an-operator.md"), *example = read_text("tests/tensor/operators/example.c");
    cr_assert_not_null(strstr(page, example), "copy tests/tensor/operators/example.c into the page");
    free(page);
    free(example);
}

/* Every function of the header that returns a tensor, but for ls_apply. */
static void check_page_lists(const char *header)
{
    char *text = read_text(header), *page = read_text("docs/operators.md");
    int found = 0;
    for (const char *at = text; (at = strstr(at, "ls_tensor *ls_")); found++) {
        char entry[80];
        const char *name = at + strlen("ls_tensor *");
        const int length = (int)strcspn(name, "(");
        snprintf(entry, sizeof entry, "`%.*s`", length, name);
        cr_expect(strstr(page, entry) || strncmp(name, "ls_apply(", 9) == 0, "%s declares %.*s: give it a row in docs/operators.md", header, length, name);
        at = name;
    }
    cr_expect_gt(found, 5, "%s", header);
    free(text);
    free(page);
}

Test(operators, the_page_of_operators_lists_them_all)
{
    check_page_lists("tensor/ops.h");
    check_page_lists("tensor/ops_image.h");
}
