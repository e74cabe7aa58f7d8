# The emulation of CUDA on the host (docs/cudahost.md), and how sources are built against it.
add_library(cudahost STATIC cudahost/block.cpp cudahost/check.cpp cudahost/copy.cpp cudahost/cublaslt.cpp cudahost/cudnn.cpp cudahost/device.cpp
  cudahost/fiber.cpp cudahost/graph.cpp cudahost/hooks.cpp cudahost/memory.cpp cudahost/mesh.cpp cudahost/nccl.cpp cudahost/order.cpp cudahost/report.cpp cudahost/stream.cpp)
set(CUDAHOST_INCLUDE ${CMAKE_CURRENT_SOURCE_DIR}/cudahost/include)
target_include_directories(cudahost BEFORE PUBLIC ${CUDAHOST_INCLUDE} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/cudahost)
target_compile_definitions(cudahost PUBLIC LS_CUDAHOST PRIVATE _GNU_SOURCE)
target_compile_features(cudahost PUBLIC cxx_std_17)
target_compile_options(cudahost PRIVATE -O3 -g -ffp-contract=off -Wall -Wextra -Wpedantic -Wshadow -Werror)
target_link_libraries(cudahost PUBLIC Threads::Threads ${CMAKE_DL_LIBS})

# Kernels are compiled with calls before every access (-fsanitize=thread, alignment, bounds), which check.cpp answers in
# place of a sanitizer's runtime: nothing is linked for them. Vectors and merged stores would hide what the source does.
set(CUDAHOST_KERNEL_FLAGS -x c++ -O1 -g -fno-omit-frame-pointer -ffp-contract=off -fno-strict-aliasing -UNDEBUG
  -fsanitize=thread,alignment,bounds -fno-tree-vectorize -fno-tree-slp-vectorize
  -Wall -Wextra -Wshadow -Wno-unknown-pragmas -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  list(APPEND CUDAHOST_KERNEL_FLAGS --param=tsan-instrument-func-entry-exit=0 -fno-store-merging)
endif()

# The .cu files among the sources of `target` are C++ with checks.
function(cudahost_kernels target)
  get_target_property(sources ${target} SOURCES)
  foreach(source ${sources})
    if(source MATCHES "\\.cu$")
      set_source_files_properties(${source} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "${CUDAHOST_KERNEL_FLAGS}")
    endif()
  endforeach()
endfunction()

# ls_cudahost_library(ls_tensor_cudahost SOURCES a.cu b.c KNOWS ls_tensor): device code and the C that calls CUDA.
function(ls_cudahost_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;KNOWS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC cudahost ${ARG_KNOWS})
  target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR})
  cudahost_kernels(${name})
endfunction()

# ls_cudahost_test(cudahost/test_block KNOWS ...): a Criterion program whose first source is tests/NAME.cu.
function(ls_cudahost_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;KNOWS" ${ARGN})
  string(REPLACE "/" "_" target ${name})
  add_executable(${target} ${name}.cu ${ARG_SOURCES})
  target_link_libraries(${target} PRIVATE cudahost PkgConfig::CRITERION ${ARG_KNOWS})
  target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR})
  cudahost_kernels(${target})
  add_test(NAME ${name} COMMAND ${target})
  set_tests_properties(${name} PROPERTIES TIMEOUT 120 ENVIRONMENT
    "MALLOC_PERTURB_=165;CUDAHOST_SEED=0;CUDAHOST_IDLE_MS=700;LS_BUILD=${CMAKE_BINARY_DIR};LS_SOURCE=${CMAKE_SOURCE_DIR}")
endfunction()
