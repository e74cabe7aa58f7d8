# datasets
ls_test(datasets/test_jsonl KNOWS ls_datasets)
ls_test(datasets/test_shard SOURCES datasets/fixture.c KNOWS ls_datasets)
