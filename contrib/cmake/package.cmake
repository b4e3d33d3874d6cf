# SPDX-License-Identifier: Apache-2.0
# The Debian package, by CPack: the programs are static but for husk-systemd, so one package serves Debian 12 and 13. Configure with
# -DCMAKE_INSTALL_PREFIX=/usr (contrib/package.sh does) for paths that containerd's own PATH has.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME husk)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY ${PROJECT_DESCRIPTION})
set(CPACK_PACKAGE_CONTACT "husk maintainers <husk@localhost>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "containerd (>= 1.6)")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION "One small process per pod speaks ttrpc to containerd and makes namespaces, cgroups and mounts itself.
 After the installation, as root: husk install, then restart containerd.")
install(FILES contrib/containerd/husk-v2.toml contrib/containerd/husk-v3.toml contrib/kubernetes/runtimeclass.yaml contrib/kubernetes/pod.yaml
	contrib/apparmor/husk-pod DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)
install(FILES README.md CHANGELOG.md SECURITY.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY contrib/docs DESTINATION ${CMAKE_INSTALL_DOCDIR}/contrib)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME copyright)
include(CPack)
