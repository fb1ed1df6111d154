/* completions.c - see completions.h. */
#include "cli/completions.h"

#include <string.h>

#include "cli/commands.h"

/* How a value is completed. */
typedef enum { BY_NOTHING, BY_FILES, BY_FOLDERS, BY_WORDS } completion;

static completion completion_of(const cbe_option *option)
{
    switch (option->kind) {
    case OPT_CHOICE: return BY_WORDS;
    case OPT_LAYERS: return BY_WORDS;
    case OPT_SKIP:
    case OPT_SHARE: return BY_WORDS;
    case OPT_FILES:
    case OPT_STRING: {
        static const char *const files[] = {"FILE", "PATH", "BASIS", "LENS"};
        if (strncmp(option->argument, "FOLDER", strlen("FOLDER")) == 0) return BY_FOLDERS;
        for (size_t i = 0; i < sizeof files / sizeof *files; i++)
            if (strncmp(option->argument, files[i], strlen(files[i])) == 0) return BY_FILES;
        return BY_NOTHING;
    }
    default: return BY_NOTHING;
    }
}

/* Writes the words that a value can be, with blanks between. */
static void words(FILE *script, const cbe_option *option)
{
    if (option->kind == OPT_LAYERS) fputs("all", script);
    if (option->kind == OPT_SKIP || option->kind == OPT_SHARE) fputs("auto", script);
    for (size_t i = 0; option->kind == OPT_CHOICE && option->choices[i]; i++)
        fprintf(script, "%s%s", i ? " " : "", option->choices[i]);
}

static void names(FILE *script, const cli_entry *entries)
{
    for (const cli_entry *e = entries; e->name; e++)
        fprintf(script, "%s%s", e == entries ? "" : " ", e->name);
}

/* ---- bash ---- */

/* Writes an arm of the case over `command`: an option's names, and how its value is completed. */
static void bash_command(FILE *script, const cli_command *command)
{
    fprintf(script, "    '%s')\n        options='", command->name);
    for (const cbe_option *o = command->options; o->name; o++) {
        if (o->letter) fprintf(script, "-%c ", o->letter);
        fprintf(script, "--%s ", o->name);
    }
    fputs("-h --help'\n        case $option in\n", script);
    for (const cbe_option *o = command->options; o->name; o++) {
        if (o->kind == OPT_FLAG) continue;
        fputs("        ", script);
        if (o->letter) fprintf(script, "-%c | ", o->letter);
        fprintf(script, "--%s) ", o->name);
        switch (completion_of(o)) {
        case BY_WORDS:
            fputs("kind=words words='", script);
            words(script, o);
            fputs("'", script);
            break;
        case BY_FILES: fputs("kind=files", script); break;
        case BY_FOLDERS: fputs("kind=folders", script); break;
        case BY_NOTHING: fputs("kind=nothing", script); break;
        }
        fputs(" ;;\n", script);
    }
    fputs("        esac\n        ;;\n", script);
}

static void bash_commands(FILE *script, const cli_entry *entries)
{
    for (const cli_entry *e = entries; e->name; e++) {
        if (e->commands)
            bash_commands(script, e->commands);
        else
            bash_command(script, e->command);
    }
}

void cli_completions_bash(FILE *script)
{
    fputs("# Completion of cbe's command lines for bash; made from the tables of its options.\n"
          "\n"
          "_cbe() {\n"
          "    local current=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]-} first=2\n"
          "    local option=${COMP_WORDS[COMP_CWORD - 1]} options='' kind=files words='' groups=' ",
          script);
    for (const cli_entry *e = cli_commands; e->name; e++)
        if (e->commands) fprintf(script, "%s ", e->name);
    fputs("'\n"
          "    COMPREPLY=()\n"
          "    # --option=value comes as three words.\n"
          "    if [[ $current == = ]]; then\n"
          "        current=''\n"
          "    elif [[ $option == = ]]; then\n"
          "        option=${COMP_WORDS[COMP_CWORD - 2]}\n"
          "    fi\n"
          "    if ((COMP_CWORD == 1)); then\n"
          "        mapfile -t COMPREPLY < <(compgen -W '",
          script);
    names(script, cli_commands);
    fputs(" --help --version' -- \"$current\")\n"
          "        return\n"
          "    fi\n"
          "    if [[ $groups == *\" $command \"* ]]; then\n"
          "        if ((COMP_CWORD == 2)); then\n"
          "            case $command in\n",
          script);
    for (const cli_entry *e = cli_commands; e->name; e++) {
        if (!e->commands) continue;
        fprintf(script, "            %s) words='", e->name);
        names(script, e->commands);
        fputs("' ;;\n", script);
    }
    fputs("            esac\n"
          "            mapfile -t COMPREPLY < <(compgen -W \"$words --help\" -- \"$current\")\n"
          "            return\n"
          "        fi\n"
          "        command+=\" ${COMP_WORDS[2]}\" first=3\n"
          "    fi\n"
          "    # The name before the first option's place is no option.\n"
          "    ((COMP_CWORD > first)) || option=''\n"
          "    case $command in\n",
          script);
    bash_commands(script, cli_commands);
    fputs("    *) return ;;\n"
          "    esac\n"
          "    if [[ $current == -* ]]; then\n"
          "        kind=words words=$options\n"
          "    fi\n"
          "    case $kind in\n"
          "    words) mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\") ;;\n"
          "    files)\n"
          "        compopt -o filenames 2>/dev/null\n"
          "        mapfile -t COMPREPLY < <(compgen -f -- \"$current\")\n"
          "        ;;\n"
          "    folders)\n"
          "        compopt -o filenames 2>/dev/null\n"
          "        mapfile -t COMPREPLY < <(compgen -d -- \"$current\")\n"
          "        ;;\n"
          "    esac\n"
          "}\n"
          "complete -F _cbe cbe\n",
          script);
}

/* ---- zsh ---- */

/* Writes text within '...' of a specification of _arguments, where [, ] and : are marks. */
static void zsh_text(FILE *script, const char *text)
{
    for (; *text; text++) {
        if (strchr("[]:\\", *text)) putc('\\', script);
        if (*text == '\'')
            fputs("'\\''", script);
        else
            putc(*text == '\n' ? ' ' : *text, script);
    }
}

static void zsh_value(FILE *script, const cbe_option *option)
{
    if (option->kind == OPT_FLAG) return;
    putc(':', script);
    zsh_text(script, option->argument);
    putc(':', script);
    switch (completion_of(option)) {
    case BY_WORDS:
        putc('(', script);
        words(script, option);
        putc(')', script);
        break;
    case BY_FILES: fputs("_files", script); break;
    case BY_FOLDERS: fputs("_files -/", script); break;
    case BY_NOTHING: putc(' ', script); break;
    }
}

static void zsh_option(FILE *script, const cbe_option *option)
{
    const bool repeated = option->kind == OPT_FILES;
    fputs("            ", script);
    if (option->letter && repeated)
        fprintf(script, "'*'{-%c,--%s}'", option->letter, option->name);
    else if (option->letter)
        fprintf(script, "'(-%c --%s)'{-%c,--%s}'", option->letter, option->name, option->letter,
                option->name);
    else
        fprintf(script, "'%s--%s", repeated ? "*" : "", option->name);
    putc('[', script);
    zsh_text(script, option->help);
    putc(']', script);
    zsh_value(script, option);
    fputs("' \\\n", script);
}

/* Writes an arm of the case over `command`. */
static void zsh_command(FILE *script, const cli_command *command)
{
    fprintf(script, "    '%s')\n        _arguments -s \\\n", command->name);
    for (const cbe_option *o = command->options; o->name; o++) zsh_option(script, o);
    fputs("            '(-h --help)'{-h,--help}'[print the options]' \\\n"
          "            '*:file:_files'\n        ;;\n",
          script);
}

static void zsh_commands(FILE *script, const cli_entry *entries)
{
    for (const cli_entry *e = entries; e->name; e++) {
        if (e->commands)
            zsh_commands(script, e->commands);
        else
            zsh_command(script, e->command);
    }
}

/* Writes a list of rows NAME:SUMMARY for _describe. */
static void zsh_list(FILE *script, const char *list, const cli_entry *entries)
{
    fprintf(script, "    %s=(\n", list);
    for (const cli_entry *e = entries; e->name; e++) {
        fprintf(script, "        '%s:", e->name);
        zsh_text(script, e->summary);
        fputs("'\n", script);
    }
    fputs("    )\n", script);
}

void cli_completions_zsh(FILE *script)
{
    fputs("#compdef cbe\n"
          "# Completion of cbe's command lines for zsh; made from the tables of its options.\n"
          "\n"
          "_cbe() {\n"
          "    local -a list\n"
          "    local command=$words[2]\n",
          script);
    zsh_list(script, "list", cli_commands);
    fputs("    if ((CURRENT == 2)); then\n"
          "        _describe command list\n"
          "        return\n"
          "    fi\n",
          script);
    for (const cli_entry *e = cli_commands; e->name; e++) {
        if (!e->commands) continue;
        fprintf(script, "    if [[ $command == %s ]]; then\n", e->name);
        zsh_list(script, "list", e->commands);
        fputs("        if ((CURRENT == 3)); then\n"
              "            _describe command list\n"
              "            return\n"
              "        fi\n"
              "        command+=\" $words[3]\"\n"
              "        shift words\n"
              "        ((CURRENT--))\n"
              "    fi\n",
              script);
    }
    fputs("    # _arguments takes the first word for the command's name.\n"
          "    shift words\n"
          "    ((CURRENT--))\n"
          "    case $command in\n",
          script);
    zsh_commands(script, cli_commands);
    fputs("    esac\n"
          "}\n"
          "\n"
          "_cbe \"$@\"\n",
          script);
}
