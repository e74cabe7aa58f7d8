# datasets
ls_test(datasets/test_jsonl KNOWS ls_datasets)
