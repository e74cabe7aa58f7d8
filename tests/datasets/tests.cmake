# datasets
ls_test(datasets/test_jsonl KNOWS ls_datasets)
ls_test(datasets/test_shard SOURCES datasets/fixture.c KNOWS ls_datasets)
ls_test(datasets/test_rows SOURCES datasets/fixture.c KNOWS ls_datasets)
ls_test(datasets/test_sampler SOURCES datasets/fixture.c KNOWS ls_datasets m)
ls_test(datasets/test_loader SOURCES datasets/fixture.c KNOWS ls_datasets)
ls_test(datasets/test_bad_shards SOURCES datasets/fixture.c KNOWS ls_datasets)
ls_test(datasets/test_tokenizer_golden SOURCES datasets/tokenizer_fixture.c KNOWS ls_datasets)
ls_test(datasets/test_tokenizer_peer SOURCES datasets/tokenizer_fixture.c KNOWS ls_datasets)
