# Rooms, their arrows and their flags. An arrow that is not in this table does not compile: a room's
# private sources see its own include folder and those of the rooms named here, nothing else.

set(ARFC_ALL_ROOMS base compressor storage index server tools python)
set(ARFC_ARROWS_base "")
set(ARFC_ARROWS_compressor base)
set(ARFC_ARROWS_storage base)
set(ARFC_ARROWS_index compressor storage)
set(ARFC_ARROWS_server index)
set(ARFC_ARROWS_tools server)
set(ARFC_ARROWS_python index)

# Flags of our own targets, PRIVATE: nothing that links arfc inherits them.
function(arfc_own_target target)
    # No contraction: a code or a score is the same bits with and without fused multiply-add in the
    # target.
    target_compile_options(${target} PRIVATE -Wall -Wextra -Wno-missing-field-initializers -Wshadow
        -Wconversion -Wno-sign-conversion -Werror -ffp-contract=off)
    if(ARFC_SANITIZE)
        target_compile_options(${target} PRIVATE -fsanitize=${ARFC_SANITIZE} -fno-omit-frame-pointer)
        target_link_options(${target} PUBLIC -fsanitize=${ARFC_SANITIZE})
    endif()
    if(ARFC_COVERAGE)
        # Atomic, because counts that threads lose make gcov infer wrong ones for other lines.
        target_compile_options(${target} PRIVATE --coverage -fprofile-update=atomic)
        target_link_options(${target} PUBLIC --coverage)
    endif()
endfunction()

# arfc_room(<room> SOURCES ... [LINK ...] [HEADER_ONLY ...]): the room's library `arfc_<room>`; public
# headers in include/, private code in src/, third-party libraries linked PRIVATE. What is
# HEADER_ONLY is compiled in, so that an installed room does not ask for it.
function(arfc_room room)
    cmake_parse_arguments(ARG "" "" "SOURCES;LINK;HEADER_ONLY" ${ARGN})
    set(target arfc_${room})
    add_library(${target} STATIC ${ARG_SOURCES})
    add_library(arfc::${room} ALIAS ${target})
    file(GLOB_RECURSE headers CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/include/*.h")
    target_sources(${target} PUBLIC FILE_SET headers TYPE HEADERS BASE_DIRS include FILES ${headers})
    target_include_directories(${target} PRIVATE src)
    target_compile_features(${target} PUBLIC cxx_std_20)
    target_link_libraries(${target} PRIVATE ${ARG_LINK})
    foreach(library IN LISTS ARG_HEADER_ONLY)
        target_link_libraries(${target} PRIVATE "$<BUILD_INTERFACE:${library}>")
    endforeach()
    # Headers that name a library of the room's are verified with it; users of the room name it
    # themselves.
    foreach(library IN LISTS ARG_LINK ARG_HEADER_ONLY)
        set(verified "$<TARGET_PROPERTY:NAME>,${target}_verify_interface_header_sets")
        target_link_libraries(${target} INTERFACE
            "$<BUILD_INTERFACE:$<$<STREQUAL:${verified}>:${library}>>")
    endforeach()
    foreach(below IN LISTS ARFC_ARROWS_${room})
        if(NOT TARGET arfc_${below})
            message(FATAL_ERROR "An arrow of the room ${room} does not point down: to ${below}")
        endif()
        target_link_libraries(${target} PUBLIC arfc_${below})
    endforeach()
    arfc_own_target(${target})
    arfc_install_room(${room})
endfunction()

# arfc_kernels(<source>...): inner loops of a room, compiled for the instruction set that a name ends
# with. They fuse multiply and add: each of their sums is one chain, on every instruction set that
# has the operation. They are optimised in every build type, because a debug build of them would
# make tests take minutes.
function(arfc_kernels)
    foreach(file IN LISTS ARGN)
        set(flags -O3 -ffp-contract=fast -fno-math-errno)
        if(file MATCHES "_avx2.cpp$")
            list(APPEND flags -mavx2 -mfma)
        elseif(file MATCHES "_avx512.cpp$")
            list(APPEND flags -mavx512f -mavx512vl -mavx512bw -mavx512dq -mavx2 -mfma
                -mprefer-vector-width=512)
        endif()
        # Counters that are atomic keep loops from being vectorised; kernels start no threads.
        if(ARFC_COVERAGE)
            list(APPEND flags -fprofile-update=single)
        endif()
        set_source_files_properties(${file} PROPERTIES COMPILE_OPTIONS "${flags}")
    endforeach()
endfunction()

# arfc_test(<room> SOURCES ... [LINK ...]): the program `arfc_<room>_tests`, one entry of ctest.
function(arfc_test room)
    if(NOT ARFC_BUILD_TESTS)
        return()
    endif()
    cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
    set(target arfc_${room}_tests)
    add_executable(${target} ${ARG_SOURCES})
    target_link_libraries(${target} PRIVATE arfc_${room} ${ARG_LINK} GTest::gmock GTest::gtest_main)
    target_include_directories(${target} PRIVATE
        "${PROJECT_SOURCE_DIR}/tests" "${PROJECT_SOURCE_DIR}/${room}/src")
    arfc_own_target(${target})
    # One entry a program: its cases share what is costly to make, such as trained models. Waiting
    # OpenMP threads sleep, because tests run beside each other.
    add_test(NAME ${target} COMMAND ${target})
    set(timeout 2400) # A guard against what hangs; slow machines take minutes.
    if(ARFC_SANITIZE OR ARFC_COVERAGE)
        set(timeout 4800)
    endif()
    set_tests_properties(${target} PROPERTIES
        TIMEOUT ${timeout} ENVIRONMENT "OMP_WAIT_POLICY=PASSIVE")
endfunction()

function(_arfc_close_over room out)
    set(found ${${out}})
    if(NOT room IN_LIST ARFC_ALL_ROOMS)
        message(FATAL_ERROR "ARFC_ROOMS names no room: ${room}, expected some of ${ARFC_ALL_ROOMS}")
    endif()
    foreach(below IN LISTS ARFC_ARROWS_${room})
        _arfc_close_over(${below} found)
    endforeach()
    list(APPEND found ${room})
    list(REMOVE_DUPLICATES found)
    set(${out} ${found} PARENT_SCOPE)
endfunction()

# Adds the chosen rooms and all that they stand on, then their tests.
macro(arfc_add_rooms)
    set(_chosen "")
    foreach(_room IN LISTS ARFC_ROOMS)
        _arfc_close_over(${_room} _chosen)
    endforeach()
    arfc_find_threads()
    if(ARFC_BUILD_TESTS)
        enable_testing()
        arfc_find_gtest()
    endif()
    foreach(_room IN LISTS ARFC_ALL_ROOMS)
        if(_room IN_LIST _chosen)
            add_subdirectory(${_room})
        endif()
    endforeach()
    if(ARFC_BUILD_TESTS)
        foreach(_room IN LISTS _chosen)
            if(EXISTS "${PROJECT_SOURCE_DIR}/tests/${_room}/CMakeLists.txt")
                add_subdirectory(tests/${_room})
            endif()
        endforeach()
        if(index IN_LIST _chosen)
            add_subdirectory(tests/end_to_end)
        endif()
    endif()
    if(ARFC_BUILD_BENCHMARKS AND EXISTS "${PROJECT_SOURCE_DIR}/benchmarks/CMakeLists.txt")
        arfc_find_benchmark()
        add_subdirectory(benchmarks EXCLUDE_FROM_ALL) # The target `benchmarks` builds them.
    endif()
endmacro()
