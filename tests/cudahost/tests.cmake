# cudahost. ThreadSanitizer's runtime and the emulation answer the same calls: that build leaves it out.
if(NOT LS_TSAN)
  include(${CMAKE_CURRENT_LIST_DIR}/cudahost.cmake)
  ls_cudahost_test(cudahost/test_block)
  ls_cudahost_test(cudahost/test_cublaslt)
  ls_cudahost_test(cudahost/test_cudnn)
  ls_cudahost_test(cudahost/test_faults)
  ls_cudahost_test(cudahost/test_nccl)
  ls_cudahost_test(cudahost/test_streams)
  find_path(CUDAHOST_NVIDIA cuda_runtime_api.h HINTS ENV CUDA_HOME ENV CUDA_PATH /usr/local/cuda PATH_SUFFIXES include
    DOC "NVIDIA's headers, which the emulation's are compared with")
  add_test(NAME cudahost/against_nvidia COMMAND python3 ${CMAKE_CURRENT_SOURCE_DIR}/cudahost/against_nvidia.py
    ${CUDAHOST_NVIDIA} ${CMAKE_C_COMPILER})
  set_tests_properties(cudahost/against_nvidia PROPERTIES TIMEOUT 60 SKIP_RETURN_CODE 77)
endif()
