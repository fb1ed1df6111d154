/* input_list.c - see input_list.h and files/inputs.h. */
#include "files/input_list.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "core/fail.h"
#include "core/memory.h"
#include "files/sha256.h"

const char *cbe_input_role_name(cbe_input_role role)
{
    static const char *const names[] = {"model",   "model", "tokens",        "hidden_states",
                                        "decoder", "text",  "held_out_text", "lens",
                                        "init",    "basis", "vectors"};
    _Static_assert(sizeof names / sizeof *names == CBE_N_INPUT_ROLES, "in the order of the enum");
    return names[role];
}

void cbe_inputs_free(cbe_inputs *inputs)
{
    for (size_t i = 0; i < inputs->n; i++) cbe_free(inputs->files[i].path);
    cbe_free(inputs->files);
    *inputs = (cbe_inputs){.digests = inputs->digests};
}

cbe_input_state cbe_input_look(const cbe_input *input)
{
    struct stat info;
    if (!input->identity.known) return CBE_INPUT_SAME;
    if (stat(input->path, &info) != 0)
        return errno == ENOENT || errno == ENOTDIR ? CBE_INPUT_GONE : CBE_INPUT_CHANGED;
    const cbe_file_identity now = cbe_file_identity_of(&info);
    return cbe_file_identity_same(&now, &input->identity) ? CBE_INPUT_SAME : CBE_INPUT_CHANGED;
}

cbe_status cbe_inputs_add_read(cbe_inputs *inputs, cbe_input_role role, const char *path,
                               const cbe_file_identity *identity, uint64_t n_bytes,
                               const char *sha256, cbe_error *err)
{
    if (!inputs) return CBE_OK;
    cbe_input *files = cbe_alloc(inputs->n + 1, sizeof *files, "inputs", err);
    char *copy = files ? cbe_copy_string(path, strlen(path), err) : NULL;
    if (!copy) {
        cbe_free(files);
        return CBE_ERR_NOMEM;
    }
    size_t place = inputs->n;
    while (place > 0 && inputs->files[place - 1].role > role) place--;
    if (place) memcpy(files, inputs->files, place * sizeof *files);
    if (place < inputs->n)
        memcpy(files + place + 1, inputs->files + place, (inputs->n - place) * sizeof *files);
    files[place] =
        (cbe_input){.role = role, .path = copy, .n_bytes = n_bytes, .identity = *identity};
    memcpy(files[place].sha256, sha256, strlen(sha256) + 1);
    cbe_free(inputs->files);
    inputs->files = files;
    inputs->n++;
    return CBE_OK;
}

static bool is_of_model(cbe_input_role role)
{
    return role == CBE_INPUT_MODEL || role == CBE_INPUT_MODEL_BESIDE;
}

cbe_status cbe_inputs_add(cbe_inputs *inputs, cbe_input_role role, const cbe_mapped_file *file,
                          cbe_error *err)
{
    char sha256[CBE_SHA256_TEXT] = "";
    if (!inputs) return CBE_OK;
    for (size_t i = 0; i < inputs->n && is_of_model(role); i++)
        if (is_of_model(inputs->files[i].role) && strcmp(inputs->files[i].path, file->path) == 0 &&
            cbe_file_identity_same(&inputs->files[i].identity, &file->identity))
            return CBE_OK;
    if (inputs->digests) cbe_sha256_mapping(file, sha256);
    return cbe_inputs_add_read(inputs, role, file->path, &file->identity, file->size, sha256, err);
}
