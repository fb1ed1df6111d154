/* Runs that are killed at random moments: each output is the earlier file or the new one to the
 * byte, nothing else stays, and what can be gone on from ends with the bytes of an undisturbed run.
 * (Of cbe extract in one process: test_cli_resume.c.) */
#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "processes/processes.h"
#include "formats/safetensors.h"
#include "core/clock.h"
#include "math/random.h"
#include "files/temporary_file.h"
#include "support/assert_close.h"
#include "support/listing.h"
#include "support/program.h"
#include "support/random.h"
#include "support/temp_folder.h"
#include "support/tensor_file.h"

/* Runs of each command to be killed; of two processes, whose start takes longer. 100 in all. */
#ifdef __SANITIZE_ADDRESS__
enum { KILLS = 3, SHARED_KILLS = 2 };
#else
enum { KILLS = 22, SHARED_KILLS = 12 };
#endif

enum { N_SEQUENCES = 12, LENGTH = 16 };

#define LLAMA "%G/models/llama --tokens %F/ids.safetensors -t 1 -q "

/* Outputs are in %F/out. Where a run begins with an earlier result, it is one of other options. */
static const struct {
    const char *earlier, *line,
        *resumed; /* resumed: what an interrupted run goes on with; NULL: it begins again */
    bool shared;  /* by two processes */
} runs[] = {
    {"lens fit " LLAMA "--held-out 0.5 -o %F/out", "lens fit " LLAMA "-o %F/out", NULL, false},
    {NULL,
     "lens train " LLAMA
     "--positions 0.5 --step-tokens 8 --held-out 0.2 --checkpoint-steps 1 -o %F/out",
     "lens train " LLAMA
     "--positions 0.5 --step-tokens 8 --held-out 0.2 --checkpoint-steps 1 --resume -o %F/out",
     false},
    {"ablate " LLAMA "--basis %F/basis -l 1 -o %F/out --seed 5",
     "ablate " LLAMA "--basis %F/basis -o %F/out", NULL, false},
    {"capture " LLAMA "-l 0 -o %F/out/h.safetensors",
     "capture " LLAMA "--logits -o %F/out/h.safetensors", NULL, false},
    {NULL, "extract " LLAMA "-k 2 --starts 2 --max-iter 3 --divide tokens -o %F/out",
     "extract " LLAMA "-k 2 --starts 2 --max-iter 3 --divide tokens --resume -o %F/out", true},
};
enum { N_RUNS = sizeof runs / sizeof *runs };

static cbe_error err;
static cbe_rng rng;

/* Runs the line, and kills it (of two processes one of them) after so many seconds, unless it has
 * ended.
 * @param longest  seconds that a whole run takes
 * @return whether it was killed */
static bool run_killed(const char *line, bool shared, double seconds, double longest)
{
    int status;
    if (shared) {
        char whole[1200];
        /* Open MPI's mpirun may overlook that a process has ended and wait for it for ever. */
        snprintf(whole, sizeof whole, "-s KILL %.0f %s -n 2 %%D/mpi/die_later.sh %zu %.0f %%P %s",
                 20 + 20 * longest, getenv("CBE_MPIEXEC"), cbe_rng_below(&rng, 2), 1e3 * seconds,
                 line);
        status = program_end(program_start("timeout", whole));
        if (status != 0) return true;
    } else {
        const struct timespec pause = {(time_t)seconds,
                                       (long)(1e9 * (seconds - (double)(time_t)seconds))};
        const pid_t process = program_start(NULL, line);
        nanosleep(&pause, NULL);
        kill(process, SIGKILL);
        status = program_end(process);
    }
    if (status != 0 && status != -SIGKILL)
        fail_msg("cbe %s: exit status %d, %s", line, status, program_err);
    return status != 0;
}

/* @return seconds */
static double run_to_its_end(const char *line, bool shared)
{
    char whole[1200];
    const double began = cbe_now();
    snprintf(whole, sizeof whole, "-n 2 %%P %s", line);
    const int status = shared ? program_run_under(getenv("CBE_MPIEXEC"), whole) : program_run(line);
    if (status != 0) fail_msg("cbe %s: exit status %d, %s", line, status, program_err);
    return cbe_now() - began;
}

static void begin_anew(size_t run)
{
    temp_clear(program_expand("%F/out"));
    if (runs[run].earlier) program_done(runs[run].earlier);
}

static bool is_temporary(const char *name)
{
    return strncmp(name, ".cbe-", 5) == 0;
}

/* Files that are not the same in two runs: they tell seconds, or how far a run is. */
static bool is_whole(const char *name)
{
    char path[200];
    snprintf(path, sizeof path, "%%F/out/%s", name);
    if (strcmp(name, "basis.json") == 0) {
        json_t *record = json_load_file(program_expand(path), 0, NULL);
        const bool whole = json_is_array(json_object_get(record, "layers"));
        json_decref(record);
        return whole;
    }
    if (strcmp(name, "checkpoint.safetensors") != 0) return false;
    cbe_safetensors *file = NULL; /* whose header fits its size */
    const bool whole = cbe_safetensors_open(&file, program_expand(path), &err) == CBE_OK;
    cbe_safetensors_close(file);
    return whole;
}

static bool is_among(const listed_file *file, const listing *files)
{
    const listed_file *other = listing_find(files, file->name);
    return other && other->hash == file->hash;
}

/* @return temporary names that were left; they are removed */
static size_t check_killed(const char *line, const listing *earlier, const listing *final)
{
    static listing now;
    size_t temporary = 0;
    listing_read(&now, program_expand("%F/out"));
    for (size_t i = 0; i < now.n; i++) {
        const listed_file *file = &now.files[i];
        if (is_temporary(file->name)) {
            char path[200];
            snprintf(path, sizeof path, "%%F/out/%s", file->name);
            assert_int_equal(unlink(program_expand(path)), 0);
            temporary++;
        } else if (!is_among(file, earlier) && !is_among(file, final) && !is_whole(file->name))
            fail_msg("cbe %s, killed: %s is neither the earlier file nor the new one", line,
                     file->name);
    }
    for (size_t i = 0; i < earlier->n; i++)
        if (!listing_find(&now, earlier->files[i].name))
            fail_msg("cbe %s, killed: %s is lost", line, earlier->files[i].name);
    return temporary;
}

static void check_ended(const char *line, const listing *final)
{
    static listing now;
    listing_read(&now, program_expand("%F/out"));
    assert_int_equal(now.n, final->n);
    for (size_t i = 0; i < now.n; i++)
        if (!is_among(&now.files[i], final) && !is_whole(now.files[i].name))
            fail_msg("cbe %s, after runs that were killed: %s is another file", line,
                     now.files[i].name);
}

static bool has_nameless(const char *folder)
{
    cbe_temporary_file file;
    cbe_assert_ok(cbe_temporary_file_open(&file, folder, "out", &err), &err);
    const bool nameless = !file.named;
    cbe_temporary_file_close(&file);
    return nameless;
}

/* Kills runs at moments that are evenly spread over the time of one, and lets one in a while get to
 * its end. */
static void kill_runs(size_t run)
{
    static listing earlier, final;
    const char *line = runs[run].line, *resumed = runs[run].resumed ? runs[run].resumed : line;
    const bool shared = runs[run].shared;
    const size_t wanted = shared ? SHARED_KILLS : KILLS;
    begin_anew(run);
    listing_read(&earlier, program_expand("%F/out"));
    double longest = run_to_its_end(line, shared);
    listing_read(&final, program_expand("%F/out"));
    begin_anew(run);
    size_t killed = 0, temporary = 0;
    while (killed < wanted) {
        const double seconds = longest * (double)cbe_rng_below(&rng, 1000) / 1000;
        if (run_killed(resumed, shared, seconds, longest)) {
            longest *=
                1.03; /* so that the end is reached too, on a machine that has become slower */
            killed++;
            temporary += check_killed(line, &earlier, &final);
        } else {
            longest *= 0.95;
            check_ended(line, &final);
            begin_anew(run);
        }
    }
    run_to_its_end(resumed, shared);
    check_ended(line, &final);
    /* A file has its temporary name for the moment between two calls. */
    if (has_nameless(program_expand("%F/out"))) assert_true(temporary <= 1);
    print_message("%zu runs were killed: %s\n", killed, line);
}

static void lens_fit__killed_leaves_whole_files(void **state)
{
    (void)state;
    kill_runs(0);
}

static void lens_train__killed_resumes_to_the_same_bytes(void **state)
{
    (void)state;
    kill_runs(1);
}

static void ablate__killed_leaves_whole_files(void **state)
{
    (void)state;
    kill_runs(2);
}

static void capture__killed_leaves_whole_files(void **state)
{
    (void)state;
    kill_runs(3);
}

static void two_processes_of_extract__killed_resume_to_the_same_bytes(void **state)
{
    (void)state;
    if (!cbe_processes_library() || !getenv("CBE_MPIEXEC")) skip(); /* built without MPI */
    kill_runs(4);
}

static int set_up(void **state)
{
    int64_t ids[N_SEQUENCES * LENGTH];
    cbe_test_random random = {9};
    if (program_set_up(state) != 0) return -1;
    cbe_rng_seed(&rng, 19);
    for (size_t i = 0; i < N_SEQUENCES * LENGTH; i++)
        ids[i] = (int64_t)(cbe_test_uniform(&random) * 60);
    write_tensor("%F/ids.safetensors", "input_ids", CBE_I64, N_SEQUENCES, LENGTH, ids);
    program_done("extract " LLAMA "-k 2 --preset seed --max-iter 1 -o %F/basis");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lens_fit__killed_leaves_whole_files),
        cmocka_unit_test(lens_train__killed_resumes_to_the_same_bytes),
        cmocka_unit_test(ablate__killed_leaves_whole_files),
        cmocka_unit_test(capture__killed_leaves_whole_files),
        cmocka_unit_test(two_processes_of_extract__killed_resume_to_the_same_bytes),
    };
    return cmocka_run_group_tests(tests, set_up, temp_folder_remove);
}
