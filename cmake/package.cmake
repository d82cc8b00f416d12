# What `cmake --install` installs, in parts (--component): `development`, the rooms that have public
# headers with their libraries and the CMake package arfc; `program`; `models`; `licences`. The
# wheel's part is python/CMakeLists.txt's and is left out of a whole installation.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(ARFC_PACKAGE_DIR "${CMAKE_INSTALL_LIBDIR}/cmake/arfc")

# arfc_install_room(<room>): its library and headers, where it has public ones. Each room is an
# export set of its own, so that the libraries of a room that nobody asks for are not looked for.
function(arfc_install_room room)
    get_target_property(headers arfc_${room} HEADER_SET_headers)
    if(NOT headers)
        return()
    endif()
    set_target_properties(arfc_${room} PROPERTIES EXPORT_NAME ${room})
    install(TARGETS arfc_${room} EXPORT arfc-${room}
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development
        FILE_SET headers DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development)
    install(EXPORT arfc-${room} NAMESPACE arfc::
        DESTINATION ${ARFC_PACKAGE_DIR} COMPONENT development)
    set_property(GLOBAL APPEND PROPERTY ARFC_INSTALLED_ROOMS ${room})
endfunction()

# arfc_install_package(): the files that find_package(arfc) reads.
function(arfc_install_package)
    get_property(installed GLOBAL PROPERTY ARFC_INSTALLED_ROOMS)
    set(arrows "")
    foreach(room IN LISTS installed)
        string(APPEND arrows "set(_arfc_below_${room} \"${ARFC_ARROWS_${room}}\")\n")
    endforeach()
    foreach(library IN ITEMS torch faiss)
        set(${library}_version "")
        if(TARGET arfc_${library})
            get_target_property(${library}_version arfc_${library} ARFC_VERSION)
        endif()
    endforeach()
    configure_package_config_file(
        "${PROJECT_SOURCE_DIR}/cmake/package/arfcConfig.cmake.in"
        "${PROJECT_BINARY_DIR}/package/arfcConfig.cmake"
        INSTALL_DESTINATION "${ARFC_PACKAGE_DIR}"
        NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
    # Before version 1 a minor version may change interfaces.
    write_basic_package_version_file("${PROJECT_BINARY_DIR}/package/arfcConfigVersion.cmake"
        COMPATIBILITY SameMinorVersion)
    install(FILES
        "${PROJECT_BINARY_DIR}/package/arfcConfig.cmake"
        "${PROJECT_BINARY_DIR}/package/arfcConfigVersion.cmake"
        "${PROJECT_SOURCE_DIR}/cmake/modules/FindArfcFaiss.cmake"
        "${PROJECT_SOURCE_DIR}/cmake/modules/FindArfcOpenMP.cmake"
        "${PROJECT_SOURCE_DIR}/cmake/modules/FindArfcTorch.cmake"
        DESTINATION "${ARFC_PACKAGE_DIR}" COMPONENT development)
    install(FILES "${PROJECT_SOURCE_DIR}/LICENSE"
        DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT licences)
    install(DIRECTORY "${PROJECT_SOURCE_DIR}/LICENSES"
        DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT licences)
endfunction()
