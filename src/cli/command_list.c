/* command_list.c - finding and printing the commands of a list (commands.h). */
#include <string.h>

#include "cli/commands.h"

const cli_entry *cli_find_command(const cli_entry *commands, const char *name)
{
    for (const cli_entry *c = commands; c->name; c++)
        if (strcmp(c->name, name) == 0) return c;
    return NULL;
}

void cli_print_commands(const cli_entry *commands)
{
    for (const cli_entry *c = commands; c->name; c++) printf("  %-10s %s\n", c->name, c->summary);
}
