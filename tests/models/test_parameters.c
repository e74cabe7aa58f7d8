#include "tests/models/workbench.h"

static const ls_transformer_options small = {.style = 1,
                                             .vocabulary = 301,
                                             .layers = 2,
                                             .width = 24,
                                             .heads = 4,
                                             .kv_heads = 2,
                                             .context = 16,
                                             .rope_base = 10000,
                                             .norm_eps = 1e-5,
                                             .init_std = 0.02};

Test(parameters, each_starts_a_chunk_and_none_overlap)
{
    workbench w = workbench_of(&small, LS_F32, 1);
    int64_t end = 0;
    for (int i = 0; i < w.count; i++) {
        const ls_parameter *p = &w.parameters[i];
        cr_assert_eq(p->offset % LS_CHUNK, 0, "%s", p->name);
        cr_assert(p->offset >= end && p->offset - end < LS_CHUNK, "%s", p->name);
        cr_assert_eq(p->number, i);
        end = p->offset + p->count;
    }
    cr_assert_eq(w.elements % LS_CHUNK, 0);
    cr_assert(w.elements >= end && w.elements - end < LS_CHUNK);
    workbench_done(&w);
}

Test(parameters, any_slice_of_the_initial_weights_can_be_made_alone)
{
    workbench w = workbench_of(&small, LS_F32, 1);
    ls_parameters_init(w.parameters, w.count, 5, 0, w.elements, w.master);
    float *slice = malloc((size_t)w.elements * sizeof *slice);
    for (int parts = 2; parts <= 5; parts++) {
        int64_t chunks = w.elements / LS_CHUNK, begin = 0;
        for (int i = 0; i < parts; i++) {
            int64_t held = (chunks * (i + 1) / parts - chunks * i / parts) * LS_CHUNK;
            ls_parameters_init(w.parameters, w.count, 5, begin, held, slice);
            cr_assert_eq(memcmp(slice, w.master + begin, (size_t)held * sizeof *slice), 0, "part %d of %d", i, parts);
            begin += held;
        }
    }
    ls_parameters_init(w.parameters, w.count, 6, 0, w.elements, slice);
    cr_assert_neq(memcmp(slice, w.master, (size_t)w.elements * sizeof *slice), 0, "another seed, other weights");
    free(slice);
    workbench_done(&w);
}

Test(parameters, initial_weights_have_their_distribution_and_padding_is_zero)
{
    workbench w = workbench_of(&small, LS_F32, 1);
    ls_parameters_init(w.parameters, w.count, 5, 0, w.elements, w.master);
    for (int i = 0; i < w.count; i++) {
        const ls_parameter *p = &w.parameters[i];
        const float *x = w.master + p->offset;
        double sum = 0, squares = 0;
        for (int64_t j = 0; j < p->count; j++) {
            sum += (double)x[j];
            squares += (double)x[j] * (double)x[j];
        }
        double n = (double)p->count, mean = sum / n, std = sqrt(squares / n - mean * mean);
        if (p->init.kind == LS_INIT_ONES)
            cr_expect(mean == 1 && std == 0, "%s", p->name);
        if (p->init.kind == LS_INIT_NORMAL)
            cr_expect(fabs(mean) < 4 * p->init.std / sqrt(n) && fabs(std / p->init.std - 1) < 4 / sqrt(2 * n),
                      "%s: mean %g, std %g, wanted %g", p->name, mean, std, p->init.std);
        int64_t end = i + 1 < w.count ? w.parameters[i + 1].offset : w.elements;
        for (int64_t j = p->offset + p->count; j < end; j++)
            cr_assert_eq(w.master[j], 0);
    }
    workbench_done(&w);
}

Test(parameters, bf16_reads_vectors_from_the_masters)
{
    workbench w = workbench_of(&small, LS_BF16, 1);
    for (int i = 0; i < w.count; i++) {
        const ls_parameter *p = &w.parameters[i];
        const void *want = p->ndim <= 1 ? (void *)(w.master + p->offset) : (void *)((uint16_t *)w.working + p->offset);
        cr_expect_eq(p->type, p->ndim <= 1 ? LS_F32 : LS_BF16, "%s", p->name);
        cr_expect_eq(p->data, want, "%s", p->name);
    }
    workbench_done(&w);
}

Test(parameters, shapes_that_do_not_divide_are_refused)
{
    ls_transformer *model;
    ls_transformer_options o = small;
    o.heads = 5;
    cr_expect_eq(ls_transformer_create(&model, &o), LS_ERECIPE);
    cr_expect(strstr(ls_fail_sentence(), "24") && strstr(ls_fail_sentence(), "5"), "%s", ls_fail_sentence());
    o = small;
    o.kv_heads = 3;
    cr_expect_eq(ls_transformer_create(&model, &o), LS_ERECIPE);
    o = small;
    o.width = 12;
    cr_expect_eq(ls_transformer_create(&model, &o), LS_ERECIPE, "a head of 3 has no pairs to turn");
    o = small;
    o.vocabulary = 0;
    cr_expect_eq(ls_transformer_create(&model, &o), LS_ERECIPE);
}
