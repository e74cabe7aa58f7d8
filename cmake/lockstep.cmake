# What every target of lockstep is built with, and the three kinds of targets there are.

add_library(ls_flags INTERFACE)
target_compile_definitions(ls_flags INTERFACE _GNU_SOURCE LS_VERSION="${PROJECT_VERSION}")
target_include_directories(ls_flags INTERFACE ${CMAKE_SOURCE_DIR})
# Contraction off and no fast-math: the same source gives the same bits at every instruction-set level (design 1).
target_compile_options(ls_flags INTERFACE
  -ffp-contract=off -fno-fast-math -fno-math-errno -fno-strict-aliasing
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wstrict-prototypes -Wmissing-prototypes
  -Wvla -Werror)
if(LS_SANITIZE)
  target_compile_options(ls_flags INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  target_link_options(ls_flags INTERFACE -fsanitize=address,undefined)
endif()
if(LS_TSAN)
  target_compile_options(ls_flags INTERFACE -fsanitize=thread -fno-omit-frame-pointer)
  target_link_options(ls_flags INTERFACE -fsanitize=thread)
endif()
if(LS_FUZZ) # clang's warnings are not gcc's, and this build is for finding crashes
  target_compile_options(ls_flags INTERFACE -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -Wno-error)
endif()

# ls_library(base SOURCES a.c b.c KNOWS other layers and packages): the layer's static library, ls_base.
function(ls_library layer)
  cmake_parse_arguments(ARG "" "" "SOURCES;KNOWS" ${ARGN})
  if(ARG_SOURCES)
    add_library(ls_${layer} STATIC ${ARG_SOURCES})
    target_link_libraries(ls_${layer} PUBLIC ls_flags ${ARG_KNOWS})
  else()
    add_library(ls_${layer} INTERFACE)
    target_link_libraries(ls_${layer} INTERFACE ls_flags ${ARG_KNOWS})
  endif()
endfunction()

# ls_link_device(lockstep ls_tensor_cuda): the program has the CUDA device of that library. Linked whole, so that it comes
# before what stands in for it (tensor/cuda/load.c).
function(ls_link_device target library)
  target_link_libraries(${target} PRIVATE $<LINK_LIBRARY:WHOLE_ARCHIVE,${library}>)
endfunction()

# ls_test(dist/test_tree SOURCES ... KNOWS ls_dist [TIMEOUT s]): one Criterion program, one line in ctest.
# The first source is tests/NAME.c.
function(ls_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;KNOWS;ENVIRONMENT" ${ARGN})
  string(REPLACE "/" "_" target ${name})
  add_executable(${target} ${name}.c ${ARG_SOURCES})
  target_link_libraries(${target} PRIVATE ls_flags PkgConfig::CRITERION ${ARG_KNOWS})
  # Criterion's macros and generated mains are not ours to fix.
  target_compile_options(${target} PRIVATE -Wno-pedantic -Wno-missing-prototypes -Wno-conversion -Wno-shadow)
  add_test(NAME ${name} COMMAND ${target})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  # MALLOC_PERTURB_: glibc hands out blocks full of it, so that nothing passes because the heap happened to be clean.
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT}
    ENVIRONMENT "MALLOC_PERTURB_=165;LS_BUILD=${CMAKE_BINARY_DIR};LS_SOURCE=${CMAKE_SOURCE_DIR};OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1;${ARG_ENVIRONMENT}")
endfunction()

# ls_rank_program(dist/rank_tree KNOWS ls_dist): a small MPI program that a Criterion test starts under mpirun
# (Criterion's own processes cannot call MPI_Init). Found at run time as $LS_BUILD/tests/dist_rank_tree.
function(ls_rank_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;KNOWS" ${ARGN})
  string(REPLACE "/" "_" target ${name})
  add_executable(${target} ${name}.c ${ARG_SOURCES})
  target_link_libraries(${target} PRIVATE ls_flags ${ARG_KNOWS})
endfunction()
