# Included by a test as the project begins: asks for a version that cannot be there.
find_package(nodecomm 99 REQUIRED)
