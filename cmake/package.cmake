# The client library as other projects meet it: libapogee.so, libapogee.a, libapogee_testing.a (name server and broker for a
# program's own tests), headers, find_package(apogee), pkg-config. The libraries of src/ become one library each of these; their own
# headers, and those they are made with, stay behind.

include(CMakePackageConfigHelpers)

# What the linker is told for each target that apogee_library() was told.
set(link_of_fmt::fmt fmt)
set(link_of_spdlog::spdlog spdlog)
set(link_of_nlohmann_json::nlohmann_json "")  # headers
set(link_of_PkgConfig::LIBDEFLATE deflate)
set(link_of_PkgConfig::LZ4 lz4)
set(link_of_PkgConfig::ZSTD zstd)
set(link_of_ZLIB::ZLIB z)
set(link_of_OpenSSL::SSL ssl)
set(link_of_OpenSSL::Crypto crypto)

# The objects and the outside libraries of some libraries of src/.
function(apogee_gather libraries objects_out targets_out links_out)
  set(objects "")
  set(targets "")
  foreach(name ${libraries})
    get_target_property(type apogee_${name} TYPE)
    if(NOT type STREQUAL "INTERFACE_LIBRARY")
      list(APPEND objects $<TARGET_OBJECTS:apogee_${name}>)
    endif()
    get_property(more GLOBAL PROPERTY APOGEE_LINKS_OF_${name})
    list(APPEND targets ${more})
  endforeach()
  list(REMOVE_DUPLICATES targets)
  set(links "")
  foreach(target ${targets})
    if(NOT DEFINED link_of_${target})
      message(FATAL_ERROR "cmake/package.cmake: say how to link ${target}")
    endif()
    list(APPEND links ${link_of_${target}})
  endforeach()
  set(${objects_out} "${objects}" PARENT_SCOPE)
  set(${targets_out} "${targets}" PARENT_SCOPE)
  set(${links_out} "${links}" PARENT_SCOPE)
endfunction()

set(client_libraries base protocol remoting client admin c)
set(testing_libraries base protocol remoting store namesrv broker embedded)

apogee_gather("${client_libraries}" objects targets links)
# The client logs to the application's function; the file logger is the servers'.
set(objects $<FILTER:${objects},EXCLUDE,/base/log\\.cc>)
list(REMOVE_ITEM links spdlog)

add_library(apogee_shared SHARED ${objects})
target_link_libraries(apogee_shared PRIVATE ${targets} Threads::Threads)
target_link_options(apogee_shared PRIVATE LINKER:--as-needed LINKER:-z,defs LINKER:--version-script=${PROJECT_SOURCE_DIR}/cmake/apogee.map)
set_target_properties(apogee_shared PROPERTIES LINKER_LANGUAGE CXX OUTPUT_NAME apogee EXPORT_NAME shared VERSION ${PROJECT_VERSION}
  SOVERSION ${PROJECT_VERSION_MAJOR} LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/apogee.map)

add_library(apogee_static STATIC ${objects})
target_link_libraries(apogee_static INTERFACE Threads::Threads ${links})
set_target_properties(apogee_static PROPERTIES LINKER_LANGUAGE CXX OUTPUT_NAME apogee EXPORT_NAME static)

# It carries its own copy of what the client has too: the shared library shows nobody its insides.
apogee_gather("${testing_libraries}" testing_objects unused testing_links)
add_library(apogee_embedded_static STATIC ${testing_objects})
target_link_libraries(apogee_embedded_static INTERFACE Threads::Threads ${testing_links})
set_target_properties(apogee_embedded_static PROPERTIES LINKER_LANGUAGE CXX OUTPUT_NAME apogee_testing EXPORT_NAME testing)

foreach(target apogee_shared apogee_static apogee_embedded_static)
  target_include_directories(${target} INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_compile_features(${target} INTERFACE cxx_std_20)
  set_target_properties(${target} PROPERTIES ARCHIVE_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR} LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
endforeach()

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/apogee)
install(TARGETS apogee_shared apogee_static apogee_embedded_static EXPORT apogee_targets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT apogee_targets NAMESPACE apogee:: FILE apogee-targets.cmake DESTINATION ${package_dir})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/apogee DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/apogee-config.cmake.in ${PROJECT_BINARY_DIR}/apogee-config.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/apogee-config-version.cmake COMPATIBILITY SameMajorVersion)
install(FILES ${PROJECT_BINARY_DIR}/apogee-config.cmake ${PROJECT_BINARY_DIR}/apogee-config-version.cmake DESTINATION ${package_dir})

list(TRANSFORM links PREPEND "-l" OUTPUT_VARIABLE private)
list(JOIN private " " APOGEE_PRIVATE_LIBS)
list(TRANSFORM testing_links PREPEND "-l" OUTPUT_VARIABLE private)
list(JOIN private " " APOGEE_TESTING_LIBS)
file(RELATIVE_PATH up /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)  # from the file to the prefix: an installed tree can be moved
foreach(name apogee apogee-testing)
  configure_file(${PROJECT_SOURCE_DIR}/cmake/${name}.pc.in ${PROJECT_BINARY_DIR}/${name}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/${name}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endforeach()

# The program prints them itself.
if(NOT CMAKE_CROSSCOMPILING)
  add_custom_command(OUTPUT ${PROJECT_BINARY_DIR}/completions/apogee ${PROJECT_BINARY_DIR}/completions/_apogee
    COMMAND apogee completion bash > ${PROJECT_BINARY_DIR}/completions/apogee
    COMMAND apogee completion zsh > ${PROJECT_BINARY_DIR}/completions/_apogee
    DEPENDS apogee VERBATIM)
  file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/completions)
  add_custom_target(completions ALL DEPENDS ${PROJECT_BINARY_DIR}/completions/apogee)
  install(FILES ${PROJECT_BINARY_DIR}/completions/apogee DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
  install(FILES ${PROJECT_BINARY_DIR}/completions/_apogee DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
endif()
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
