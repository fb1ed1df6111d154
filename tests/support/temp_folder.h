/*
 * temp_folder.h - a folder for the files that a test writes.
 *
 * cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove) gives every test of the
 * group the same folder as *state; what is left in it, folders too, is removed at the end.
 */
#ifndef CBE_TESTS_TEMP_FOLDER_H
#define CBE_TESTS_TEMP_FOLDER_H

#include <stddef.h>

int temp_folder_create(void **state);
int temp_folder_remove(void **state);

/** An empty folder of this name: made, or emptied with all that is in it. */
void temp_clear(const char *folder);

/** Path of a file in the folder: static memory, valid until the eighth call from now. */
const char *temp_path(void **state, const char *name);

/** Number of files in the folder whose name contains the text. */
size_t temp_count(void **state, const char *text);

void temp_write(const char *path, const void *data, size_t size);

/** The content with a 0 added, to free(). */
char *temp_read(const char *path, size_t *size);

#endif
