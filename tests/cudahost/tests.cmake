# cudahost. ThreadSanitizer's runtime and the emulation answer the same calls: that build leaves it out.
if(NOT LS_TSAN)
  include(${CMAKE_CURRENT_LIST_DIR}/cudahost.cmake)
  ls_cudahost_test(cudahost/test_block)
  ls_cudahost_test(cudahost/test_cublaslt)
  ls_cudahost_test(cudahost/test_faults)
  ls_cudahost_test(cudahost/test_nccl)
  ls_cudahost_test(cudahost/test_streams)
endif()
