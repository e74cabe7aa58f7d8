# tensor
set(LS_OPERATORS tensor/operators.c tensor/reference_device.c tensor/reference_products.c)
foreach(family elementwise reductions linear choosing norms attention loss moving example)
  list(APPEND LS_OPERATORS tensor/operators/${family}.c)
endforeach()
ls_test(tensor/test_operators SOURCES ${LS_OPERATORS} KNOWS ls_tensor)
ls_test(tensor/test_tape SOURCES tensor/small_model.c tensor/reference_device.c tensor/reference_products.c KNOWS ls_tensor)
ls_test(tensor/test_numerics KNOWS ls_tensor)
ls_test(tensor/test_kernels SOURCES tensor/kernel_cases.c KNOWS ls_tensor)
