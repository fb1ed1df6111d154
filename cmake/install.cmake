# What `cmake --install` puts where, and the Debian package that `cpack` makes of it. Components:
# runtime (the program, the shared library, manual and completions) and dev (headers, libraries to
# link, cbe.pc and the CMake package).

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# The version is written in cbe.h too, for programs that ask while they are compiled.
file(STRINGS ${PROJECT_SOURCE_DIR}/include/cbe/cbe.h parts
    REGEX "^#define CBE_VERSION_(MAJOR|MINOR|PATCH) ")
string(REGEX REPLACE "#define CBE_VERSION_[A-Z]+ " "" parts "${parts}")
string(REPLACE ";" "." parts "${parts}")
if(NOT parts STREQUAL PROJECT_VERSION)
    message(FATAL_ERROR "CMakeLists.txt says version ${PROJECT_VERSION}, cbe.h ${parts}")
endif()

# What programs that link libcbe.a need besides: names of libraries, not this machine's files.
set(libraries ${CBLAS_LIBRARY} ${LAPACK_LIBRARY} ${pcre2_LIBRARY}
    ${utf8proc_LIBRARY} ${nettle_LIBRARY} ${zlib_LIBRARY} ${zstd_LIBRARY} ${zip_LIBRARY})
if(CBE_MPI)
    list(APPEND libraries ${MPI_C_LIBRARIES})
endif()
if(CBE_HAS_ONEDNN)
    list(APPEND libraries ${dnnl_LIBRARY})
endif()
set(CBE_STATIC_LIBRARIES)
foreach(library ${libraries})
    get_filename_component(folder ${library} DIRECTORY)
    get_filename_component(name ${library} NAME_WE)
    string(REGEX REPLACE "^lib" "" name ${name})
    if(NOT folder IN_LIST CMAKE_C_IMPLICIT_LINK_DIRECTORIES AND NOT CMAKE_CROSSCOMPILING)
        list(APPEND CBE_STATIC_LIBRARIES "-L${folder}")
    endif()
    list(APPEND CBE_STATIC_LIBRARIES "-l${name}")
endforeach()
list(APPEND CBE_STATIC_LIBRARIES ${OpenMP_C_FLAGS} -lm)

target_include_directories(cbe INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(cbe INTERFACE "$<INSTALL_INTERFACE:${CBE_STATIC_LIBRARIES}>")
set(CBE_INSTALLED cbe)
if(CBE_SHARED)
    target_include_directories(cbe_shared
        INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
    list(APPEND CBE_INSTALLED cbe_shared)
endif()

install(TARGETS cbe-program RUNTIME COMPONENT runtime)
install(TARGETS ${CBE_INSTALLED} EXPORT cbeTargets
    ARCHIVE COMPONENT dev
    LIBRARY COMPONENT runtime NAMELINK_COMPONENT dev)
file(GLOB CBE_HEADERS CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/include/cbe/*.h)
install(FILES ${CBE_HEADERS} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/cbe COMPONENT dev)

# CMake package: targets cbe::cbe and cbe::cbe-static.
set(folder ${CMAKE_INSTALL_LIBDIR}/cmake/cbe)
install(EXPORT cbeTargets NAMESPACE cbe:: DESTINATION ${folder} COMPONENT dev)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/cbeConfig.cmake.in
    ${PROJECT_BINARY_DIR}/cbeConfig.cmake INSTALL_DESTINATION ${folder})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/cbeConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/cbeConfig.cmake ${PROJECT_BINARY_DIR}/cbeConfigVersion.cmake
    DESTINATION ${folder} COMPONENT dev)

# cbe.pc: folders are told from where the file lies, so that a whole installation can be moved.
# There is no Requires.private, for which pkg-config would want the other libraries' files even of
# programs that link libcbe.so.
set(folder ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH CBE_PC_PREFIX ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" CBE_PC_PREFIX ${CBE_PC_PREFIX})
string(JOIN " " CBE_PC_PRIVATE ${CBE_STATIC_LIBRARIES})
configure_file(${PROJECT_SOURCE_DIR}/cmake/cbe.pc.in ${PROJECT_BINARY_DIR}/cbe.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/cbe.pc DESTINATION ${folder} COMPONENT dev)

install(DIRECTORY ${PROJECT_BINARY_DIR}/manual/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1
    COMPONENT runtime FILES_MATCHING PATTERN "*.1")
install(FILES ${PROJECT_BINARY_DIR}/manual/cbe.bash RENAME cbe
    DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions COMPONENT runtime)
install(FILES ${PROJECT_BINARY_DIR}/manual/_cbe
    DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions COMPONENT runtime)
install(FILES ${PROJECT_SOURCE_DIR}/README.md ${PROJECT_SOURCE_DIR}/LICENSE
    DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT runtime)

# One package of both components, which depends on the packages whose libraries its files need.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME cbe)
set(CPACK_PACKAGE_CONTACT "cbe developers <cbe@developers.invalid>")
set(CPACK_PACKAGE_DESCRIPTION "For each layer of a language model, cbe finds the directions of the
residual stream that the output depends on most: an orthonormal basis, each
vector the direction whose ablation changes the next-token distribution
most. It runs on CPUs, and reads GGUF models, Hugging Face folders, or
hidden states made elsewhere. With the library libcbe and its headers.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE
    GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_PRE_BUILD_SCRIPTS ${PROJECT_SOURCE_DIR}/cmake/debian.cmake)
include(CPack)
