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

cbe_status cbe_result_save(const char *folder, size_t n, const cbe_layer_result *results,
                           const cbe_run_record *record, cbe_error *err)
{
    cbe_status st = CBE_ERR_NOMEM;
    cbe_safetensors_writer *tensors = NULL;
    cbe_atomic_file *json = NULL;
    char *text = NULL;
    char *tensor_path = cbe_path_join(folder, "basis.safetensors", err);
    char *json_path = cbe_path_join(folder, "basis.json", err);
    if (!tensor_path || !json_path) goto done;
    if ((st = cbe_result_json(&text, n, results, record, err)) != CBE_OK) goto done;
    /* Both files are complete and on the disk under temporary names before either replaces an
     * earlier file. */
    if ((st = cbe_result_tensors_write(&tensors, tensor_path, n, results, record->site, err)) !=
        CBE_OK)
        goto done;
    if ((st = cbe_atomic_file_create(&json, json_path, err)) != CBE_OK) goto done;
    if ((st = cbe_atomic_file_write(json, 0, text, strlen(text), err)) != CBE_OK) goto done;
    if ((st = cbe_atomic_file_write(json, strlen(text), "\n", 1, err)) != CBE_OK) goto done;
    if ((st = cbe_atomic_file_sync(json, err)) != CBE_OK) goto done;
    if ((st = cbe_safetensors_writer_flush(tensors, err)) != CBE_OK) goto done;
    if ((st = cbe_atomic_file_flush(json, err)) != CBE_OK) goto done;
    st = cbe_safetensors_writer_commit(tensors, err);
    tensors = NULL;
    if (st != CBE_OK) goto done;
    st = cbe_atomic_file_commit(json, err);
    json = NULL;
done:
    cbe_safetensors_writer_abandon(tensors);
    cbe_atomic_file_abandon(json);
    cbe_free(text);
    cbe_free(tensor_path);
    cbe_free(json_path);
    return st;
}
