# Every find_package of the project. A room names what it needs in cmake/rooms.cmake's table;
# nothing is looked for that no chosen room needs.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

set(ARFC_VENV "${PROJECT_SOURCE_DIR}/.venv" CACHE PATH
    "Virtual environment whose torch wheel serves as LibTorch, and which links FAISS")

# Compiled once, kept for every build folder and, since paths below the project count as relative
# ones, for every checkout. A launcher that was chosen by hand stays.
find_program(ARFC_CCACHE ccache DOC "Compiler cache, used where it is installed")
mark_as_advanced(ARFC_CCACHE)
if(ARFC_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
    set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND}" -E env
        "CCACHE_BASEDIR=${PROJECT_SOURCE_DIR}" CCACHE_NOHASHDIR=true "${ARFC_CCACHE}")
endif()

macro(arfc_find_openssl)
    find_package(OpenSSL REQUIRED COMPONENTS Crypto)
endmacro()

macro(arfc_find_threads)
    find_package(Threads REQUIRED)
endmacro()

macro(arfc_find_json)
    find_package(nlohmann_json 3.10 REQUIRED)
endmacro()

macro(arfc_find_torch)
    # Not torch's own package file: that one pulls compilers and flags of every backend into the
    # project. Two libraries and their headers are all that is used.
    file(GLOB _torch_dirs "${ARFC_VENV}/lib/python3*/site-packages/torch")
    find_path(ARFC_TORCH_ROOT NAMES include/torch/csrc/api/include/torch/torch.h
        HINTS ${_torch_dirs} DOC "Folder of LibTorch: the torch package of a wheel" REQUIRED)
    if(NOT TARGET arfc_torch)
        add_library(arfc_torch INTERFACE)
        target_include_directories(arfc_torch SYSTEM INTERFACE
            "${ARFC_TORCH_ROOT}/include" "${ARFC_TORCH_ROOT}/include/torch/csrc/api/include")
        # libtorch registers the backends that libtorch_cpu alone does not, so it stays linked
        # although unnamed.
        target_link_libraries(arfc_torch INTERFACE
            "-Wl,--no-as-needed" "${ARFC_TORCH_ROOT}/lib/libtorch.so" "-Wl,--as-needed"
            "${ARFC_TORCH_ROOT}/lib/libtorch_cpu.so" "${ARFC_TORCH_ROOT}/lib/libc10.so")
        set_property(TARGET arfc_torch PROPERTY ARFC_LIBRARY_DIR "${ARFC_TORCH_ROOT}/lib")
    endif()
endmacro()

macro(arfc_find_openmp)
    find_package(OpenMP REQUIRED COMPONENTS CXX)
    # One OpenMP runtime a process: LibTorch brings its own under the name that the compiler's has
    # too.
    if(EXISTS "${ARFC_TORCH_ROOT}/lib/libgomp.so.1")
        set_target_properties(OpenMP::OpenMP_CXX PROPERTIES
            INTERFACE_LINK_LIBRARIES "${ARFC_TORCH_ROOT}/lib/libgomp.so.1")
    endif()
endmacro()

macro(arfc_find_rocksdb)
    find_package(RocksDB 7.8 REQUIRED)
endmacro()

macro(arfc_find_faiss)
    arfc_find_openmp()
    find_package(BLAS REQUIRED)
    find_package(LAPACK REQUIRED)
    # An installed one that -Dfaiss_ROOT names, or the one that scripts/setup.sh found or built.
    find_package(faiss 1.7.3 REQUIRED CONFIG HINTS "${ARFC_VENV}/faiss")
    if(NOT TARGET arfc_faiss)
        add_library(arfc_faiss INTERFACE)
        get_target_property(_faiss_include faiss INTERFACE_INCLUDE_DIRECTORIES)
        target_include_directories(arfc_faiss SYSTEM INTERFACE ${_faiss_include})
        # The exported faiss_avx2 target of 1.7.3 lacks its includes and, in some builds, its own
        # links.
        if(TARGET faiss_avx2)
            target_link_libraries(arfc_faiss INTERFACE faiss_avx2)
        else()
            target_link_libraries(arfc_faiss INTERFACE faiss)
        endif()
        target_link_libraries(arfc_faiss INTERFACE OpenMP::OpenMP_CXX BLAS::BLAS LAPACK::LAPACK)
    endif()
endmacro()

macro(arfc_find_boost)
    find_package(Boost 1.81 REQUIRED)
    find_package(simdjson REQUIRED)
    find_package(spdlog REQUIRED)
endmacro()

macro(arfc_find_simdjson)
    find_package(simdjson REQUIRED)
endmacro()

macro(arfc_find_cli11)
    find_package(CLI11 2.1 REQUIRED)
    find_package(spdlog REQUIRED)
endmacro()

macro(arfc_find_gtest)
    find_package(GTest 1.12 REQUIRED)
endmacro()

macro(arfc_find_benchmark)
    find_package(benchmark REQUIRED)
endmacro()

macro(arfc_find_python)
    # The interpreter of the virtual environment, so that the module is built for the Python that
    # will import it.
    if(NOT Python_EXECUTABLE AND EXISTS "${ARFC_VENV}/bin/python")
        set(Python_EXECUTABLE "${ARFC_VENV}/bin/python")
    endif()
    find_package(Python 3.11 REQUIRED COMPONENTS Interpreter Development.Module)
    execute_process(COMMAND "${Python_EXECUTABLE}" -m nanobind --cmake_dir
        OUTPUT_VARIABLE _nanobind_dir OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
    find_package(nanobind 3.1 CONFIG REQUIRED HINTS "${_nanobind_dir}")
endmacro()
