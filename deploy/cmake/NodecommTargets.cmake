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

# Tests take the headers that most of them include from here, precompiled. That fits only where all options and macros are
# the same: NOMINMAX is among the flags of gRPC's package, and programs are compiled with others than libraries.
function(nodecomm_use_precompiled_headers name)
  if(NOT TARGET nodecomm_test_headers)
    file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/generated/test_headers.cc CONTENT "int main() {}\n")
    add_executable(nodecomm_test_headers ${PROJECT_BINARY_DIR}/generated/test_headers.cc)
    set_target_properties(nodecomm_test_headers PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
    target_compile_options(nodecomm_test_headers PRIVATE ${NODECOMM_TEST_OPTIONS})
    target_link_libraries(nodecomm_test_headers PRIVATE GTest::gmock protobuf::libprotobuf PkgConfig::GRPCPP)
    target_precompile_headers(nodecomm_test_headers PRIVATE ${PROJECT_SOURCE_DIR}/tests/support/precompiled.h)
  endif()
  target_precompile_headers(${name} REUSE_FROM nodecomm_test_headers)
  target_compile_definitions(${name} PRIVATE NOMINMAX)
  # ccache asks for it.
  target_compile_options(${name} PRIVATE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fpch-preprocess>)
endfunction()

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
  nodecomm_use_precompiled_headers(${name})
  target_link_libraries(${name} PRIVATE ${ARG_LINK} GTest::gmock GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}")
endfunction()
