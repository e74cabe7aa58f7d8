# base
ls_test(base/test_arena KNOWS ls_base)
ls_test(base/test_flight SOURCES fuzz/fuzz_flight.c KNOWS ls_base)
ls_test(base/test_hash KNOWS ls_base)
ls_test(base/test_log KNOWS ls_base)
ls_test(base/test_math KNOWS ls_base m)
ls_test(base/test_random KNOWS ls_base m)
ls_test(base/test_state KNOWS ls_base)
ls_test(base/test_team KNOWS ls_base)
