/* company.c - see company.h. */
#include "cli/company.h"

#include "cli/commands.h"
#include "cli/interrupt.h"

cbe_status cli_begin_shared(const cli_command *command, cbe_run *run, int argc, char **argv,
                            bool *help, cbe_error *err)
{
    cbe_status st = cli_parse(command, argc, argv, &run->settings, help, err);
    cbe_error start_err = {0};
    const cbe_status started = cbe_run_join(run, &start_err);
    if (st == CBE_OK && !*help && started != CBE_OK) {
        st = started;
        *err = start_err;
    }
    double helped = *help;
    cbe_processes_sum(run->team.all, 1, &helped);
    *help = helped > 0;
    return cbe_processes_agree(run->team.all, st, err);
}

void cli_progress_shared(cli_progress *progress, const cbe_run *run)
{
    const cbe_corpus *corpus = &run->settings.corpus;
    const bool speaks = cbe_team_speaks(&run->team);
    cli_progress_init(progress, corpus->quiet || !speaks, corpus->verbose && speaks);
    if (!speaks) cli_progress_silence(progress);
}

int cli_execute_shared(const cli_command *command, cbe_run *run, cbe_status st, bool help,
                       cbe_callback *watch, void *context, cbe_error *err)
{
    const bool speaks = cbe_team_speaks(&run->team);
    run->watch = (cbe_watch){.callback = watch, .context = context, .side = CBE_IN_PROGRAM};
    if (st == CBE_OK && !help) {
        cli_interrupt_note(speaks);
        st = cbe_run_execute(run, err);
    }
    if (help && speaks) cli_print_help(command);
    const cbe_processes *all = run->team.all;
    const bool interrupted = st == CBE_ERR_CANCELLED && cli_interrupt_signal(),
               groups = cbe_processes_size(run->in.options.processes) < cbe_processes_size(all);
    int status = st == CBE_OK  ? cli_finish_output()
                 : interrupted ? cli_interrupt_status()
                               : CLI_FAILED;
    cli_interrupt_said();
    if (interrupted && speaks) cli_interrupt_say();
    if (st != CBE_OK && !interrupted) status = speaks ? cli_report(err) : CLI_FAILED;
    /* Other groups could go on for hours. */
    if (st != CBE_OK && speaks && run->in.options.run && groups) cbe_processes_abort(all, status);
    return cbe_run_leave(run, status);
}
