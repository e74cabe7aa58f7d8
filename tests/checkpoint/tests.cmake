# checkpoint
set(ls_checkpoint_fixture checkpoint/fixture.c checkpoint/state.c)
ls_test(checkpoint/test_save_load SOURCES ${ls_checkpoint_fixture} KNOWS ls_checkpoint)
ls_test(checkpoint/test_joining SOURCES ${ls_checkpoint_fixture} KNOWS ls_checkpoint m)
ls_test(checkpoint/test_damage SOURCES ${ls_checkpoint_fixture} KNOWS ls_checkpoint)
ls_test(checkpoint/test_rounds SOURCES ${ls_checkpoint_fixture} KNOWS ls_checkpoint)
ls_test(checkpoint/test_hash SOURCES ${ls_checkpoint_fixture} KNOWS ls_checkpoint)
ls_test(checkpoint/test_foreign SOURCES fuzz/fuzz_foreign.c KNOWS ls_checkpoint m)

# tests/checkpoint/faults.c stands in for these calls.
set(ls_faults ${ls_checkpoint_fixture} checkpoint/faults.c)
set(ls_faults_wrap "-Wl,--wrap=open,--wrap=pwrite,--wrap=fsync,--wrap=rename,--wrap=symlink,--wrap=mkdir,--wrap=unlinkat,--wrap=rmdir,--wrap=statvfs")
foreach(test test_commit test_full_disk test_saver)
  ls_test(checkpoint/${test} SOURCES ${ls_faults} KNOWS ls_checkpoint)
  target_link_options(checkpoint_${test} PRIVATE ${ls_faults_wrap})
endforeach()

# The same faults under LD_PRELOAD, for whole runs: bench/faults.
add_library(faulty_disk MODULE checkpoint/faulty_disk.c checkpoint/faults.c)
target_link_libraries(faulty_disk PRIVATE ls_flags)

ls_test(checkpoint/test_saver_faults SOURCES ${ls_checkpoint_fixture} KNOWS ls_checkpoint)
set(ls_memory_wrap "-Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=strdup,--wrap=mmap")
set(ls_exchange_wrap "-Wl,--wrap=ls_agree,--wrap=ls_broadcast,--wrap=ls_all_gather_bytes,--wrap=ls_all_gather_varying,--wrap=ls_same_everywhere")
target_link_options(checkpoint_test_saver_faults PRIVATE ${ls_memory_wrap} ${ls_exchange_wrap})

ls_rank_program(checkpoint/race_saver SOURCES checkpoint/state.c KNOWS ls_checkpoint) # plain, so that ThreadSanitizer can run it
add_test(NAME checkpoint/race_saver COMMAND checkpoint_race_saver)

# The same under mpirun, ranks as processes.
ls_rank_program(checkpoint/rank_checkpoint SOURCES checkpoint/state.c KNOWS ls_checkpoint)
ls_test(checkpoint/test_ranks SOURCES ${ls_checkpoint_fixture} KNOWS ls_checkpoint)

# Joining files made to mislead, with the sum that belongs to them.
add_executable(fuzz_checkpoint fuzz/fuzz_checkpoint.c fuzz/mutate.c)
target_link_libraries(fuzz_checkpoint PRIVATE ls_checkpoint)
add_test(NAME checkpoint/fuzz_checkpoint COMMAND fuzz_checkpoint 600 @${ls_fuzz_seeds}/checkpoint/two-ranks.h5
  @${ls_fuzz_seeds}/checkpoint/small.h5)
