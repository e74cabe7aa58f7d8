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

# NCCL, on the emulation of CUDA.
if(NOT LS_TSAN AND NOT LS_SANITIZE)
  ls_cudahost_library(ls_dist_nccl_cudahost SOURCES ${LS_NCCL_SOURCES} KNOWS ls_dist)
  ls_rank_program(dist/rank_nccl KNOWS ls_dist_nccl_cudahost ls_tensor_cudahost)
  target_link_options(dist_rank_nccl PRIVATE -Wl,--wrap=cudaStreamWaitEvent,--wrap=cudaEventQuery,--wrap=ncclSend)
  ls_test(dist/test_nccl ENVIRONMENT "CUDAHOST_CHECK=0")
endif()
