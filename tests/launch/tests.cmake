# launch
ls_test(launch/recipe/test_schema KNOWS ls_launch)
ls_test(launch/recipe/test_convert KNOWS ls_launch)
ls_test(launch/prove/test_hashes KNOWS ls_launch)
