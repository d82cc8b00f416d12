# Finds LibTorch, two libraries and their headers: the package torch of a Python environment, or
# what pytorch.org offers as LibTorch. The build and the installed package both find it this way.
#
# Looks in Torch_DIR (the folder of TorchConfig.cmake), Torch_ROOT, the folders of CMAKE_PREFIX_PATH,
# then in ArfcTorch_DEFAULTS, which the caller sets. Sets ARFC_TORCH_ROOT, ArfcTorch_VERSION and the
# target arfc_torch.
#
# It is not left to torch's own package file, which pulls compilers and flags of every backend into
# the project.
set(_places "")
foreach(_root IN ITEMS "${Torch_ROOT}" "$ENV{Torch_ROOT}" "${Torch_DIR}" "$ENV{Torch_DIR}")
    if(_root)
        list(APPEND _places "${_root}" "${_root}/../../..")
    endif()
endforeach()
foreach(_root IN LISTS CMAKE_PREFIX_PATH)
    list(APPEND _places "${_root}" "${_root}/../..") # The latter: torch.utils.cmake_prefix_path.
endforeach()
find_path(ARFC_TORCH_ROOT NAMES include/torch/csrc/api/include/torch/torch.h
    HINTS ${_places} ${ArfcTorch_DEFAULTS}
    DOC "Folder of LibTorch: the package torch of a Python environment")

set(ArfcTorch_VERSION "")
foreach(_file IN ITEMS include/torch/headeronly/version.h
        include/torch/csrc/api/include/torch/version.h)
    if(ARFC_TORCH_ROOT AND NOT ArfcTorch_VERSION AND EXISTS "${ARFC_TORCH_ROOT}/${_file}")
        file(STRINGS "${ARFC_TORCH_ROOT}/${_file}" _lines
            REGEX "^#define TORCH_VERSION_(MAJOR|MINOR|PATCH) [0-9]+$")
        string(REGEX REPLACE "[^0-9;]" "" ArfcTorch_VERSION "${_lines}")
        string(REPLACE ";" "." ArfcTorch_VERSION "${ArfcTorch_VERSION}")
    endif()
endforeach()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(ArfcTorch
    REQUIRED_VARS ARFC_TORCH_ROOT ArfcTorch_VERSION VERSION_VAR ArfcTorch_VERSION)
if(ArfcTorch_FOUND AND NOT TARGET arfc_torch)
    add_library(arfc_torch INTERFACE IMPORTED GLOBAL)
    set_property(TARGET arfc_torch PROPERTY ARFC_VERSION "${ArfcTorch_VERSION}")
    target_include_directories(arfc_torch INTERFACE
        "${ARFC_TORCH_ROOT}/include" "${ARFC_TORCH_ROOT}/include/torch/csrc/api/include")
    # libtorch registers the backends that libtorch_cpu alone does not, so it stays linked although
    # unnamed.
    target_link_libraries(arfc_torch INTERFACE
        "-Wl,--no-as-needed" "${ARFC_TORCH_ROOT}/lib/libtorch.so" "-Wl,--as-needed"
        "${ARFC_TORCH_ROOT}/lib/libtorch_cpu.so" "${ARFC_TORCH_ROOT}/lib/libc10.so")
    # Before all other libraries: the loader takes a function from the first that has it. LibTorch
    # brings its own BLAS, and where FAISS's came first LibTorch, too, multiplied with that: nine
    # times as slowly where an older OpenBLAS does not know the processor.
    target_link_options(arfc_torch INTERFACE "LINKER:--push-state,--no-as-needed"
        "${ARFC_TORCH_ROOT}/lib/libtorch_cpu.so" "LINKER:--pop-state")
endif()
unset(_places)
unset(_root)
unset(_file)
unset(_lines)
