# Finds FAISS by its own package file, and OpenMP, BLAS and LAPACK, which that file leaves to whoever
# links it. The build and the installed package both find it this way.
#
# Looks where CMake looks for faiss (faiss_DIR, faiss_ROOT, CMAKE_PREFIX_PATH), then in
# ArfcFaiss_DEFAULTS, which the caller sets. Sets ArfcFaiss_VERSION and the target arfc_faiss.
find_package(ArfcOpenMP QUIET MODULE)
find_package(BLAS QUIET)
find_package(LAPACK QUIET)
set(_exact "")
if(ArfcFaiss_FIND_VERSION_EXACT)
    set(_exact EXACT)
endif()
find_package(faiss ${ArfcFaiss_FIND_VERSION} ${_exact} QUIET CONFIG HINTS ${ArfcFaiss_DEFAULTS})
unset(_exact)
set(ArfcFaiss_VERSION "${faiss_VERSION}")

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(ArfcFaiss
    REQUIRED_VARS faiss_DIR ArfcOpenMP_FOUND BLAS_FOUND LAPACK_FOUND
    VERSION_VAR ArfcFaiss_VERSION)
if(ArfcFaiss_FOUND AND NOT TARGET arfc_faiss)
    add_library(arfc_faiss INTERFACE IMPORTED GLOBAL)
    set_property(TARGET arfc_faiss PROPERTY ARFC_VERSION "${ArfcFaiss_VERSION}")
    get_target_property(_include faiss INTERFACE_INCLUDE_DIRECTORIES)
    target_include_directories(arfc_faiss INTERFACE ${_include})
    # The exported faiss_avx2 target of 1.7.3 lacks its includes and, in some builds, its own links.
    if(TARGET faiss_avx2)
        target_link_libraries(arfc_faiss INTERFACE faiss_avx2)
    else()
        target_link_libraries(arfc_faiss INTERFACE faiss)
    endif()
    target_link_libraries(arfc_faiss INTERFACE OpenMP::OpenMP_CXX BLAS::BLAS LAPACK::LAPACK)
    unset(_include)
endif()
