/*
 * temp_folder.h - a folder for the files that a test writes.
 *
 * cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove) gives every test of the
 * group the same folder as *state; at the end the folder is removed with all files and folders in
 * it.
 */
#ifndef CBE_TESTS_TEMP_FOLDER_H
#define CBE_TESTS_TEMP_FOLDER_H

#include <stddef.h>

int temp_folder_create(void **state);
int temp_folder_remove(void **state);

/** Makes an empty folder, or empties it. */
void temp_clear(const char *folder);

/** Path of a file in the folder, in static memory, valid until the eighth call from now. */
const char *temp_path(void **state, const char *name);

/** Number of files in the folder whose name contains the text. */
size_t temp_count(void **state, const char *text);

void temp_write(const char *path, const void *data, size_t size);

/** Reads a file and adds a 0; freed with free(). */
char *temp_read(const char *path, size_t *size);

#endif
