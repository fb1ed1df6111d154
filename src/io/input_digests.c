/* input_digests.c - see input_digests.h. */
#include "io/input_digests.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cbe/gguf.h"
#include "core/fail.h"
#include "core/memory.h"
#include "io/path.h"

enum { MOST_FILES = 4096 }; /* of a folder */

void cbe_input_digests_free(cbe_input_digests *digests)
{
    for (size_t i = 0; i < digests->n; i++) cbe_free(digests->files[i].path);
    cbe_free(digests->files);
    *digests = (cbe_input_digests){0};
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(((const cbe_input_digest *)a)->path, ((const cbe_input_digest *)b)->path);
}

static bool is_model_file(const char *name)
{
    const size_t length = strlen(name);
    return strcmp(name, "config.json") == 0 || strcmp(name, "tokenizer.json") == 0 ||
           (length > 12 && strcmp(name + length - 12, ".safetensors") == 0);
}

static cbe_status list_folder(cbe_input_digests *out, const char *path, cbe_error *err)
{
    DIR *folder = opendir(path);
    if (!folder) return cbe_fail(err, cbe_status_of_errno(errno), -1, "%s: cannot be opened: %s", path, strerror(errno));
    cbe_status st = CBE_ERR_NOMEM;
    if ((out->files = cbe_alloc(MOST_FILES, sizeof *out->files, "file names", err))) st = CBE_OK;
    for (const struct dirent *entry; st == CBE_OK && out->n < MOST_FILES && (entry = readdir(folder));) {
        if (!is_model_file(entry->d_name)) continue;
        if ((out->files[out->n].path = cbe_path_join(path, entry->d_name, err)))
            out->n++;
        else
            st = CBE_ERR_NOMEM;
    }
    closedir(folder);
    if (st == CBE_OK && out->n) qsort(out->files, out->n, sizeof *out->files, compare_paths);
    return st;
}

static cbe_status list_gguf(cbe_input_digests *out, const char *path, cbe_error *err)
{
    cbe_gguf *file = NULL;
    cbe_status st = cbe_gguf_open(&file, path, err);
    if (st != CBE_OK) return st;
    const size_t n = cbe_gguf_n_parts(file);
    if (!(out->files = cbe_alloc(n, sizeof *out->files, "file names", err))) st = CBE_ERR_NOMEM;
    for (size_t i = 0; i < n && st == CBE_OK; i++) {
        const char *part = cbe_gguf_part_path(file, i);
        if ((out->files[i].path = cbe_copy_string(part, strlen(part), err)))
            out->n++;
        else
            st = CBE_ERR_NOMEM;
    }
    cbe_gguf_close(file);
    return st;
}

static cbe_status list_file(cbe_input_digests *out, const char *path, cbe_error *err)
{
    if (!(out->files = cbe_alloc(1, sizeof *out->files, "file names", err))) return CBE_ERR_NOMEM;
    if (!(out->files[0].path = cbe_copy_string(path, strlen(path), err))) return CBE_ERR_NOMEM;
    out->n = 1;
    return CBE_OK;
}

cbe_status cbe_input_digests_take(cbe_input_digests *out, const char *path, bool is_model, cbe_error *err)
{
    cbe_path_kind kind;
    cbe_status st = cbe_path_look(path, &kind, err);
    if (st != CBE_OK) return st;
    if (kind == CBE_PATH_FOLDER)
        st = list_folder(out, path, err);
    else
        st = is_model ? list_gguf(out, path, err) : list_file(out, path, err);
    for (size_t i = 0; i < out->n && st == CBE_OK; i++) st = cbe_sha256_file(out->files[i].path, out->files[i].sha256, err);
    return st;
}
