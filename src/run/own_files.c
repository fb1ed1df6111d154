/* own_files.c - see own_files.h. */
#include "run/own_files.h"

#include <string.h>

#include "formats/safetensors.h"
#include "core/memory.h"
#include "formats/json.h"
#include "files/mapped_file.h"
#include "files/path.h"
#include "lens/params.h"
#include "lens/tuned_lens_config.h"

/* How a file is known again. */
typedef enum { BY_METADATA, BY_RECORD, BY_START, BY_KEYS, BY_CONFIG, BY_PARAMS } cli_mark;

static const struct {
    const char *name;
    cli_mark mark;
    const char *text; /* a value of "format" in the metadata or the record; the first bytes */
} kinds[] = {
    {"file of cbe", BY_KEYS, NULL},
    {"basis that cbe extract has written", BY_METADATA, "causal basis"},
    {"record that cbe extract has written", BY_RECORD, "causal basis"},
    {"table of cbe extract", BY_START, "layer,state,kind,"},
    {"checkpoint of cbe extract", BY_METADATA, "causal basis extraction, unfinished"},
    {"config of a lens that cbe has written", BY_CONFIG, NULL},
    {"file of a lens that cbe has written", BY_PARAMS, NULL},
    {"file of a lens that cbe has written", BY_PARAMS, NULL},
    {"checkpoint of cbe lens train", BY_KEYS, NULL},
    {"table of cbe lens train", BY_START, "step,tokens,"},
    {"record of cbe lens eval", BY_RECORD, "lens evaluation"},
    {"table of cbe lens eval", BY_START, "lens,layer,ce,"},
    {"table of cbe lens eval", BY_START, "lens,lens_layer,state_layer,"},
    {"record of cbe ablate", BY_RECORD, "subspace ablation"},
    {"table of cbe ablate", BY_START, "layer,span,rank,"},
    {"record of cbe fidelity", BY_RECORD, "lens fidelity"},
    {"table of cbe fidelity", BY_START, "layer,state,scope,"},
    {"record of cbe spectrum", BY_RECORD, "spectra"},
    {"table of cbe spectrum", BY_START, "layer,state,sum,"},
    {"checkpoint of cbe spectrum", BY_METADATA, "spectra, unfinished"},
    {"chart of cbe", BY_START, "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\""},
};
_Static_assert(sizeof kinds / sizeof *kinds == CBE_N_OWN_FILES, "one for each kind");

const char *cbe_own_file_name(cbe_own_file kind)
{
    return kinds[kind].name;
}

/* What only a reader of its kind of file finds wrong means that it is none; lack of memory or a
 * disk's failure says nothing. */
static cbe_status tell(cbe_status st, bool *own)
{
    *own = st == CBE_OK;
    return st == CBE_ERR_NOMEM || st == CBE_ERR_SYSTEM ? st : CBE_OK;
}

/* The sets of keys and tensors by which other commands' files are known. */
static bool has_keys(const cbe_safetensors *file, cbe_own_file kind)
{
    if (kind == CBE_OWN_TRAIN_CHECKPOINT)
        return cbe_safetensors_metadata(file, "next-sequence") &&
               cbe_safetensors_metadata(file, "optimizer") && cbe_safetensors_has(file, "losses");
    const bool captured =
        cbe_safetensors_metadata(file, "n_layers") && cbe_safetensors_has(file, "input_ids");
    const bool decoder = cbe_safetensors_metadata(file, "norm_eps") &&
                         cbe_safetensors_has(file, "unembedding.weight");
    const bool probed = cbe_safetensors_metadata(file, "ablation") &&
                        cbe_safetensors_metadata(file, "skip_positions");
    return captured || decoder || probed;
}

static cbe_status look_at_tensors(cbe_own_file kind, const char *path, bool *own, cbe_error *err)
{
    cbe_safetensors *file = NULL;
    const cbe_status st = cbe_safetensors_open(&file, path, err);
    if (st != CBE_OK) return tell(st, own);
    const char *format = cbe_safetensors_metadata(file, "format");
    *own = kinds[kind].mark == BY_KEYS ? has_keys(file, kind)
                                       : format && strcmp(format, kinds[kind].text) == 0;
    cbe_safetensors_close(file);
    return CBE_OK;
}

static cbe_status look_at_text(cbe_own_file kind, const char *path, bool *own, cbe_error *err)
{
    const char *text = kinds[kind].text;
    cbe_mapped_file map;
    cbe_json_problem problem;
    yyjson_doc *doc = NULL;
    cbe_status st = cbe_mapped_file_open(&map, path, err);
    if (st != CBE_OK) return tell(st, own);
    if (kinds[kind].mark == BY_START) {
        *own = map.size >= strlen(text) && memcmp(map.data, text, strlen(text)) == 0;
    } else {
        st = cbe_json_parse(&doc, (const char *)map.data, map.size, NULL, path, &problem, err);
        const char *format = cbe_json_text(yyjson_doc_get_root(doc), "format");
        *own = format && strcmp(format, text) == 0;
        yyjson_doc_free(doc);
    }
    cbe_mapped_file_close(&map);
    return st == CBE_ERR_NOMEM ? st : CBE_OK;
}

static cbe_status look_at_lens_config(const char *path, bool *own, cbe_error *err)
{
    size_t n_layers, hidden_size;
    bool bias;
    cbe_tuned_lens_config *config = NULL;
    cbe_status st =
        cbe_tuned_lens_config_read(&config, path, &n_layers, &hidden_size, &bias, NULL, err);
    if (st == CBE_OK && !cbe_tuned_lens_config_get(config, CBE_LENS_WRITTEN_BY))
        st = CBE_ERR_FORMAT;
    cbe_tuned_lens_config_free(config);
    return tell(st, own);
}

/* Parameters of a lens whose config.json is cbe's. A run that was killed may have left none. */
static cbe_status look_at_lens(cbe_own_file kind, const char *path, bool *own, cbe_error *err)
{
    cbe_lens_params *params = NULL;
    cbe_path_kind config = CBE_PATH_NOTHING;
    char *folder = cbe_path_folder_of(path, err), *config_path = NULL;
    if (folder) config_path = cbe_path_join(folder, "config.json", err);
    cbe_status st = config_path ? cbe_path_look(config_path, &config, err) : CBE_ERR_NOMEM;
    *own = true;
    if (st == CBE_OK && config != CBE_PATH_NOTHING) st = look_at_lens_config(config_path, own, err);
    cbe_free(folder);
    cbe_free(config_path);
    if (st != CBE_OK || !*own) return st;
    st = cbe_lens_params_open(&params, path,
                              kind == CBE_OWN_LENS_PT ? CBE_LENS_PT : CBE_LENS_SAFETENSORS, err);
    cbe_tensor t = {0};
    if (st == CBE_OK && cbe_lens_params_count(params) > 0)
        st = cbe_lens_params_tensor(params, 0, &t, err);
    const char *dot = t.name ? strchr(t.name, '.') : NULL;
    const bool named = dot && (strcmp(dot, ".weight") == 0 || strcmp(dot, ".bias") == 0) &&
                       strspn(t.name, "0123456789") == (size_t)(dot - t.name);
    if (st == CBE_OK && !named) st = CBE_ERR_FORMAT;
    cbe_lens_params_close(params);
    return tell(st, own);
}

cbe_status cbe_is_own_file(cbe_own_file kind, const char *path, bool *own, cbe_error *err)
{
    *own = false;
    switch (kinds[kind].mark) {
    case BY_METADATA:
    case BY_KEYS: return look_at_tensors(kind, path, own, err);
    case BY_RECORD:
    case BY_START: return look_at_text(kind, path, own, err);
    case BY_CONFIG: return look_at_lens_config(path, own, err);
    case BY_PARAMS: return look_at_lens(kind, path, own, err);
    }
    return CBE_OK;
}
