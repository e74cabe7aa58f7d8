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
  if(TARGET CUDNN::cudnn) # descriptions of convolutions need no device: NVIDIA's library answers as the double does
    add_executable(cudahost_cudnn_emulated cudahost/cudnn_descriptors.c)
    target_link_libraries(cudahost_cudnn_emulated PRIVATE ls_flags cudahost)
    set_target_properties(cudahost_cudnn_emulated PROPERTIES LINKER_LANGUAGE CXX)
    add_executable(cudahost_cudnn_nvidia cudahost/cudnn_descriptors.c)
    target_link_libraries(cudahost_cudnn_nvidia PRIVATE CUDNN::cudnn CUDA::cudart_static)
    add_test(NAME cudahost/cudnn_descriptors COMMAND bash -c "diff <($<TARGET_FILE:cudahost_cudnn_nvidia>) <($<TARGET_FILE:cudahost_cudnn_emulated>)")
    set_tests_properties(cudahost/cudnn_descriptors PROPERTIES TIMEOUT 60)
  endif()
endif()
