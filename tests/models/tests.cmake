# models
ls_test(models/test_golden KNOWS ls_models PkgConfig::JANSSON)
ls_test(models/test_generate KNOWS ls_models PkgConfig::JANSSON)
ls_test(models/test_llama2c KNOWS ls_models PkgConfig::JANSSON)
ls_test(models/test_parameters KNOWS ls_models PkgConfig::JANSSON)
ls_test(models/test_packed KNOWS ls_models PkgConfig::JANSSON)
ls_test(models/test_golden_vision KNOWS ls_models PkgConfig::JANSSON)
