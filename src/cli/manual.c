/*
 * manual.c - writes man pages and completions into a folder, while cbe is built.
 *
 * usage: cbe-manual FOLDER
 * Makes FOLDER/cbe.1, cbe-COMMAND.1 for each command, cbe.bash and _cbe.
 */
#include <stdlib.h>

#include "cli/completions.h"
#include "cli/manual_page.h"

enum { PATH_SIZE = 4096, COMMAND = 64, NAME = 4 + COMMAND };

static FILE *create(const char *folder, const char *name, const char *ending)
{
    char path[PATH_SIZE];
    const int length = snprintf(path, sizeof path, "%s/%s%s", folder, name, ending);
    FILE *file = length < PATH_SIZE ? fopen(path, "w") : NULL;
    if (!file) {
        perror(path);
        exit(1);
    }
    return file;
}

static void end(FILE *file)
{
    if (ferror(file) | fclose(file)) {
        perror("cbe-manual");
        exit(1);
    }
}

static void write_pages(const char *folder, const char *parent, const cli_entry *entries)
{
    for (const cli_entry *e = entries; e->name; e++) {
        char command[COMMAND], name[NAME];
        snprintf(command, sizeof command, "%s%s%s", parent, *parent ? " " : "", e->name);
        cli_manual_name(name, sizeof name, command);
        FILE *page = create(folder, name, ".1");
        if (e->commands)
            cli_manual_group(page, e);
        else
            cli_manual_page(page, e);
        end(page);
        if (e->commands) write_pages(folder, e->name, e->commands);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fputs("usage: cbe-manual FOLDER\n", stderr);
        return 2;
    }
    FILE *file = create(argv[1], "cbe", ".1");
    cli_manual_overview(file);
    end(file);
    write_pages(argv[1], "", cli_commands);
    file = create(argv[1], "cbe", ".bash");
    cli_completions_bash(file);
    end(file);
    file = create(argv[1], "_cbe", "");
    cli_completions_zsh(file);
    end(file);
    return 0;
}
