# train
ls_test(train/test_optimizer KNOWS ls_train)
ls_test(train/test_events KNOWS ls_train)
ls_test(train/test_answers KNOWS ls_train)
ls_test(train/test_bad_runs SOURCES train/run_fixture.c shell.c KNOWS ls_base TIMEOUT 200)
ls_test(train/test_profile SOURCES train/run_fixture.c shell.c KNOWS ls_base PkgConfig::JANSSON TIMEOUT 200)
ls_test(train/test_use SOURCES train/run_fixture.c shell.c KNOWS ls_base TIMEOUT 200)
ls_test(train/test_resume SOURCES train/run_fixture.c shell.c KNOWS ls_base TIMEOUT 200)
