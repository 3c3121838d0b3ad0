# NODECOMM_COMMIT: the commit that --version prints, read when the build is configured.
execute_process(
  COMMAND git -C ${PROJECT_SOURCE_DIR} describe --always --dirty --exclude=*
  OUTPUT_VARIABLE NODECOMM_COMMIT
  OUTPUT_STRIP_TRAILING_WHITESPACE
  ERROR_QUIET)
if(NOT NODECOMM_COMMIT)
  set(NODECOMM_COMMIT unknown)
endif()
