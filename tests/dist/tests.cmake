# dist
ls_rank_program(dist/rank_world KNOWS ls_dist)
ls_rank_program(dist/rank_reduce KNOWS ls_dist)
ls_test(dist/test_tree KNOWS ls_dist)
ls_test(dist/test_reduce KNOWS ls_dist)
ls_test(dist/test_reduce_heap KNOWS ls_dist)
ls_test(dist/test_world)
ls_test(dist/test_reduce_ranks)
