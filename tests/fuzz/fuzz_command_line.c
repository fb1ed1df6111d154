/*
 * Options of every command: the first byte chooses it, arguments are the lines that follow. cli_parse is wrapped (CMakeLists.txt):
 * called by a command it keeps the command's table and refuses, so that no command ever runs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/inputs.h"
#include "cli/options.h"
#include "core/fail.h"
#include "core/memory.h"
#include "fuzz_input.h"

enum { MOST_ARGUMENTS = 48, VALUE = 512 };

static int (*const commands[])(int argc, char **argv) = {
    cli_extract,   cli_probe,    cli_ablate, cli_capture,  cli_decoder,   cli_tokenize,
    cli_info,      cli_lens_fit, cli_lens_train, cli_lens_eval, cli_lens_convert,
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

static const cli_command *tables[N_COMMANDS], *kept;

cbe_status __wrap_cli_parse(const cli_command *command, int argc, char **argv, void *fields, bool *help, cbe_error *err);
cbe_status __real_cli_parse(const cli_command *command, int argc, char **argv, void *fields, bool *help, cbe_error *err);

cbe_status __wrap_cli_parse(const cli_command *command, int argc, char **argv, void *fields, bool *help, cbe_error *err)
{
    (void)argc, (void)argv, (void)fields;
    kept = command;
    *help = false;
    return cbe_fail(err, CBE_ERR_ARG, -1, "only the table is wanted");
}

/* What main.c gives to commands. */
int cli_report(const cbe_error *err)
{
    (void)err;
    return CLI_BAD_INPUT;
}

int cli_finish_output(void)
{
    return CLI_DONE;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    char *none[] = {NULL};
    (void)argc, (void)argv;
    for (size_t i = 0; i < N_COMMANDS; i++) {
        kept = NULL;
        commands[i](0, none);
        fuzz_expect(kept != NULL, "a command parses its options first");
        tables[i] = kept;
    }
    return 0;
}

/* Bytes of a command's struct up to the end of the last field that the table names: nothing may be written behind them. */
static size_t fields_size(const cli_command *command)
{
    static const size_t sizes[] = {
        [OPT_FLAG] = sizeof(bool),     [OPT_COUNT] = sizeof(size_t),       [OPT_NUMBER] = sizeof(double),
        [OPT_SIZE] = sizeof(size_t),   [OPT_SEED] = sizeof(uint64_t),      [OPT_STRING] = sizeof(const char *),
        [OPT_CHOICE] = sizeof(int),    [OPT_FILES] = sizeof(cli_files),    [OPT_LAYERS] = sizeof(cli_ranges),
        [OPT_SKIP] = sizeof(cli_skip),
    };
    size_t size = 0;
    for (const cli_option *o = command->options; o->name; o++)
        if (o->field + sizes[o->kind] > size) size = o->field + sizes[o->kind];
    for (size_t i = 0; i < command->n_positional; i++)
        if (command->positional[i] + sizeof(char *) > size) size = command->positional[i] + sizeof(char *);
    return size;
}

/* What is recorded of an option, typed again, gives the same again. */
static void retype(const cli_command *command, const cli_option *option, const char *value, size_t size)
{
    char argument[2 * VALUE], again[VALUE], *arguments[] = {argument};
    bool help;
    cbe_error err = {0};
    void *fields = calloc(1, size);
    fuzz_expect(fields != NULL, "there is memory for options");
    snprintf(argument, sizeof argument, "--%s=%s", option->name, value);
    if (!fuzz_succeeded(__real_cli_parse(command, 1, arguments, fields, &help, &err), &err)) fprintf(stderr, "fuzz: %s\n", err.message);
    fuzz_expect(err.code == CBE_OK, "a value that is recorded can be typed");
    fuzz_expect(cli_value(option, fields, again, sizeof again) && strcmp(value, again) == 0, "and means the same");
    cli_free(command, fields);
    free(fields);
}

static void look_at(const cli_command *command, const void *fields, size_t size)
{
    cbe_error err = {0};
    for (const cli_option *o = command->options; o->name; o++) {
        char value[VALUE];
        const void *field = (const char *)fields + o->field;
        const bool given = cli_value(o, fields, value, sizeof value);
        if (given && o->kind != OPT_FLAG && o->kind != OPT_STRING && o->kind != OPT_FILES && strlen(value) < VALUE - 24)
            retype(command, o, value, size);
        if (o->kind == OPT_STRING && strcmp(o->name, "lens") == 0 && *(const char *const *)field) {
            cli_lens_choice lens;
            fuzz_succeeded(cli_parse_lens(&lens, *(const char *const *)field, &err), &err);
        }
        if (o->kind == OPT_LAYERS) {
            size_t *layers = NULL, n = 0;
            if (fuzz_succeeded(cli_choose_layers(field, 6, &layers, &n, &err), &err)) fuzz_expect(n <= 6, "layers are there once");
            cbe_free(layers);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    const cli_command *command = tables[data[0] % N_COMMANDS];
    char *arguments[MOST_ARGUMENTS + 1] = {NULL};
    int n = 0;
    for (size_t at = 1; at < size && n < MOST_ARGUMENTS; n++) {
        const uint8_t *end = memchr(data + at, '\n', size - at);
        const size_t length = end ? (size_t)(end - data) - at : size - at;
        arguments[n] = strndup((const char *)data + at, length);
        at += length + 1;
    }
    const size_t fields_bytes = fields_size(command);
    void *fields = calloc(1, fields_bytes);
    bool help = false;
    cbe_error err = {0};
    fuzz_expect(fields != NULL, "there is memory for options");
    if (fuzz_succeeded(__real_cli_parse(command, n, arguments, fields, &help, &err), &err) && !help)
        look_at(command, fields, fields_bytes);
    cli_free(command, fields);
    free(fields);
    for (int i = 0; i < n; i++) free(arguments[i]);
    return 0;
}
