# Run by cpack on the files of a package: Debian's zsh looks for a package's completions in a folder
# of its own.
set(folder ${CPACK_TEMPORARY_INSTALL_DIRECTORY}/usr/share/zsh)
if(EXISTS ${folder}/site-functions)
    file(RENAME ${folder}/site-functions ${folder}/vendor-completions)
endif()
