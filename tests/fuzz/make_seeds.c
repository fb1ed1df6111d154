/*
 * make_seeds.c - seeds that no fixture is: checkpoints, small models, and the pickles of PyTorch's
 * files.
 *
 *   make_seeds GOLDEN OUT
 *     writes OUT/TARGET/... of the targets safetensors, checkpoint, train_checkpoint,
 *     spectra_checkpoint, model and pickle
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zip.h>

#include "formats/safetensors.h"
#include "checkpoint_run.h"
#include "spectra_run.h"
#include "train_run.h"

enum { PATH_SPACE = 1024 };

static const char *golden, *out;
static cbe_error err;

static void must(bool done, const char *what)
{
    if (done) return;
    fprintf(stderr, "make_seeds: %s: %s\n", what, err.message);
    exit(1);
}

/* OUT/TARGET/NAME; the folder is made. */
static const char *seed_path(const char *target, const char *name)
{
    static char path[PATH_SPACE];
    snprintf(path, sizeof path, "%s/%s", out, target);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/%s/%s", out, target, name);
    return path;
}

static void write_seed(const char *target, const char *name, const void *head, size_t head_size,
                       const void *data, size_t size)
{
    FILE *file = fopen(seed_path(target, name), "wb");
    must(file && fwrite(head, 1, head_size, file) == head_size &&
             fwrite(data, 1, size, file) == size && fclose(file) == 0,
         name);
}

static void write_checkpoints(void)
{
    const double vectors[RUN_VECTORS * RUN_WIDTH] = {1, 0, 0, 0, 1, 0},
                                       runner_up[RUN_WIDTH] = {0, 0, 1}, energy = 0.25;
    const cbe_start_kind kind = CBE_FROM_TOKEN;
    cbe_vector_record records[RUN_VECTORS] = {{.energy = 2, .evaluations = 9, .starts = 3},
                                              {.energy = 1, .n_maxima = 2, .start = CBE_FROM_LENS}};
    cbe_vector_report reports[RUN_VECTORS] = {{.standard_error = 0.5}, {.optimal_energy = 0.5}};
    cbe_search_point point = {.hidden_size = RUN_WIDTH,
                              .n_vectors = 1,
                              .vectors = vectors,
                              .records = records,
                              .random = {1, 2, 3, 4}};
    cbe_layer_result result = {.layer = run_layers[0], .reports = reports, .seconds = 1};
    result.basis = (cbe_basis){.hidden_size = RUN_WIDTH,
                               .n_vectors = RUN_VECTORS,
                               .vectors = (double *)(uintptr_t)vectors,
                               .records = records};
    cbe_checkpoint *c = NULL;
    must(run_create(&c, seed_path("checkpoint", "first-vector"), &err) == CBE_OK, "checkpoint");
    must(cbe_checkpoint_found(c, run_layers[0], &point, &err) == CBE_OK, "checkpoint");
    cbe_checkpoint_free(c);
    must(run_create(&c, seed_path("checkpoint", "second-layer"), &err) == CBE_OK, "checkpoint");
    must(cbe_checkpoint_done(c, &result, &err) == CBE_OK, "checkpoint");
    point.n_runner_ups = 1;
    point.runner_ups = runner_up;
    point.runner_up_energies = &energy;
    point.runner_up_kinds = &kind;
    must(cbe_checkpoint_found(c, run_layers[1], &point, &err) == CBE_OK, "checkpoint");
    cbe_checkpoint_free(c);

    cbe_train_state state;
    cbe_lens_train_options options;
    must(train_run_init(&state, &options, seed_path("train_checkpoint", "first-step"), &err) ==
             CBE_OK,
         "training");
    state.step = state.pending = 1;
    must(cbe_train_checkpoint_save(&state, &err) == CBE_OK, "training");
    cbe_lens_optimizer_free(&state.optimizers[0]);
}

/* A group of one state is done, and the other one's sums have two sequences. */
static void write_spectra_checkpoint(void)
{
    enum { SUMS = SPECTRA_WIDTH * (SPECTRA_WIDTH + 3) / 2 };
    double lists[2][SPECTRA_WIDTH] = {{2, 1}, {0.5, 0.25}};
    cbe_long_sum sums[SUMS];
    for (size_t i = 0; i < SUMS; i++) sums[i] = (cbe_long_sum){(double)i, 0x1p-60};
    cbe_moments moments = {SPECTRA_WIDTH, 2, sums};
    const cbe_state_spectrum done = {.variances = lists[0], .energies = lists[1]};
    const cbe_spectra_state state = {.place = {1, 1, 2},
                                     .hidden_size = SPECTRA_WIDTH,
                                     .states = spectra_states,
                                     .n_done = 1,
                                     .done = &done,
                                     .n_at_work = 1,
                                     .hidden = &moments,
                                     .gradients = &moments};
    const cbe_spectra_checkpoint run = spectra_run(seed_path("spectra_checkpoint", "second-group"));
    must(cbe_spectra_checkpoint_save(&run, &state, &err) == CBE_OK, "spectra");
}

/* A model of one block: sizes as in the configurations below. */
static void write_model(const char *name, const char *config, size_t n,
                        const cbe_tensor_spec *specs)
{
    enum { MOST = 256 };
    float numbers[MOST];
    char path[PATH_SPACE];
    cbe_safetensors_writer *writer = NULL;
    for (size_t i = 0; i < MOST; i++) numbers[i] = (float)(i % 7) / 4 - 0.5f;
    snprintf(path, sizeof path, "%s/made.safetensors", out);
    must(cbe_safetensors_writer_create(&writer, path, n, specs, 0, NULL, &err) == CBE_OK, name);
    for (size_t i = 0; i < n; i++) {
        size_t count = 1;
        for (size_t k = 0; k < specs[i].n_dims; k++) count *= specs[i].dims[k];
        must(count <= MOST &&
                 cbe_safetensors_writer_put(writer, i, 0, count, numbers, &err) == CBE_OK,
             name);
    }
    must(cbe_safetensors_writer_commit(writer, &err) == CBE_OK, name);
    char data[8192];
    FILE *file = fopen(path, "rb");
    must(file != NULL, name);
    const size_t size = fread(data, 1, sizeof data, file);
    fclose(file);
    remove(path);
    must(size < sizeof data, name);
    write_seed("model", name, config, strlen(config) + 1, data, size);
}

static void write_models(void)
{
#define NAMED(name, ...)                                                                           \
    {                                                                                              \
        name, CBE_F32, sizeof((size_t[]){__VA_ARGS__}) / sizeof(size_t),                           \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
    static const cbe_tensor_spec llama[] = {
        NAMED("model.embed_tokens.weight", 5, 4),
        NAMED("model.norm.weight", 4),
        NAMED("lm_head.weight", 5, 4),
        NAMED("model.layers.0.input_layernorm.weight", 4),
        NAMED("model.layers.0.post_attention_layernorm.weight", 4),
        NAMED("model.layers.0.self_attn.q_proj.weight", 4, 4),
        NAMED("model.layers.0.self_attn.k_proj.weight", 2, 4),
        NAMED("model.layers.0.self_attn.v_proj.weight", 2, 4),
        NAMED("model.layers.0.self_attn.o_proj.weight", 4, 4),
        NAMED("model.layers.0.mlp.gate_proj.weight", 6, 4),
        NAMED("model.layers.0.mlp.up_proj.weight", 6, 4),
        NAMED("model.layers.0.mlp.down_proj.weight", 4, 6),
    };
    static const cbe_tensor_spec gpt2[] = {
        NAMED("wte.weight", 5, 4),
        NAMED("wpe.weight", 8, 4),
        NAMED("ln_f.weight", 4),
        NAMED("ln_f.bias", 4),
        NAMED("h.0.ln_1.weight", 4),
        NAMED("h.0.ln_1.bias", 4),
        NAMED("h.0.ln_2.weight", 4),
        NAMED("h.0.ln_2.bias", 4),
        NAMED("h.0.attn.c_attn.weight", 4, 12),
        NAMED("h.0.attn.c_attn.bias", 12),
        NAMED("h.0.attn.c_proj.weight", 4, 4),
        NAMED("h.0.attn.c_proj.bias", 4),
        NAMED("h.0.mlp.c_fc.weight", 4, 16),
        NAMED("h.0.mlp.c_fc.bias", 16),
        NAMED("h.0.mlp.c_proj.weight", 16, 4),
        NAMED("h.0.mlp.c_proj.bias", 4),
    };
#undef NAMED
    write_model("llama",
                "{\"model_type\":\"llama\",\"hidden_size\":4,\"num_hidden_layers\":1,\"num_"
                "attention_heads\":2,\"num_key_value_heads\":1,"
                "\"intermediate_size\":6,\"vocab_size\":5,\"rms_norm_eps\":1e-5,\"max_position_"
                "embeddings\":8,\"rope_theta\":10000.0,"
                "\"hidden_act\":\"silu\",\"tie_word_embeddings\":false}",
                sizeof llama / sizeof *llama, llama);
    write_model("gpt2",
                "{\"model_type\":\"gpt2\",\"n_embd\":4,\"n_layer\":1,\"n_head\":2,\"n_positions\":"
                "8,\"n_inner\":16,\"vocab_size\":5,"
                "\"layer_norm_epsilon\":1e-5,\"activation_function\":\"gelu_new\"}",
                sizeof gpt2 / sizeof *gpt2, gpt2);
}

/* Hidden states with tokens and a mask, and a decoder. */
static void write_tensors(void)
{
    static const float numbers[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    static const int64_t ids[4] = {3, 1, 4, 1}, derangement[4] = {1, 0, 3, 2},
                         mask[4] = {1, 1, 1, 1};
    static const cbe_tensor_spec states[] = {{"hidden_states.0", CBE_F32, 3, {2, 2, 3}},
                                             {"hidden_states.2", CBE_F32, 3, {2, 2, 3}},
                                             {"input_ids", CBE_I64, 2, {2, 2}},
                                             {"derangement", CBE_I64, 1, {4}},
                                             {"attention_mask", CBE_I64, 2, {2, 2}}};
    static const void *const data[] = {numbers, numbers, ids, derangement, mask};
    cbe_safetensors_writer *writer = NULL;
    must(cbe_safetensors_writer_create(&writer, seed_path("safetensors", "hidden-states"), 5,
                                       states, 0, NULL, &err) == CBE_OK,
         "states");
    for (size_t i = 0; i < 5; i++)
        must(cbe_safetensors_writer_put(writer, i, 0, i < 2 ? 12 : 4, data[i], &err) == CBE_OK,
             "states");
    must(cbe_safetensors_writer_commit(writer, &err) == CBE_OK, "states");
    float unembedding[12], gamma[3] = {1, 1, 1}, beta[3] = {0};
    memcpy(unembedding, numbers, sizeof unembedding);
    const cbe_decoder decoder = {.hidden_size = 3,
                                 .vocab_size = 4,
                                 .norm_eps = 1e-5,
                                 .gamma = gamma,
                                 .beta = beta,
                                 .unembedding = unembedding};
    must(cbe_decoder_save(&decoder, seed_path("safetensors", "decoder"), &err) == CBE_OK,
         "decoder");
}

/* data.pkl of an archive, as it is. */
static void write_pickle(const char *path, const char *name)
{
    static unsigned char data[1 << 16];
    zip_stat_t info;
    zip_t *zip = zip_open(path, ZIP_RDONLY, NULL);
    for (zip_int64_t i = 0; zip && i < zip_get_num_entries(zip, 0); i++) {
        if (zip_stat_index(zip, (zip_uint64_t)i, 0, &info) != 0 || !strstr(info.name, "/data.pkl"))
            continue;
        zip_file_t *entry = zip_fopen_index(zip, (zip_uint64_t)i, 0);
        const zip_int64_t n = entry ? zip_fread(entry, data, sizeof data) : -1;
        if (entry) zip_fclose(entry);
        if (n > 0) write_seed("pickle", name, "", 0, data, (size_t)n);
    }
    if (zip) zip_discard(zip);
}

static void write_pickles(const char *folder)
{
    char path[PATH_SPACE];
    snprintf(path, sizeof path, "%s/torch/%s", golden, folder);
    DIR *files = opendir(path);
    must(files != NULL, path);
    for (const struct dirent *file; (file = readdir(files));) {
        char whole[PATH_SPACE + 260];
        snprintf(whole, sizeof whole, "%s/%s", path, file->d_name);
        if (strstr(file->d_name, ".pt")) write_pickle(whole, file->d_name);
    }
    closedir(files);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: make_seeds GOLDEN OUT\n");
        return 2;
    }
    golden = argv[1];
    out = argv[2];
    write_tensors();
    write_checkpoints();
    write_spectra_checkpoint();
    write_models();
    write_pickles("good");
    write_pickles("bad");
    return 0;
}
