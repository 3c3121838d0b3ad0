# Manual pages and completions of our programs, written by the programs themselves (client/reference), and where they are
# installed. Compressed as Debian wants it, and without a time stamp so that a rebuild is the same.
find_program(GZIP gzip REQUIRED)
include(GNUInstallDirs)
set(NODECOMM_SHARE ${PROJECT_BINARY_DIR}/share)

# nodecomm_manual(NAME SECTION COMMAND...): what the command prints becomes NAME.SECTION.
function(nodecomm_manual name section)
  set(page ${NODECOMM_SHARE}/man/man${section}/${name}.${section})
  file(MAKE_DIRECTORY ${NODECOMM_SHARE}/man/man${section})
  add_custom_command(
    OUTPUT ${page} ${page}.gz
    COMMAND ${ARGN} > ${page}
    COMMAND ${GZIP} -9nc ${page} > ${page}.gz
    DEPENDS ${ARGV2} VERBATIM)
  add_custom_target(${name}_manual ALL DEPENDS ${page})
  install(FILES ${page}.gz DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section} COMPONENT nodecomm)
endfunction()

# nodecomm_reference(PROGRAM SECTION): its manual page and its completions.
function(nodecomm_reference program section)
  nodecomm_manual(${program} ${section} ${program} --generate man)
  set(bash ${NODECOMM_SHARE}/bash-completion/completions/${program})
  set(zsh ${NODECOMM_SHARE}/zsh/vendor-completions/_${program})
  file(MAKE_DIRECTORY ${NODECOMM_SHARE}/bash-completion/completions ${NODECOMM_SHARE}/zsh/vendor-completions)
  add_custom_command(
    OUTPUT ${bash} ${zsh}
    COMMAND ${program} --generate bash > ${bash}
    COMMAND ${program} --generate zsh > ${zsh}
    DEPENDS ${program} VERBATIM)
  add_custom_target(${program}_completion ALL DEPENDS ${bash} ${zsh})
  install(FILES ${bash} DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions COMPONENT nodecomm)
  install(FILES ${zsh} DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions COMPONENT nodecomm)
endfunction()
