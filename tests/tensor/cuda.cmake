# tensor/cuda/, on the emulation; and on a machine with nvcc the same tests as a true CUDA program, which says that it is
# skipped where there is no device. Sanitizer builds leave it out: the emulation checks every access of a kernel itself.
if(NOT LS_TSAN AND NOT LS_SANITIZE)
  ls_cudahost_library(ls_tensor_cudahost SOURCES ${LS_CUDA_SOURCES})
  target_compile_definitions(ls_tensor_cudahost PRIVATE LS_CUBLASLT LS_CUDNN)
  target_link_libraries(ls_tensor_cudahost INTERFACE ls_tensor) # not its flags, which are for C
  # `lockstep` on the emulation, for tests that train on it; not installed.
  add_executable(lockstep_cudahost ${CMAKE_SOURCE_DIR}/launch/main.c)
  target_link_libraries(lockstep_cudahost PRIVATE ls_launch)
  ls_link_device(lockstep_cudahost ls_tensor_cudahost)
  set_target_properties(lockstep_cudahost PROPERTIES ENABLE_EXPORTS ON)
  ls_test(tensor/test_cuda SOURCES tensor/kernel_cases.c ${LS_OPERATORS} KNOWS ls_tensor_cudahost TIMEOUT 300 ENVIRONMENT "CUDAHOST_SEED=0")
  ls_test(tensor/test_cuda_conv SOURCES ${LS_OPERATORS} KNOWS ls_tensor_cudahost ENVIRONMENT "CUDAHOST_SEED=0")
  ls_test(tensor/test_cuda_pages KNOWS ls_tensor_cudahost ENVIRONMENT "CUDAHOST_SEED=0")
  ls_test(tensor/test_cuda_graphs SOURCES tensor/kernel_cases.c ${LS_OPERATORS} KNOWS ls_tensor_cudahost ENVIRONMENT "CUDAHOST_SEED=0;CUDAHOST_CHECK=0")

  # bench/gpu, all but its times: every kernel it times, on the emulation and tiny; and the page's roofline.
  add_executable(tensor_bench_gpu_emulated ${CMAKE_SOURCE_DIR}/bench/tensor/bench_gpu.c)
  target_link_libraries(tensor_bench_gpu_emulated PRIVATE ls_flags ls_tensor_cudahost)
  add_test(NAME tensor/bench_gpu COMMAND ${CMAKE_SOURCE_DIR}/bench/gpu --check $<TARGET_FILE:tensor_bench_gpu_emulated>)
  set_tests_properties(tensor/bench_gpu PROPERTIES TIMEOUT 120 ENVIRONMENT "CUDAHOST_SEED=0")
endif()
if(LS_CUDA_FOUND)
  add_executable(tensor_cuda_hardware tensor/test_cuda.c tensor/test_cuda_conv.c tensor/test_cuda_pages.c tensor/test_cuda_graphs.c tensor/kernel_cases.c ${LS_OPERATORS})
  target_compile_options(tensor_cuda_hardware PRIVATE -Wno-pedantic -Wno-missing-prototypes -Wno-conversion -Wno-shadow)
  target_link_libraries(tensor_cuda_hardware PRIVATE ls_flags PkgConfig::CRITERION ls_tensor_cuda)
  add_test(NAME tensor/cuda_hardware COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/tensor/cuda_hardware.sh $<TARGET_FILE:tensor_cuda_hardware>)
  set_tests_properties(tensor/cuda_hardware PROPERTIES TIMEOUT 300 SKIP_RETURN_CODE 77 ENVIRONMENT "LS_SOURCE=${CMAKE_SOURCE_DIR}")
endif()
