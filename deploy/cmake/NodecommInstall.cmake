# Where things are installed, and the number of libnodecomm's ABI. Each folder installs its own targets, in one of the
# components nodecomm (programs), libnodecomm (the library) and libnodecomm-dev (what compiling needs): the three packages.
set(NODECOMM_ABI 1)

# Debian's directory of this architecture's libraries, whatever the prefix, so that /usr and /usr/local look alike.
if(CMAKE_LIBRARY_ARCHITECTURE AND NOT DEFINED CMAKE_INSTALL_LIBDIR)
  set(CMAKE_INSTALL_LIBDIR lib/${CMAKE_LIBRARY_ARCHITECTURE} CACHE PATH "Directory of libraries")
endif()
include(GNUInstallDirs)

# Programs that only the daemon starts.
set(NODECOMM_PROGRAMS_DIR ${CMAKE_INSTALL_LIBEXECDIR}/nodecomm)
# What systemd looks for in /usr/lib on every architecture.
set(NODECOMM_SYSTEM_LIBDIR ${CMAKE_INSTALL_PREFIX}/lib)
