# launch
ls_test(launch/recipe/test_schema KNOWS ls_launch)
ls_test(launch/recipe/test_convert KNOWS ls_launch)
ls_test(launch/recipe/test_from KNOWS ls_launch)
ls_test(launch/prove/test_hashes KNOWS ls_launch)

# Any bytes as a recipe: 9,000 mutations of three good ones, the same every time.
add_executable(fuzz_recipe fuzz/fuzz_recipe.c fuzz/mutate.c)
target_link_libraries(fuzz_recipe PRIVATE ls_launch)
add_test(NAME launch/recipe/fuzz_recipe COMMAND fuzz_recipe 3000 @${ls_fuzz_seeds}/recipe/block.yaml @${ls_fuzz_seeds}/recipe/flow.yaml
  @${ls_fuzz_seeds}/recipe/groups.yaml)
set_tests_properties(launch/recipe/fuzz_recipe PROPERTIES TIMEOUT 120)
foreach(test html metrics logs page)
  ls_test(launch/report/test_${test} SOURCES launch/report/folder_fixture.c KNOWS ls_launch)
endforeach()
ls_test(launch/report/test_browser SOURCES launch/report/folder_fixture.c shell.c KNOWS ls_launch TIMEOUT 300)
ls_test(launch/test_recipe KNOWS ls_launch)
ls_test(launch/test_keys KNOWS ls_launch)

# The command from outside.
ls_test(launch/test_lockstep)
ls_test(launch/test_train SOURCES launch/fixture.c shell.c KNOWS ls_datasets)
ls_test(launch/prove/test_prove SOURCES launch/fixture.c shell.c KNOWS ls_datasets TIMEOUT 240)
ls_test(launch/prove/test_prove_images SOURCES launch/fixture.c shell.c KNOWS ls_datasets TIMEOUT 240)
add_dependencies(launch_prove_test_prove_images lockstep)
ls_test(launch/prove/test_prove_alignment SOURCES launch/fixture.c shell.c KNOWS ls_datasets TIMEOUT 240)
add_dependencies(launch_prove_test_prove_alignment lockstep)
ls_test(launch/prove/test_prove_rollouts SOURCES launch/fixture.c shell.c KNOWS ls_datasets TIMEOUT 240)
add_dependencies(launch_prove_test_prove_rollouts lockstep)
ls_rank_program(launch/prove/faulty_lockstep KNOWS ls_launch)
target_link_options(launch_prove_faulty_lockstep PRIVATE -Wl,--wrap=ls_reducer_add,--wrap=ls_numerics_id)
add_dependencies(launch_test_lockstep lockstep)
add_dependencies(launch_test_train lockstep launch_prove_faulty_lockstep)
foreach(test test_from ckpt/test_import ckpt/test_export)
  ls_test(launch/${test} SOURCES launch/fixture.c shell.c KNOWS ls_datasets TIMEOUT 240)
  string(REPLACE / _ target ${test})
  add_dependencies(launch_${target} lockstep)
endforeach()
ls_test(launch/test_ckpt SOURCES launch/fixture.c shell.c KNOWS ls_datasets ls_checkpoint)
add_dependencies(launch_test_ckpt lockstep)
add_dependencies(launch_prove_test_prove lockstep launch_prove_faulty_lockstep)
ls_test(launch/test_data SOURCES datasets/fixture.c launch/data_command.c KNOWS ls_launch)
ls_test(launch/test_data_images SOURCES datasets/fixture.c launch/data_command.c KNOWS ls_launch)
ls_test(launch/test_data_tokenizer SOURCES datasets/fixture.c KNOWS ls_launch)
ls_test(launch/test_rejection SOURCES launch/fixture.c shell.c KNOWS ls_datasets)
add_dependencies(launch_test_rejection lockstep)
ls_test(launch/test_generate SOURCES launch/fixture.c shell.c KNOWS ls_datasets)
add_dependencies(launch_test_generate lockstep)
ls_test(launch/test_status SOURCES launch/fixture.c shell.c KNOWS ls_datasets TIMEOUT 200)
add_dependencies(launch_test_status lockstep)
ls_test(launch/test_report SOURCES launch/fixture.c shell.c KNOWS ls_datasets)
add_dependencies(launch_test_report lockstep)
ls_test(launch/test_launch_mpirun SOURCES launch/fixture.c shell.c KNOWS ls_datasets TIMEOUT 240)
add_dependencies(launch_test_launch_mpirun lockstep)

ls_test(launch/doctor/test_judge KNOWS ls_launch)
ls_test(launch/doctor/test_doctor SOURCES launch/fixture.c shell.c KNOWS ls_datasets TIMEOUT 240)
add_dependencies(launch_doctor_test_doctor lockstep)
ls_test(launch/slurm/test_script KNOWS ls_launch)

# The shipped job scripts on a Slurm of four nodes that the test starts itself, as root; elsewhere it says why it is skipped.
ls_rank_program(launch/slurm/slow_lockstep KNOWS ls_launch)
add_test(NAME launch/slurm/test_slurm COMMAND bash ${CMAKE_CURRENT_SOURCE_DIR}/launch/slurm/test_slurm.sh ${CMAKE_SOURCE_DIR} $<TARGET_FILE:lockstep>
  $<TARGET_FILE:launch_slurm_slow_lockstep>)
set_tests_properties(launch/slurm/test_slurm PROPERTIES TIMEOUT 400 SKIP_RETURN_CODE 77)

# A network of three hosts that the test makes itself, as root; elsewhere it says why it is skipped.
add_test(NAME launch/network/test_network COMMAND bash ${CMAKE_CURRENT_SOURCE_DIR}/launch/network/test_network.sh ${CMAKE_SOURCE_DIR} $<TARGET_FILE:lockstep>)
set_tests_properties(launch/network/test_network PROPERTIES TIMEOUT 300 SKIP_RETURN_CODE 77)

# Twenty random faults of the campaign, on whole runs: what is told, and the bits after another start.
add_test(NAME launch/test_faults COMMAND ${CMAKE_SOURCE_DIR}/bench/faults --first 20 --each 2 --seed 7 --late 60 --build ${CMAKE_BINARY_DIR}
  --results ${CMAKE_BINARY_DIR}/tests/faults/rows.jsonl --afresh)
set_tests_properties(launch/test_faults PROPERTIES TIMEOUT 400)
