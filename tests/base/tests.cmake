# base
ls_test(base/test_arena KNOWS ls_base)
