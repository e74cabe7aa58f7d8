# train
ls_test(train/test_optimizer KNOWS ls_train)
ls_test(train/test_events KNOWS ls_train)
ls_test(train/test_answers KNOWS ls_train)
