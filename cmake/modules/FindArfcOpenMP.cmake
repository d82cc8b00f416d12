# Finds OpenMP for a program that LibTorch will be in: one runtime a process, so LibTorch's own where
# it brings one under the name that the compiler's has too. Looks for LibTorch first.
find_package(OpenMP QUIET COMPONENTS CXX)
set(ArfcOpenMP_FOUND ${OpenMP_CXX_FOUND})
if(OpenMP_CXX_FOUND AND EXISTS "${ARFC_TORCH_ROOT}/lib/libgomp.so.1")
    set_target_properties(OpenMP::OpenMP_CXX PROPERTIES
        INTERFACE_LINK_LIBRARIES "${ARFC_TORCH_ROOT}/lib/libgomp.so.1")
endif()
