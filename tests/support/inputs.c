/* inputs.c - see inputs.h. */
#include "support/inputs.h"

#include "files/input_list.h"
#include "files/sha256.h"
#include "model/source.h"
#include "support/assert_close.h"

void inputs_read(cbe_inputs *inputs, cbe_input_role role, const char *path)
{
    cbe_error err;
    cbe_mapped_file file = {0};
    inputs->digests = true;
    cbe_assert_ok(cbe_mapped_file_open(&file, path, &err), &err);
    cbe_assert_ok(cbe_inputs_add(inputs, role, &file, &err), &err);
    cbe_mapped_file_close(&file);
}

void inputs_read_model(cbe_inputs *inputs, const char *path)
{
    cbe_error err;
    cbe_source *source = NULL;
    inputs->digests = true;
    cbe_assert_ok(cbe_source_open(&source, path, &err), &err);
    cbe_assert_ok(cbe_source_note(source, inputs, &err), &err);
    cbe_source_close(source);
}

const char *file_sha256(const char *path)
{
    static char digests[4][CBE_SHA256_TEXT];
    static unsigned next;
    cbe_error err;
    cbe_mapped_file file = {0};
    char *digest = digests[next++ % 4];
    cbe_assert_ok(cbe_mapped_file_open(&file, path, &err), &err);
    cbe_sha256_mapping(&file, digest);
    cbe_mapped_file_close(&file);
    return digest;
}
