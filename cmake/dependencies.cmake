# Every find_package of the project's build; what an installed arfc looks for is in
# package/arfcConfig.cmake.in. A room calls what it needs; nothing is looked for that no chosen room
# needs.

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
    file(GLOB ArfcTorch_DEFAULTS "${ARFC_VENV}/lib/python3*/site-packages/torch")
    find_package(ArfcTorch REQUIRED)
endmacro()

macro(arfc_find_openmp)
    find_package(ArfcOpenMP REQUIRED)
endmacro()

macro(arfc_find_rocksdb)
    find_package(RocksDB 7.8 REQUIRED)
endmacro()

macro(arfc_find_faiss)
    # An installed one that -Dfaiss_ROOT names, or the one that scripts/setup.sh found or built.
    set(ArfcFaiss_DEFAULTS "${ARFC_VENV}/faiss")
    find_package(ArfcFaiss 1.7.3 REQUIRED)
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
