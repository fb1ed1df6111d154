/* model_place.c - see model_place.h. */
#include "formats/model_place.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "core/fail.h"
#include "files/path.h"

/* Whether a path is written as OWNER/NAME, as models of the Hugging Face hub are called. */
static bool is_hub_name(const char *path)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789-_.";
    const size_t owner = strspn(path, allowed);
    if (owner == 0 || path[owner] != '/' || path[0] == '.') return false;
    const char *name = path + owner + 1, *dot = strrchr(name, '.');
    const size_t length = strspn(name, allowed);
    if (dot && (strcasecmp(dot, ".gguf") == 0 || strcasecmp(dot, ".safetensors") == 0))
        return false;
    return length > 0 && !name[length];
}

/* Finds the first GGUF file of a folder, by name; false: there is none. */
static bool find_gguf(const char *folder, char *name, size_t size)
{
    DIR *list = opendir(folder);
    bool found = false;
    for (const struct dirent *entry; list && (entry = readdir(list));) {
        const char *dot = strrchr(entry->d_name, '.');
        if (!dot || strcasecmp(dot, ".gguf") != 0 || strncmp(entry->d_name, "mmproj", 6) == 0)
            continue;
        if (!found || strcmp(entry->d_name, name) < 0) snprintf(name, size, "%s", entry->d_name);
        found = true;
    }
    if (list) closedir(list);
    return found;
}

cbe_status cbe_model_place_explain(const char *folder, cbe_error *err)
{
    char name[256];
    bool adapter;
    const cbe_status st = cbe_path_has(folder, "adapter_config.json", &adapter, err);
    if (st != CBE_OK) return st;
    if (adapter)
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                        "%s: is an adapter (adapter_config.json), not a model: merge it into its "
                        "base model with PEFT's merge_and_unload, and give what save_pretrained "
                        "writes of that",
                        folder);
    if (find_gguf(folder, name, sizeof name))
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%s: is a folder with GGUF files; give the file itself, as %s/%s", folder,
                        folder, name);
    return CBE_OK;
}

cbe_status cbe_model_place_look(const char *path, const char *needed, bool *is_folder,
                                cbe_error *err)
{
    cbe_path_kind kind;
    bool has = false;
    cbe_status st = cbe_path_look(path, &kind, err);
    if (st != CBE_OK) return st;
    if (kind == CBE_PATH_NOTHING && is_hub_name(path))
        return cbe_fail(err, CBE_ERR_IO, -1,
                        "%s: no such file or folder; a model of the Hugging Face hub must be here "
                        "first: hf download %s --local-dir FOLDER",
                        path, path);
    *is_folder = kind == CBE_PATH_FOLDER;
    if (!*is_folder) return CBE_OK;
    if ((st = cbe_path_has(path, needed, &has, err)) != CBE_OK) return st;
    return has ? CBE_OK : cbe_model_place_explain(path, err);
}
