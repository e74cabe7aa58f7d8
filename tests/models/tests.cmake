# models
ls_test(models/test_golden KNOWS ls_models PkgConfig::JANSSON)
ls_test(models/test_generate KNOWS ls_models PkgConfig::JANSSON)
ls_test(models/test_engine KNOWS ls_models PkgConfig::JANSSON)
ls_test(models/test_lud KNOWS ls_models PkgConfig::JANSSON)
ls_test(models/test_llama2c KNOWS ls_models PkgConfig::JANSSON)
ls_test(models/test_parameters KNOWS ls_models PkgConfig::JANSSON)
ls_test(models/test_lora KNOWS ls_models PkgConfig::JANSSON m)
ls_test(models/test_packed KNOWS ls_models PkgConfig::JANSSON)
ls_test(models/test_golden_vision KNOWS ls_models PkgConfig::JANSSON)
ls_test(models/test_classifier KNOWS ls_models PkgConfig::JANSSON)
ls_test(models/test_convnet KNOWS ls_models PkgConfig::JANSSON)
ls_test(models/test_hugging_face KNOWS ls_models PkgConfig::JANSSON)
ls_test(models/test_vit KNOWS ls_models PkgConfig::JANSSON)

# Any bytes as the description of a model from elsewhere.
add_executable(fuzz_weights fuzz/fuzz_weights.c fuzz/mutate.c)
target_link_libraries(fuzz_weights PRIVATE ls_models)
set(ls_configs ${CMAKE_CURRENT_SOURCE_DIR}/golden/hf)
add_test(NAME models/fuzz_weights COMMAND fuzz_weights 500 @${ls_configs}/gpt2/config.json @${ls_configs}/llama3/config.json
  @${ls_configs}/mistral/config.json @${ls_configs}/qwen2/config.json @${ls_configs}/qwen3/config.json
  @${ls_fuzz_seeds}/weights/scaled-llama.json @${ls_fuzz_seeds}/weights/tiny.llama2c)
