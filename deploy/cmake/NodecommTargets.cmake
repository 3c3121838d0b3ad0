# The two shapes of target we have besides programs: a library of one folder, and a test.

# nodecomm_library(NAME SOURCES... [PUBLIC deps...] [PRIVATE deps...]): static library nodecomm_NAME, alias
# nodecomm::NAME. Headers are included by their path from the repository's root.
function(nodecomm_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(nodecomm_${name} STATIC ${ARG_SOURCES})
  add_library(nodecomm::${name} ALIAS nodecomm_${name})
  target_include_directories(nodecomm_${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_compile_options(nodecomm_${name} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-fno-exceptions>)
  target_link_libraries(nodecomm_${name} PUBLIC ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE})
endfunction()

# Of the tests' own sources only.
set(NODECOMM_TEST_OPTIONS "" CACHE STRING "Compiler options for the tests, after all others")

# nodecomm_test(NAME SOURCES... [LINK deps...] [LABELS labels...] [TIMEOUT seconds]): a GoogleTest program, one
# ctest entry, bounded in time.
function(nodecomm_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LINK;LABELS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_compile_options(${name} PRIVATE ${NODECOMM_TEST_OPTIONS})
  target_link_libraries(${name} PRIVATE ${ARG_LINK} GTest::gmock GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}")
endfunction()
