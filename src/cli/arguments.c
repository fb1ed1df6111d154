/* arguments.c - see arguments.h. */
#include "cli/arguments.h"

#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "core/fail.h"

static const cbe_option *find_letter(const cbe_option *options, char letter)
{
    for (const cbe_option *o = options; o->name; o++)
        if (o->letter == letter) return o;
    return NULL;
}

/* "--layers" and "-k" look like options; "-5" and "-" are values. */
static bool looks_like_option(const char *argument)
{
    return argument[0] == '-' && argument[1] && (argument[1] < '0' || argument[1] > '9');
}

static cbe_status parse_option(const cli_command *command, int argc, char **argv, int *at,
                               void *fields, cbe_error *err)
{
    const char *argument = argv[*at], *value = NULL;
    const cbe_option *option;
    if (argument[1] == '-') {
        const char *name = argument + 2, *equals = strchr(name, '=');
        option = cbe_option_find(command->options, name,
                                 equals ? (size_t)(equals - name) : strlen(name));
        value = equals ? equals + 1 : NULL;
    } else {
        option = find_letter(command->options, argument[1]);
        value = option && argument[2] ? argument + 2 : NULL;
    }
    if (!option)
        return cbe_fail(err, CBE_ERR_ARG, -1, "%s is not an option of cbe %s; see cbe %s --help",
                        argument, command->name, command->name);
    if (option->kind == OPT_FLAG) {
        if (value) return cbe_fail(err, CBE_ERR_ARG, -1, "--%s takes no value", option->name);
        return cbe_option_set(option, NULL, fields, err);
    }
    if (!value) {
        if (*at + 1 >= argc || (option->kind == OPT_FILES && looks_like_option(argv[*at + 1])))
            return cbe_fail(err, CBE_ERR_ARG, -1, "--%s needs a value: %s", option->name,
                            option->argument);
        value = argv[++*at];
    }
    cbe_status st = cbe_option_set(option, value, fields, err);
    while (st == CBE_OK && option->kind == OPT_FILES && *at + 1 < argc &&
           !looks_like_option(argv[*at + 1]))
        st = cbe_option_set(option, argv[++*at], fields, err);
    return st;
}

cbe_status cli_parse(const cli_command *command, int argc, char **argv, void *fields, bool *help,
                     cbe_error *err)
{
    *help = false;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0) break;
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) *help = true;
    }
    if (*help) return CBE_OK;
    cbe_status st = cbe_options_reset(command->options, fields, err);
    if (st != CBE_OK) return st;
    size_t positional = 0;
    bool options_over = false;
    for (int i = 0; i < argc; i++) {
        if (!options_over && strcmp(argv[i], "--") == 0) {
            options_over = true;
        } else if (!options_over && looks_like_option(argv[i])) {
            st = parse_option(command, argc, argv, &i, fields, err);
            if (st != CBE_OK) return st;
        } else if (positional < command->n_positional) {
            *(const char **)((char *)fields + command->positional[positional++]) = argv[i];
        } else {
            return cbe_fail(err, CBE_ERR_ARG, -1,
                            "'%s' is one argument too many; see cbe %s --help", argv[i],
                            command->name);
        }
    }
    return CBE_OK;
}

void cli_free(const cli_command *command, void *fields)
{
    cbe_options_free(command->options, fields);
}

void cli_print_help(const cli_command *command)
{
    printf("cbe %s - %s\n\nUsage: cbe %s %s\n", command->name, command->summary, command->name,
           command->usage);
    if (command->details) printf("\n%s\n", command->details);
    printf("\nOptions:\n");
    for (const cbe_option *o = command->options; o->name; o++) {
        char left[80], letter[8] = "    ";
        if (o->letter) snprintf(letter, sizeof letter, "-%c, ", o->letter);
        snprintf(left, sizeof left, "%s--%s %s", letter, o->name, o->argument ? o->argument : "");
        printf("  %-34s %s", left, o->help);
        if (o->preset) printf(" [%s]", o->preset);
        printf("\n");
    }
    printf("  -h, --help                         this text\n");
    cli_flush_output(); /* keeps the reason of a failure, also of a help longer than a buffer */
}
