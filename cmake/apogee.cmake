# apogee_library(NAME [DEPENDS library...] [LINKS target...])
#
# One library a directory of src/. Sources are the directory's *.cc, unit tests its *_test.cc. A dependency
# that has not been declared above is refused: the order in src/CMakeLists.txt is the architecture.

add_library(apogee_options INTERFACE)
target_compile_options(apogee_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor> -Werror
  -Wno-missing-field-initializers)  # designated initializers name what matters; the rest has its default
target_include_directories(apogee_options INTERFACE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR})
target_link_libraries(apogee_options INTERFACE Threads::Threads)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 sees restrict and overflow problems in inlined std::string code that are not there (GCC PR 105651).
  target_compile_options(apogee_options INTERFACE -Wno-restrict -Wno-stringop-overflow -Wno-array-bounds)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  # GCC 12's own std::stable_sort calls what it marks as deprecated.
  target_compile_options(apogee_options INTERFACE -Wno-deprecated-declarations)
endif()
if(APOGEE_FUZZ)
  # The libraries tell libFuzzer which branches an input takes; only the targets bring its main().
  target_compile_options(apogee_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(APOGEE_SANITIZE STREQUAL "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # Asio's fences around handlers: its queues are locked beside them, which the sanitizer does see.
  target_compile_options(apogee_options INTERFACE -Wno-tsan)
endif()
if(APOGEE_SANITIZE AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # Instrumented variants of strings look uninitialized to GCC 12 where they are not.
  target_compile_options(apogee_options INTERFACE -Wno-maybe-uninitialized)
endif()
if(APOGEE_SANITIZE)
  target_compile_options(apogee_options INTERFACE -fsanitize=${APOGEE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(apogee_options INTERFACE -fsanitize=${APOGEE_SANITIZE})
endif()

function(apogee_library name)
  cmake_parse_arguments(ARG "" "" "DEPENDS;LINKS" ${ARGN})
  foreach(dependency ${ARG_DEPENDS})
    if(NOT TARGET apogee_${dependency})
      message(FATAL_ERROR "src/${name} may not depend on src/${dependency}: it is not declared above it in src/CMakeLists.txt")
    endif()
  endforeach()
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${name}/*.cc)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  list(TRANSFORM ARG_DEPENDS PREPEND "apogee_" OUTPUT_VARIABLE dependencies)
  if(sources)
    add_library(apogee_${name} STATIC ${sources})
    target_link_libraries(apogee_${name} PUBLIC apogee_options ${dependencies} ${ARG_LINKS})
    if(name STREQUAL "base")
      # In brackets, not as a path: the compiler cache then serves every checkout of this tree.
      target_precompile_headers(apogee_base PRIVATE <base/precompiled.h>)
    else()
      target_precompile_headers(apogee_${name} REUSE_FROM apogee_base)
    endif()
  else()
    add_library(apogee_${name} INTERFACE)
    target_link_libraries(apogee_${name} INTERFACE apogee_options ${dependencies} ${ARG_LINKS})
  endif()
  set_property(GLOBAL PROPERTY APOGEE_LINKS_OF_${name} "${ARG_LINKS}")
  set_property(GLOBAL APPEND PROPERTY APOGEE_TESTED_LIBRARIES ${name})
  set_property(GLOBAL PROPERTY APOGEE_TESTS_OF_${name} "${tests}")
endfunction()

# Called once, after testing/ is known: one test binary a library.
function(apogee_add_tests)
  # Of these files alone: a path of the tree on every command line would make the compiler cache miss in another checkout.
  set_source_files_properties(
    ${PROJECT_SOURCE_DIR}/src/protocol/golden_test.cc ${PROJECT_SOURCE_DIR}/src/main/reference_test.cc
    ${PROJECT_SOURCE_DIR}/src/client/allocation_test.cc ${PROJECT_SOURCE_DIR}/src/broker/kinds_golden_test.cc
    ${PROJECT_SOURCE_DIR}/src/broker/config_file_test.cc PROPERTIES
    COMPILE_DEFINITIONS APOGEE_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # GCC 12 inlines one half of Asio's pair of operators for coroutines' frames, and finds that the other does not match.
    set_source_files_properties(${PROJECT_SOURCE_DIR}/src/client/asio_test.cc PROPERTIES COMPILE_OPTIONS -Wno-mismatched-new-delete)
  endif()
  get_property(libraries GLOBAL PROPERTY APOGEE_TESTED_LIBRARIES)
  foreach(name ${libraries} testing)
    get_property(tests GLOBAL PROPERTY APOGEE_TESTS_OF_${name})
    if(tests)
      add_executable(${name}_test ${tests})
      target_link_libraries(${name}_test PRIVATE apogee_testing GTest::gmock GTest::gtest_main)
      if(TARGET apogee_${name})
        target_link_libraries(${name}_test PRIVATE apogee_${name})
      endif()
      get_property(more GLOBAL PROPERTY APOGEE_TESTS_OF_${name}_LINK)
      target_link_libraries(${name}_test PRIVATE ${more})
      gtest_discover_tests(${name}_test DISCOVERY_MODE PRE_TEST PROPERTIES TIMEOUT 120)
    endif()
  endforeach()
endfunction()
