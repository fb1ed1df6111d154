/* Hidden states that memory has no room for: they go to a file without a name, so that nothing in
 * the folder is touched, and processes that share it do not meet. (That they have the same bits as
 * in memory: test_hidden_states.c.) */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "processes/processes.h"
#include "formats/safetensors.h"
#include "support/assert_close.h"
#include "support/listing.h"
#include "support/program.h"
#include "support/random.h"
#include "support/temp_folder.h"
#include "support/tensor_file.h"

/* 16 layers of hidden size 64 take 4 kB a token, 168 MB in all: half of what --memory leaves must
 * not hold them, and what the search takes, some 135 MB, must fit it. */
enum { N_SEQUENCES = 320, LENGTH = 128, LAYERS = 16, GOLDEN_LAYERS = 3, MOST_TENSORS = 256 };

#define EXTRACT                                                                                    \
    "extract %F/deep --tokens %F/ids.safetensors --skip-positions 0 -k 1 --preset seed "           \
    "--max-iter 1 "
static const char said[] = "go to a file beside the result";

static cbe_error err;

static void check_folder(const char *folder)
{
    static listing files;
    char path[64];
    snprintf(path, sizeof path, "%%F/%s", folder);
    listing_read(&files, program_expand(path));
    assert_int_equal(files.n, 4);
    const listed_file *own =
        listing_find(&files, ".hidden-states.safetensors"); /* the name that all took once */
    assert_non_null(own);
    assert_true(own->hash == listing_hash(LISTING_BEGIN, "mine", 4));
}

static void make_folder(const char *folder)
{
    char path[96];
    snprintf(path, sizeof path, "%%F/%s", folder);
    temp_clear(program_expand(path));
    snprintf(path, sizeof path, "%%F/%s/.hidden-states.safetensors", folder);
    temp_write(program_expand(path), "mine", 4);
}

static void assert_same_basis(const char *a, const char *b)
{
    char path[2][64];
    snprintf(path[0], sizeof path[0], "%%F/%s/basis.safetensors", a);
    snprintf(path[1], sizeof path[1], "%%F/%s/basis.safetensors", b);
    assert_true(listing_hash_file(program_expand(path[0])) ==
                listing_hash_file(program_expand(path[1])));
}

static void spilled__leaves_files_of_the_folder_alone(void **state)
{
    (void)state;
    make_folder("alone");
    program_done(EXTRACT "-t 1 --memory 250M -o %F/alone");
    assert_non_null(strstr(program_err, said));
    check_folder("alone");
}

static void spilled__by_two_processes_in_one_folder_is_the_basis_of_one(void **state)
{
    (void)state;
    if (!cbe_processes_library() || !getenv("CBE_MPIEXEC")) skip(); /* built without MPI */
    make_folder("divided");
    const int status = program_run_under(
        getenv("CBE_MPIEXEC"), "-n 2 %P " EXTRACT "--memory 170M --divide tokens -o %F/divided");
    if (status != 0) fail_msg("exit status %d: %s", status, program_err);
    assert_non_null(strstr(program_err, said));
    check_folder("divided");
    assert_same_basis("divided", "alone");
}

/* The golden model with its blocks again and again. */
static void make_deep_model(void)
{
    static cbe_tensor_spec specs[MOST_TENSORS];
    static char names[MOST_TENSORS][96];
    static cbe_tensor tensors[MOST_TENSORS];
    size_t n = 0, size;
    cbe_safetensors *golden = NULL;
    cbe_safetensors_writer *writer = NULL;
    temp_clear(program_expand("%F/deep"));
    cbe_assert_ok(
        cbe_safetensors_open(&golden, program_expand("%G/models/llama/model.safetensors"), &err),
        &err);
    for (size_t i = 0; i < cbe_safetensors_count(golden); i++) {
        const char *name = cbe_safetensors_name(golden, i);
        unsigned block;
        int end = 0;
        const bool of_block = sscanf(name, "model.layers.%u.%n", &block, &end) == 1 && end > 0;
        for (unsigned copy = of_block ? block : 0; copy < LAYERS;
             copy += of_block ? GOLDEN_LAYERS : LAYERS) {
            assert_true(n < MOST_TENSORS);
            if (of_block)
                snprintf(names[n], sizeof names[n], "model.layers.%u.%s", copy, name + end);
            else
                snprintf(names[n], sizeof names[n], "%s", name);
            cbe_assert_ok(cbe_safetensors_get(golden, name, &tensors[n], &err), &err);
            specs[n] = (cbe_tensor_spec){names[n], tensors[n].dtype, tensors[n].n_dims, {0}};
            memcpy(specs[n].dims, tensors[n].dims, sizeof specs[n].dims);
            n++;
        }
    }
    cbe_assert_ok(cbe_safetensors_writer_create(&writer,
                                                program_expand("%F/deep/model.safetensors"), n,
                                                specs, 0, NULL, &err),
                  &err);
    for (size_t i = 0; i < n; i++)
        cbe_assert_ok(
            cbe_safetensors_writer_put(writer, i, 0, tensors[i].n_elements, tensors[i].data, &err),
            &err);
    cbe_assert_ok(cbe_safetensors_writer_commit(writer, &err), &err);
    cbe_safetensors_close(golden);
    char *config = temp_read(program_expand("%G/models/llama/config.json"), &size);
    char *layers = strstr(config, "\"num_hidden_layers\": 3"), whole[4096];
    assert_non_null(layers);
    layers += strlen("\"num_hidden_layers\": ");
    snprintf(whole, sizeof whole, "%.*s%d%s", (int)(layers - config), config, LAYERS, layers + 1);
    temp_write(program_expand("%F/deep/config.json"), whole, strlen(whole));
    free(config);
}

static int set_up(void **state)
{
    int64_t *ids = malloc(N_SEQUENCES * LENGTH * sizeof *ids);
    cbe_test_random random = {11};
    if (!ids || program_set_up(state) != 0) return -1;
    for (size_t i = 0; i < N_SEQUENCES * LENGTH; i++)
        ids[i] = (int64_t)(cbe_test_uniform(&random) * 60);
    write_tensor("%F/ids.safetensors", "input_ids", CBE_I64, N_SEQUENCES, LENGTH, ids);
    free(ids);
    make_deep_model();
    return 0;
}

int main(void)
{
#ifdef __SANITIZE_ADDRESS__
    return 77; /* whose own memory is more than --memory here */
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spilled__leaves_files_of_the_folder_alone),
        cmocka_unit_test(spilled__by_two_processes_in_one_folder_is_the_basis_of_one),
    };
    return cmocka_run_group_tests(tests, set_up, temp_folder_remove);
}
