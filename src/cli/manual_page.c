/* manual_page.c - see manual_page.h. */
#include "cli/manual_page.h"

#include <string.h>

enum { COMMAND = 64, NAME = 4 + COMMAND, WIDTH = 70, TEXT = 2048 };

/* Writes a character so that roff prints it as it is on the keyboard. */
static void put(FILE *page, char c)
{
    if (c == '\\')
        fputs("\\e", page);
    else if (c == '-')
        fputs("\\-", page);
    else
        putc(c, page);
}

/* Writes text within a line. */
static void words(FILE *page, const char *text)
{
    for (; *text; text++) put(page, *text == '\n' ? ' ' : *text);
}

/* Writes a paragraph. roff lays out its lines, and wants each sentence to begin a line. */
static void paragraph(FILE *page, const char *text)
{
    size_t column = 0;
    for (; *text; text++) {
        const bool blank = *text == ' ' || *text == '\n';
        const bool ends =
            blank && column > 0 && strchr(".!?", text[-1]) && text[1] >= 'A' && text[1] <= 'Z';
        if (blank && (ends || column + strcspn(text + 1, " \n") > WIDTH)) {
            putc('\n', page);
            column = 0;
            continue;
        }
        if (column == 0 && (*text == '.' || *text == '\'')) fputs("\\&", page);
        put(page, blank ? ' ' : *text);
        column++;
    }
    putc('\n', page);
}

void cli_manual_name(char *name, size_t size, const char *command)
{
    snprintf(name, size, "cbe-%s", command);
    for (char *c = name; *c; c++)
        if (*c == ' ') *c = '-';
}

static void heading(FILE *page, const char *name, const char *summary)
{
    fputs(".TH \"", page);
    for (const char *c = name; *c; c++) put(page, *c >= 'a' && *c <= 'z' ? (char)(*c - 32) : *c);
    fputs("\" \"1\" \"\" \"cbe " CBE_VERSION "\" \"User Commands\"\n.SH NAME\n", page);
    words(page, name);
    fputs(" \\- ", page);
    words(page, summary);
    putc('\n', page);
}

/* Writes the ways to call a command, each with its name. They are the lines of the usage in
 * --help. */
static void synopsis(FILE *page, const cli_command *command)
{
    fprintf(page, ".SH SYNOPSIS\n.nf\n\\fBcbe %s\\fP ", command->name);
    for (const char *c = command->usage; *c; c++) {
        if (*c != '\n') {
            put(page, *c);
            continue;
        }
        fputs("\n\\fBcbe ", page);
        fputs(command->name, page);
        fputs("\\fP ", page);
        c += 1 + strspn(c + 1, " ") + strlen("cbe ") + strlen(command->name);
    }
    fputs("\n.fi\n", page);
}

static void option_line(FILE *page, char letter, const char *name, const char *argument)
{
    fputs(".TP\n", page);
    if (letter) fprintf(page, "\\fB\\-%c\\fP, ", letter);
    fputs("\\fB\\-\\-", page);
    words(page, name);
    fputs("\\fP", page);
    if (argument) {
        fputs(" \\fI", page);
        words(page, argument);
        fputs("\\fP", page);
    }
    putc('\n', page);
}

/* Whether the help of an option names all of its choices. */
static bool tells_choices(const cbe_option *option)
{
    for (size_t i = 0; option->choices[i]; i++)
        if (!strstr(option->help, option->choices[i])) return false;
    return true;
}

static void options(FILE *page, const cbe_option *table)
{
    fputs(".SH OPTIONS\n", page);
    for (const cbe_option *o = table; o->name; o++) {
        char text[TEXT];
        int n = snprintf(text, sizeof text, "%s", o->help);
        for (size_t i = 0; o->choices && !tells_choices(o) && o->choices[i] && n < TEXT; i++)
            n += snprintf(text + n, (size_t)(TEXT - n), "%s%s", i ? ", " : "; one of ",
                          o->choices[i]);
        if (o->preset && n < TEXT)
            snprintf(text + n, (size_t)(TEXT - n), "; default %s", o->preset);
        option_line(page, o->letter, o->name, o->argument);
        paragraph(page, text);
    }
    option_line(page, 'h', "help", NULL);
    paragraph(page, "prints the options");
}

static void exit_status(FILE *page, bool interrupted)
{
    fputs(".SH EXIT STATUS\n"
          ".TP\n0\ndone\n.TP\n1\nthe run failed\n.TP\n2\nbad usage or bad input\n",
          page);
    if (interrupted) fputs(".TP\n130 or 143\nstopped by SIGINT or SIGTERM\n", page);
}

static void see_also(FILE *page, const char *name)
{
    fputs(".SH SEE ALSO\n.BR ", page);
    words(page, name);
    fputs(" (1)\n", page);
}

/* Writes the list of the rows' pages. */
static void commands(FILE *page, const char *parent, const cli_entry *entries)
{
    fputs(".SH COMMANDS\n", page);
    for (const cli_entry *e = entries; e->name; e++) {
        char name[NAME], command[COMMAND];
        snprintf(command, sizeof command, "%s%s%s", parent, *parent ? " " : "", e->name);
        cli_manual_name(name, sizeof name, command);
        fputs(".TP\n.BR ", page);
        words(page, name);
        fputs(" (1)\n", page);
        paragraph(page, e->summary);
    }
}

void cli_manual_page(FILE *page, const cli_entry *entry)
{
    const cli_command *command = entry->command;
    char name[NAME];
    cli_manual_name(name, sizeof name, command->name);
    heading(page, name, command->summary);
    synopsis(page, command);
    if (command->details) {
        fputs(".SH DESCRIPTION\n", page);
        paragraph(page, command->details);
    }
    options(page, command->options);
    exit_status(page, entry->shared);
    see_also(page, "cbe");
}

void cli_manual_group(FILE *page, const cli_entry *entry)
{
    char name[NAME];
    cli_manual_name(name, sizeof name, entry->name);
    heading(page, name, entry->summary);
    fputs(".SH SYNOPSIS\n\\fBcbe ", page);
    words(page, entry->name);
    fputs("\\fP \\fICOMMAND\\fP ...\n", page);
    commands(page, entry->name, entry->commands);
    see_also(page, "cbe");
}

void cli_manual_overview(FILE *page)
{
    heading(page, "cbe", "causal basis extraction from language models");
    fputs(".SH SYNOPSIS\n\\fBcbe\\fP \\fICOMMAND\\fP ...\n.br\n\\fBcbe\\fP \\fB\\-\\-help\\fP | "
          "\\fB\\-\\-version\\fP\n.SH DESCRIPTION\n",
          page);
    paragraph(page, "For each layer of a language model, cbe finds the directions of the residual "
                    "stream that the output depends on most: an orthonormal basis, each vector the "
                    "direction whose ablation changes the next-token distribution most.");
    commands(page, "", cli_commands);
    exit_status(page, true);
}
