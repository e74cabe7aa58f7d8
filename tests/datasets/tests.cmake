# datasets
ls_test(datasets/test_flat_json KNOWS ls_datasets)
ls_test(datasets/test_jsonl KNOWS ls_datasets)
ls_test(datasets/test_tokenizer_golden SOURCES datasets/tokenizer_fixture.c KNOWS ls_datasets)
ls_test(datasets/test_sentencepiece SOURCES datasets/tokenizer_fixture.c KNOWS ls_datasets PkgConfig::JANSSON)
ls_test(datasets/test_sentencepiece_model SOURCES datasets/tokenizer_fixture.c KNOWS ls_datasets PkgConfig::JANSSON)
ls_test(datasets/test_tokenizer_peer SOURCES datasets/tokenizer_fixture.c KNOWS ls_datasets)
ls_test(datasets/test_tokenizer SOURCES datasets/tokenizer_fixture.c KNOWS ls_datasets)
ls_test(datasets/test_tokenizer_split KNOWS ls_datasets)
ls_test(datasets/test_tokenizer_bpe KNOWS ls_datasets)
ls_test(datasets/test_tokenizer_train SOURCES datasets/tokenizer_fixture.c KNOWS ls_datasets)
ls_test(datasets/test_tokenizer_bad_files SOURCES datasets/tokenizer_fixture.c fuzz/fuzz_tokenizer.c KNOWS ls_datasets)
ls_test(datasets/test_shard SOURCES datasets/fixture.c KNOWS ls_datasets)
ls_test(datasets/test_units KNOWS ls_datasets)
ls_test(datasets/test_rows SOURCES datasets/fixture.c KNOWS ls_datasets)
ls_test(datasets/test_sampler SOURCES datasets/fixture.c KNOWS ls_datasets m)
ls_test(datasets/test_loader SOURCES datasets/fixture.c KNOWS ls_datasets)
ls_test(datasets/test_bad_shards SOURCES datasets/fixture.c KNOWS ls_datasets)
ls_test(datasets/test_sums SOURCES datasets/fixture.c KNOWS ls_datasets)
ls_test(datasets/test_outside SOURCES datasets/fixture.c KNOWS ls_datasets)
add_library(datasets_plugin MODULE datasets/plugin.c)
target_link_libraries(datasets_plugin PRIVATE HDF5::HDF5)
set_target_properties(datasets_plugin PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/plugins)
add_dependencies(datasets_test_outside datasets_plugin)
ls_test(datasets/test_pack SOURCES datasets/fixture.c KNOWS ls_datasets)
ls_test(datasets/test_template KNOWS ls_datasets PkgConfig::JANSSON)
ls_test(datasets/test_pack_pairs SOURCES datasets/fixture.c KNOWS ls_datasets)
ls_test(datasets/test_augment SOURCES datasets/fixture.c datasets/image_fixture.c KNOWS ls_datasets m)
target_link_options(datasets_test_augment PRIVATE -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc)
ls_test(datasets/test_images SOURCES datasets/fixture.c datasets/image_fixture.c KNOWS ls_datasets m)
ls_test(datasets/test_image_input SOURCES datasets/fixture.c fuzz/fuzz_image.c ../datasets/picture/decoder.c
  ../datasets/picture/container.c ../datasets/picture/ycc.c KNOWS ls_datasets PkgConfig::FFMPEG)
ls_test(datasets/test_picture SOURCES datasets/fixture.c KNOWS ls_datasets)
ls_test(datasets/test_picture_folder SOURCES datasets/fixture.c KNOWS ls_datasets)
ls_test(datasets/test_picture_decoder SOURCES datasets/fixture.c ../datasets/picture/decoder.c ../datasets/picture/container.c
  ../datasets/picture/ycc.c KNOWS ls_datasets PkgConfig::FFMPEG)
ls_rank_program(datasets/race_loader KNOWS ls_datasets) # plain, so that ThreadSanitizer can run it
add_test(NAME datasets/race_loader COMMAND datasets_race_loader)

# Data sets made to mislead: 100 mutations each of a set of texts, of pairs and of outcomes that is true but for what each byte changes.
add_executable(fuzz_shard fuzz/fuzz_shard.c fuzz/mutate.c)
target_link_libraries(fuzz_shard PRIVATE ls_datasets)
add_test(NAME datasets/fuzz_shard COMMAND fuzz_shard 100
  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaacaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaabaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")

# Files that nobody wrote, for HDF5 to read; and any bytes as texts to be packed.
set(ls_fuzz_seeds ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/seeds)
foreach(kind hdf5 jsonl)
  add_executable(fuzz_${kind} fuzz/fuzz_${kind}.c fuzz/mutate.c)
  target_link_libraries(fuzz_${kind} PRIVATE ls_datasets)
endforeach()
add_test(NAME datasets/fuzz_hdf5 COMMAND fuzz_hdf5 200 @${ls_fuzz_seeds}/hdf5/dataset.h5 @${ls_fuzz_seeds}/hdf5/shard.h5
  @${ls_fuzz_seeds}/hdf5/images.h5 @${ls_fuzz_seeds}/hdf5/units.h5)
add_test(NAME datasets/fuzz_jsonl COMMAND fuzz_jsonl 400 @${ls_fuzz_seeds}/jsonl/gsm8k.jsonl @${ls_fuzz_seeds}/jsonl/hh-rlhf.jsonl
  @${ls_fuzz_seeds}/jsonl/messages.jsonl @${ls_fuzz_seeds}/jsonl/outcomes.jsonl)
