# dist
ls_rank_program(dist/rank_world KNOWS ls_dist)
ls_rank_program(dist/rank_reduce KNOWS ls_dist)
ls_rank_program(dist/rank_rows KNOWS ls_dist)
ls_rank_program(dist/rank_toy KNOWS ls_dist)
ls_test(dist/test_tree KNOWS ls_dist)
ls_test(dist/test_reduce KNOWS ls_dist)
ls_test(dist/test_reduce_heap KNOWS ls_dist)
ls_test(dist/test_rows KNOWS ls_dist)
ls_test(dist/test_world)
ls_test(dist/test_reduce_ranks)
ls_test(dist/test_rows_ranks)
ls_test(dist/test_toy)

# The reduction on simulated nodes, with SimGrid where it is installed: the tree's bits, in both schedules.
add_test(NAME dist/test_simulation COMMAND ${CMAKE_SOURCE_DIR}/bench/scale --check)
set_tests_properties(dist/test_simulation PROPERTIES TIMEOUT 240 SKIP_RETURN_CODE 77)
