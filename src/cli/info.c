/* info.c - cbe info: what a model, lens or tensor file holds. */
#include <string.h>

#include "formats/gguf.h"
#include "model/model.h"
#include "formats/safetensors.h"
#include "lens/tuned_lens.h"
#include "cli/commands.h"
#include "cli/arguments.h"
#include "run/options.h"
#include "cli/print.h"
#include "cli/progress.h"
#include "core/fail.h"
#include "formats/array_file.h"
#include "files/path.h"

typedef struct {
    const char *path;
    bool tensors;
} info_options;

#define AT(field) offsetof(info_options, field)
/* clang-format off */
static const cbe_option options[] = {
    {"tensors", 0, OPT_FLAG, AT(tensors), NULL, NULL, "list the tensors of a model file too", NULL, 0},
    {NULL, 0, OPT_FLAG, 0, NULL, NULL, NULL, NULL, 0},
};
/* clang-format on */

const cli_command cli_info_command = {
    "info",
    "FILE|MODEL|LENS [--tensors]",
    "what a model, lens or tensor file holds",
    "FILE is a .safetensors, .gguf, .npz or .npy file, MODEL a .gguf file or a Hugging Face "
    "folder,\n"
    "LENS a folder with a tuned lens.",
    options,
    1,
    {AT(path)},
};

static void print_tensor(const char *name, const char *type, const size_t *shape, size_t n_dims)
{
    char sizes[16 * 24] = "";
    for (size_t k = 0, n = 0; k < n_dims && n < sizeof sizes; k++)
        n += (size_t)snprintf(sizes + n, sizeof sizes - n, "%s%zu", k ? ", " : "", shape[k]);
    cli_line(stdout, "  %-44s %-5s [%s]", name, type, sizes);
}

static cbe_status info_safetensors(const char *path, cbe_error *err)
{
    cbe_safetensors *file = NULL;
    const cbe_status st = cbe_safetensors_open(&file, path, err);
    if (st != CBE_OK) return st;
    static const char *const keys[] = {"format",        "version",       "norm",     "norm_eps",
                                       "logit_softcap", "n_layers",      "ablation", "objective",
                                       "site",          "skip_positions"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *value = cbe_safetensors_metadata(file, keys[i]);
        if (value) cli_line(stdout, "%s: %s", keys[i], value);
    }
    const size_t n = cbe_safetensors_count(file);
    printf("tensors: %zu\n", n);
    for (size_t i = 0; i < n; i++) {
        size_t n_dims;
        const size_t *shape = cbe_safetensors_shape(file, i, &n_dims);
        print_tensor(cbe_safetensors_name(file, i), cbe_safetensors_dtype_name(file, i), shape,
                     n_dims);
    }
    cbe_safetensors_close(file);
    return CBE_OK;
}

static cbe_status info_gguf(const char *path, bool tensors, cbe_error *err)
{
    cbe_gguf *file = NULL;
    const cbe_status st = cbe_gguf_open(&file, path, err);
    if (st != CBE_OK) return st;
    cbe_span key;
    char value[200];
    for (size_t i = 0; cbe_gguf_describe(file, i, &key, value, sizeof value); i++)
        cli_line(stdout, "%.*s: %s", (int)key.length, key.data, value);
    const size_t n = cbe_gguf_count(file);
    printf("tensors: %zu\n", n);
    for (size_t i = 0; i < n && tensors; i++) {
        size_t n_dims;
        const size_t *shape = cbe_gguf_shape(file, i, &n_dims);
        print_tensor(cbe_gguf_name(file, i), cbe_gguf_type_name(file, i), shape, n_dims);
    }
    cbe_gguf_close(file);
    return CBE_OK;
}

/* Lists NumPy's arrays. An array that cannot be read is listed with the reason. */
static cbe_status info_arrays(const char *path, cbe_error *err)
{
    cbe_array_file *file = NULL;
    const cbe_status st = cbe_array_file_open(&file, path, "array", err);
    if (st != CBE_OK) return st;
    const size_t n = cbe_array_file_count(file);
    printf("arrays: %zu\n", n);
    for (size_t i = 0; i < n; i++) {
        cbe_tensor t;
        cbe_error why;
        const char *name = cbe_array_file_name(file, i);
        if (cbe_array_file_describe(file, name, &t, &why) == CBE_OK)
            print_tensor(name, cbe_dtype_get(t.dtype)->name, t.dims, t.n_dims);
        else
            cli_line(stdout, "  %-44s %s", name, cbe_error_typed(&why));
    }
    cbe_array_file_close(file);
    return CBE_OK;
}

static cbe_status info_model(const char *path, cbe_error *err)
{
    cbe_model *model = NULL;
    cli_progress progress;
    cbe_remarks remarks = {0};
    const cbe_model_options how = {.remarks = &remarks};
    cli_progress_init(&progress, true, false);
    const cbe_status st = cbe_model_open_with(&model, path, &how, err);
    if (st == CBE_OK) cbe_warn_of_remarks(&progress.watch, &remarks);
    cbe_remarks_free(&remarks);
    if (st != CBE_OK) return st;
    const cbe_model_config *c = cbe_model_get_config(model);
    const cbe_decoder *decoder = cbe_model_decoder(model);
    cli_line(stdout, "architecture: %s", c->architecture);
    printf("blocks: %zu\nhidden size: %zu\nvocabulary: %zu\nheads: %zu of %zu, %zu for keys and "
           "values\n"
           "final norm: %s, eps %g\n",
           c->n_layers, c->hidden_size, c->vocab_size, c->n_heads, c->head_size, c->n_kv_heads,
           cbe_norm_name(decoder->norm), decoder->norm_eps);
    cbe_model_close(model);
    return CBE_OK;
}

static cbe_status info_lens(const char *path, cbe_error *err)
{
    cbe_lens_format format;
    cbe_tuned_lens *lens = NULL;
    cbe_tuned_lens_config *config = NULL;
    cbe_status st = cbe_tuned_lens_find(path, &format, err);
    if (st == CBE_OK) st = cbe_tuned_lens_load(&lens, &config, path, NULL, err);
    if (st != CBE_OK) return st;
    printf("tuned lens, in %s\nlayers: %zu\nhidden size: %zu\nbias: %s\n",
           cbe_lens_format_file(format), lens->n_layers, lens->hidden_size,
           lens->bias ? "yes" : "no");
    static const char *const keys[] = {"base_model_name_or_path", "base_model_revision",
                                       "unembed_hash", "lens_type"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *value = cbe_tuned_lens_config_get(config, keys[i]);
        if (value) cli_line(stdout, "%s: %s", keys[i], value);
    }
    cbe_tuned_lens_config_free(config);
    cbe_tuned_lens_free(lens);
    return CBE_OK;
}

/* Whether a folder has the parameters of a lens. A model folder has no file of these names. */
static cbe_status info_folder(const char *folder, cbe_error *err)
{
    bool pt, safetensors;
    cbe_status st = cbe_path_has(folder, cbe_lens_format_file(CBE_LENS_PT), &pt, err);
    if (st == CBE_OK)
        st = cbe_path_has(folder, cbe_lens_format_file(CBE_LENS_SAFETENSORS), &safetensors, err);
    if (st != CBE_OK) return st;
    return pt || safetensors ? info_lens(folder, err) : info_model(folder, err);
}

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* Whether a file that is not called so is a GGUF file, as in the stores of some programs. */
static bool starts_as_gguf(const char *path)
{
    char magic[4] = "";
    FILE *file = fopen(path, "rb");
    const bool is = file && fread(magic, 1, sizeof magic, file) == sizeof magic &&
                    memcmp(magic, "GGUF", sizeof magic) == 0;
    if (file) fclose(file);
    return is;
}

int cli_info(int argc, char **argv)
{
    info_options given = {0};
    cbe_error err = {0};
    cbe_path_kind kind;
    bool help;
    cbe_status st = cli_parse(&cli_info_command, argc, argv, &given, &help, &err);
    if (st == CBE_OK && help) {
        cli_print_help(&cli_info_command);
        return cli_finish_output();
    }
    if (st == CBE_OK && !given.path)
        st = cbe_fail(&err, CBE_ERR_ARG, -1, "usage: cbe info %s", cli_info_command.usage);
    if (st == CBE_OK) st = cbe_path_look(given.path, &kind, &err);
    if (st == CBE_OK) {
        if (kind == CBE_PATH_FOLDER)
            st = info_folder(given.path, &err);
        else if (ends_with(given.path, ".gguf") ||
                 (kind == CBE_PATH_FILE && starts_as_gguf(given.path)))
            st = info_gguf(given.path, given.tensors, &err);
        else if (ends_with(given.path, ".npz") || ends_with(given.path, ".npy"))
            st = info_arrays(given.path, &err);
        else
            st = info_safetensors(given.path, &err);
    }
    return st == CBE_OK ? cli_finish_output() : cli_report(&err);
}
