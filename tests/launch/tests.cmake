# launch
ls_test(launch/recipe/test_schema KNOWS ls_launch)
ls_test(launch/recipe/test_convert KNOWS ls_launch)
ls_test(launch/prove/test_hashes KNOWS ls_launch)

# Any bytes as a recipe: 6,000 mutations of two good ones, the same every time.
add_executable(fuzz_recipe fuzz/fuzz_recipe.c fuzz/mutate.c)
target_link_libraries(fuzz_recipe PRIVATE ls_launch)
add_test(NAME launch/recipe/fuzz_recipe COMMAND fuzz_recipe 3000
  "task: sft\nrun: \"a b\\u2028\"\nseed: 1k\nshuffle: no\ndata:\n  name: sgd\n  betas: [0.9, 0.95]\n  train:\n    - a\n    - {path: 'b c', weight: 2}\n"
  "{task: &x sft, run: *x, data: {sizes: [1, 2Ki, -3], train: [x, y], lr: 3e-4}} # a comment\n")
set_tests_properties(launch/recipe/fuzz_recipe PROPERTIES TIMEOUT 120)
