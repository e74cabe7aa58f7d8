# checkpoint
ls_test(checkpoint/test_save_load SOURCES checkpoint/fixture.c KNOWS ls_checkpoint)
ls_test(checkpoint/test_joining SOURCES checkpoint/fixture.c KNOWS ls_checkpoint m)
ls_test(checkpoint/test_damage SOURCES checkpoint/fixture.c KNOWS ls_checkpoint)
ls_test(checkpoint/test_hash SOURCES checkpoint/fixture.c KNOWS ls_checkpoint)

# tests/checkpoint/faults.c stands in for these calls.
set(ls_faults checkpoint/fixture.c checkpoint/faults.c)
set(ls_faults_wrap "-Wl,--wrap=open,--wrap=pwrite,--wrap=fsync,--wrap=rename,--wrap=mkdir,--wrap=unlinkat,--wrap=rmdir,--wrap=statvfs")
foreach(test test_commit test_full_disk)
  ls_test(checkpoint/${test} SOURCES ${ls_faults} KNOWS ls_checkpoint)
  target_link_options(checkpoint_${test} PRIVATE ${ls_faults_wrap})
endforeach()
