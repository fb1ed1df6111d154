/*
 * Options of every command: the first byte chooses it, arguments are the lines that follow.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run/inputs.h"
#include "run/options.h"
#include "core/fail.h"
#include "core/memory.h"
#include "fuzz_input.h"
#include "support/command_tables.h"

enum { MOST_ARGUMENTS = 48, VALUE = 512 };

/* What is recorded of an option, typed again, gives the same again. */
static void retype(const cli_command *command, const cbe_option *option, const char *value,
                   size_t size)
{
    char argument[2 * VALUE], again[VALUE], *arguments[] = {argument};
    bool help;
    cbe_error err = {0};
    void *fields = calloc(1, size);
    fuzz_expect(fields != NULL, "there is memory for options");
    snprintf(argument, sizeof argument, "--%s=%s", option->name, value);
    if (!fuzz_succeeded(cli_parse(command, 1, arguments, fields, &help, &err), &err))
        fprintf(stderr, "fuzz: %s\n", cbe_error_typed(&err));
    fuzz_expect(err.code == CBE_OK, "a value that is recorded can be typed");
    fuzz_expect(cbe_option_text(option, fields, again, sizeof again) && strcmp(value, again) == 0,
                "and means the same");
    cli_free(command, fields);
    free(fields);
}

static void look_at(const cli_command *command, const void *fields, size_t size)
{
    cbe_error err = {0};
    for (const cbe_option *o = command->options; o->name; o++) {
        char value[VALUE];
        const void *field = (const char *)fields + o->field;
        const bool given = cbe_option_text(o, fields, value, sizeof value);
        if (given && o->kind != OPT_FLAG && o->kind != OPT_STRING && o->kind != OPT_FILES &&
            strlen(value) < VALUE - 24)
            retype(command, o, value, size);
        if (o->kind == OPT_STRING && strcmp(o->name, "lens") == 0 && *(const char *const *)field) {
            cbe_lens_choice lens;
            fuzz_succeeded(cbe_parse_lens(&lens, *(const char *const *)field, &err), &err);
        }
        if (o->kind == OPT_LAYERS) {
            size_t *layers = NULL, n = 0;
            if (fuzz_succeeded(cbe_choose_layers(field, 6, &layers, &n, &err), &err))
                fuzz_expect(n <= 6, "layers are there once");
            cbe_free(layers);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    const cli_command *command = command_table(data[0] % N_COMMAND_TABLES);
    char *arguments[MOST_ARGUMENTS + 1] = {NULL};
    int n = 0;
    for (size_t at = 1; at < size && n < MOST_ARGUMENTS; n++) {
        const uint8_t *end = memchr(data + at, '\n', size - at);
        const size_t length = end ? (size_t)(end - data) - at : size - at;
        arguments[n] = strndup((const char *)data + at, length);
        at += length + 1;
    }
    const size_t fields_bytes = command_fields_size(command);
    void *fields = calloc(1, fields_bytes);
    bool help = false;
    cbe_error err = {0};
    fuzz_expect(fields != NULL, "there is memory for options");
    if (fuzz_succeeded(cli_parse(command, n, arguments, fields, &help, &err), &err) && !help)
        look_at(command, fields, fields_bytes);
    cli_free(command, fields);
    free(fields);
    for (int i = 0; i < n; i++) free(arguments[i]);
    return 0;
}
