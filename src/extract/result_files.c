/* result_files.c - see result_files.h. */
#include "extract/result_files.h"

#include <string.h>

#include "extract/result_json.h"
#include "extract/result_tensors.h"
#include "core/fail.h"
#include "core/memory.h"
#include "files/atomic_file.h"
#include "files/path.h"

cbe_status cbe_result_folder_prepare(const char *folder, cbe_error *err)
{
    cbe_status st = cbe_path_make_folder(folder, err);
    if (st != CBE_OK) return st;
    char *path = cbe_path_join(folder, "basis.safetensors", err);
    if (!path) return CBE_ERR_NOMEM;
    st = cbe_atomic_file_check(path, err);
    cbe_free(path);
    return st;
}

/* Puts a text in a file that is complete and on the disk under a temporary name. */
static cbe_status prepare_text(cbe_atomic_file **out, const char *path, const void *text,
                               size_t size, const char *end, cbe_error *err)
{
    cbe_status st = cbe_atomic_file_create(out, path, err);
    if (st == CBE_OK) st = cbe_atomic_file_write(*out, 0, text, size, err);
    if (st == CBE_OK && *end) st = cbe_atomic_file_write(*out, size, end, strlen(end), err);
    return st == CBE_OK ? cbe_atomic_file_sync(*out, err) : st;
}

cbe_status cbe_result_save(const char *folder, size_t n, const cbe_layer_result *results,
                           const cbe_run_record *record, const cbe_byte_buffer *table,
                           cbe_error *err)
{
    cbe_status st = CBE_ERR_NOMEM;
    cbe_safetensors_writer *tensors = NULL;
    cbe_atomic_file *json = NULL, *csv = NULL;
    char *text = NULL;
    char *tensor_path = cbe_path_join(folder, "basis.safetensors", err);
    char *json_path = cbe_path_join(folder, "basis.json", err);
    char *table_path = cbe_path_join(folder, "vectors.csv", err);
    if (!tensor_path || !json_path || !table_path) goto done;
    if ((st = cbe_result_json(&text, n, results, record, err)) != CBE_OK) goto done;
    /* All files are complete and on the disk under temporary names before any replaces an earlier
     * file. */
    if ((st = cbe_result_tensors_write(&tensors, tensor_path, n, results, err)) != CBE_OK)
        goto done;
    if ((st = prepare_text(&json, json_path, text, strlen(text), "\n", err)) != CBE_OK) goto done;
    if (table &&
        (st = prepare_text(&csv, table_path, table->bytes, table->size, "", err)) != CBE_OK)
        goto done;
    if ((st = cbe_safetensors_writer_flush(tensors, err)) != CBE_OK) goto done;
    if ((st = cbe_atomic_file_flush(json, err)) != CBE_OK) goto done;
    if (csv && (st = cbe_atomic_file_flush(csv, err)) != CBE_OK) goto done;
    st = cbe_safetensors_writer_commit(tensors, err);
    tensors = NULL;
    if (st != CBE_OK) goto done;
    st = cbe_atomic_file_commit(json, err);
    json = NULL;
    if (st != CBE_OK || !csv) goto done;
    st = cbe_atomic_file_commit(csv, err);
    csv = NULL;
done:
    cbe_safetensors_writer_abandon(tensors);
    cbe_atomic_file_abandon(json);
    cbe_atomic_file_abandon(csv);
    cbe_free(text);
    cbe_free(tensor_path);
    cbe_free(json_path);
    cbe_free(table_path);
    return st;
}
