/* spectra.c - see spectra.h. */
#include "fisher/spectra.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "core/clock.h"
#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "fisher/moments.h"
#include "fisher/spectra_checkpoint.h"
#include "math/eigen.h"
#include "math/gemm.h"

enum {
    N_MATRICES = 3,
    WORK_PER_WRITE = 20 /* a checkpoint takes a twentieth of the time at most */
};

typedef struct {
    const cbe_spectra_options *options;
    size_t d, skip, first, n;        /* states first .. first + n - 1 are added up */
    cbe_moments *states, *gradients; /* (states of a group) */
    cbe_moments_room *room;
    bool *wanted;                      /* (L + 1) */
    size_t *places;                    /* (L + 1): place in the group of a state that is wanted */
    double *matrices[N_MATRICES];      /* (d, d) each */
    double *mean;                      /* (d) */
    size_t group, n_groups, n_at_once; /* of states; n_at_once: of a group but the last */
    cbe_state_spectrum *out;           /* those before `first` are done, in rank 0 */
    double written, writing; /* when a checkpoint was last written, and seconds that it took */
} run;

void cbe_state_spectrum_free(cbe_state_spectrum *s)
{
    cbe_free(s->variances);
    cbe_free(s->energies);
    *s = (cbe_state_spectrum){0};
}

/* Bytes beside sums and gradients: matrices, those of LAPACK, rows. */
static size_t fixed_bytes(size_t d, size_t context_length)
{
    const size_t matrices = cbe_times(cbe_times(d, d, sizeof(double)), N_MATRICES + 3, 1),
                 room = cbe_moments_room_bytes(d, context_length);
    return matrices > SIZE_MAX - room ? SIZE_MAX : matrices + room;
}

/* Sums come first: another group is another pass over the text, which costs more than running
 * blocks anew on the way back. */
static cbe_status choose_alone(cbe_spectra_plan *plan, const cbe_model *model,
                               const cbe_spectra_options *o, size_t memory, cbe_error *err)
{
    const size_t d = cbe_model_get_config(model)->hidden_size,
                 fixed = fixed_bytes(d, o->gradients.context_length),
                 each = cbe_times(2, cbe_moments_bytes(d), 1);
    cbe_sampled_gradients_options gradients = o->gradients;
    *plan = (cbe_spectra_plan){.n_states = o->n_states};
    if (memory) {
        gradients.memory = 1;
        cbe_sampled_gradients_choose(&plan->gradients, model, &gradients, NULL);
        const size_t least = plan->gradients.bytes > SIZE_MAX - fixed
                                 ? SIZE_MAX
                                 : plan->gradients.bytes + fixed,
                     left = memory > least ? memory - least : 0;
        plan->n_states = cbe_min_size(cbe_max_size(left / each, 1), o->n_states);
    }
    plan->n_groups = (o->n_states - 1) / plan->n_states + 1;
    plan->n_states = (o->n_states - 1) / plan->n_groups + 1;
    plan->bytes = fixed + cbe_times(plan->n_states, each, 1);
    if (memory) gradients.memory = memory > plan->bytes ? memory - plan->bytes : 1;
    return cbe_sampled_gradients_choose(&plan->gradients, model, &gradients, err);
}

/* The least that any process may take; 0: not limited. @return CBE_OK, CBE_ERR_NOMEM */
static cbe_status least_memory(const cbe_spectra_options *o, size_t *memory, cbe_error *err)
{
    const size_t size = cbe_processes_size(o->processes);
    size_t *each = cbe_alloc(size, sizeof *each, "processes", err);
    *memory = 0;
    const cbe_status st = cbe_processes_agree(o->processes, each ? CBE_OK : CBE_ERR_NOMEM, err);
    if (st == CBE_OK) {
        cbe_processes_list(o->processes, o->gradients.memory, each);
        for (size_t r = 0; r < size; r++)
            if (each[r] && (!*memory || each[r] < *memory)) *memory = each[r];
    }
    cbe_free(each);
    return st;
}

cbe_status cbe_spectra_choose(cbe_spectra_plan *plan, const cbe_model *model,
                              const cbe_spectra_options *options, cbe_error *err)
{
    size_t memory;
    cbe_status st = least_memory(options, &memory, err);
    if (st == CBE_OK) st = choose_alone(plan, model, options, memory, err);
    return cbe_processes_agree(options->processes, st, err);
}

static cbe_status add(void *context, const cbe_sampled_gradients *g, cbe_error *err)
{
    (void)err;
    run *r = context;
    const size_t at = r->places[g->state];
    if (g->draw == 0) cbe_moments_add(&r->states[at], r->room, g->n_sequences, r->skip, g->hidden);
    cbe_moments_add(&r->gradients[at], r->room, g->n_sequences, r->skip, g->grad);
    return CBE_OK;
}

/* Of the group in work, or with `done` states and none in work. */
static cbe_status write_checkpoint(run *r, size_t n_done, size_t sequences_done, cbe_error *err)
{
    const cbe_spectra_options *o = r->options;
    const bool first = cbe_processes_rank(o->processes) == 0, works = n_done == r->first;
    const cbe_spectra_state state = {.place = {r->n_at_once, r->group + !works, sequences_done},
                                     .hidden_size = r->d,
                                     .states = o->states,
                                     .n_done = n_done,
                                     .done = first ? r->out : NULL,
                                     .n_at_work = works ? r->n : 0,
                                     .hidden = r->states,
                                     .gradients = r->gradients};
    const double start = cbe_now();
    const cbe_status st = cbe_spectra_checkpoint_save(o->checkpoint, &state, err);
    r->written = cbe_now();
    r->writing = r->written - start;
    return st;
}

static cbe_status batch_done(void *context, size_t n_done, cbe_error *err)
{
    run *r = context;
    const double least = fmax(r->options->checkpoint->seconds, WORK_PER_WRITE * r->writing);
    return cbe_now() - r->written < least ? CBE_OK : write_checkpoint(r, r->first, n_done, err);
}

/* Progress of a group as a part of all. */
static bool progress(void *context, size_t done, size_t total)
{
    const run *r = context;
    const cbe_sampled_gradients_options *o = &r->options->gradients;
    return !o->progress || o->progress(o->context, r->group * total + done, r->n_groups * total);
}

static cbe_status allocate_spectrum(const run *r, size_t place, cbe_state_spectrum *out,
                                    cbe_error *err)
{
    const cbe_sampled_gradients_options *o = &r->options->gradients;
    *out = (cbe_state_spectrum){.state = r->options->states[place],
                                .hidden_size = r->d,
                                .n_tokens = o->all_sequences * (o->context_length - r->skip)};
    out->variances = cbe_alloc(r->d, sizeof *out->variances, "spectrum", err);
    out->energies = cbe_alloc(r->d, sizeof *out->energies, "spectrum", err);
    return out->variances && out->energies ? CBE_OK : CBE_ERR_NOMEM;
}

/* The covariance's eigenvectors, then those of the product. */
static cbe_status solve(run *r, size_t at, cbe_state_spectrum *out, cbe_error *err)
{
    const size_t d = r->d;
    double *components = r->matrices[0], *m = r->matrices[1];
    cbe_status st = allocate_spectrum(r, r->first + at, out, err);
    if (st != CBE_OK) return st;
    cbe_moments_mean(&r->states[at], components, r->mean);
    for (size_t i = 0; i < d * d; i++) components[i] -= r->mean[i / d] * r->mean[i % d];
    cbe_moments_mean(&r->gradients[at], m, NULL);
    for (size_t i = 0; i < d * d; i++)
        if (!isfinite(components[i]) || !isfinite(m[i]))
            return cbe_fail(err, CBE_ERR_NUMERIC, -1,
                            "hidden_states.%zu or gradients in it hold NaN or infinity: there is "
                            "no spectrum",
                            out->state);
    st = cbe_eigen_symmetric(d, components, out->variances, err);
    if (st != CBE_OK) return st;
    for (size_t i = 0; i < d; i++) out->variances[i] = fmax(out->variances[i], 0);
    st = cbe_spectrum_solve(d, out->variances, components, m, r->matrices[2], out->energies, err);
    cbe_spectrum_summarise(d, out->variances, &out->variance);
    cbe_spectrum_summarise(d, out->energies, &out->energy);
    return st;
}

/* Sums of the group's states to 0. */
static cbe_status begin_group(run *r, size_t first, size_t n, size_t n_layers, cbe_error *err)
{
    cbe_status st = CBE_OK;
    r->first = first;
    r->n = n;
    memset(r->wanted, 0, (n_layers + 1) * sizeof *r->wanted);
    for (size_t i = 0; i < n && st == CBE_OK; i++) {
        const size_t state = r->options->states[first + i];
        r->wanted[state] = true;
        r->places[state] = i;
        st = cbe_moments_init(&r->states[i], r->d, err);
        if (st == CBE_OK) st = cbe_moments_init(&r->gradients[i], r->d, err);
    }
    return st;
}

static void end_group(run *r)
{
    for (size_t i = 0; i < r->n; i++) {
        cbe_moments_free(&r->states[i]);
        cbe_moments_free(&r->gradients[i]);
    }
    r->n = 0;
}

static cbe_status tell(const run *r, size_t place, cbe_error *err)
{
    const cbe_spectra_options *o = r->options;
    if (!o->tell || o->tell(o->context, place)) return CBE_OK;
    return cbe_fail(err, CBE_ERR_CANCELLED, -1, "cancelled");
}

/* Once all sequences are added. Rank 0 writes down what is done before any process begins the next
 * group: what others have of this one is then needed no more. */
static cbe_status finish_group(run *r, cbe_error *err)
{
    const cbe_spectra_options *o = r->options;
    cbe_status st = CBE_OK;
    for (size_t i = 0; i < r->n; i++) {
        cbe_moments_add_up(&r->states[i], o->processes);
        cbe_moments_add_up(&r->gradients[i], o->processes);
    }
    for (size_t i = 0; i < r->n && st == CBE_OK && cbe_processes_rank(o->processes) == 0; i++) {
        st = solve(r, i, &r->out[r->first + i], err);
        if (st == CBE_OK) st = tell(r, r->first + i, err);
    }
    if (st == CBE_OK && o->checkpoint && o->checkpoint->path &&
        cbe_processes_rank(o->processes) == 0)
        st = write_checkpoint(r, r->first + r->n, 0, err);
    return cbe_processes_agree(o->processes, st, err);
}

static cbe_status allocate(run *r, const cbe_spectra_plan *plan, size_t n_layers, cbe_error *err)
{
    const size_t length = r->options->gradients.context_length;
    r->states = cbe_alloc_zero(plan->n_states, sizeof *r->states, "second moments", err);
    r->gradients = cbe_alloc_zero(plan->n_states, sizeof *r->gradients, "second moments", err);
    r->wanted = cbe_alloc_zero(n_layers + 1, sizeof *r->wanted, "layers", err);
    r->places = cbe_alloc_zero(n_layers + 1, sizeof *r->places, "layers", err);
    r->mean = cbe_alloc(r->d, sizeof *r->mean, "spectrum", err);
    if (!r->states || !r->gradients || !r->wanted || !r->places || !r->mean) return CBE_ERR_NOMEM;
    for (size_t i = 0; i < N_MATRICES; i++)
        if (!(r->matrices[i] =
                  cbe_alloc(cbe_times(r->d, r->d, 1), sizeof(double), "spectrum", err)))
            return CBE_ERR_NOMEM;
    return cbe_moments_room_create(&r->room, r->d, length, err);
}

static void release(run *r)
{
    cbe_moments_room_free(r->room);
    cbe_free(r->states);
    cbe_free(r->gradients);
    cbe_free(r->wanted);
    cbe_free(r->places);
    cbe_free(r->mean);
    for (size_t i = 0; i < N_MATRICES; i++) cbe_free(r->matrices[i]);
}

/* Reads what a file has of states that are done, in rank 0. */
static cbe_status take_done(run *r, const cbe_safetensors *file, cbe_error *err)
{
    cbe_status st = CBE_OK;
    const size_t n = cbe_min_size(r->group * r->n_at_once, r->options->n_states);
    for (size_t i = 0; i < n && st == CBE_OK; i++) {
        cbe_state_spectrum *s = &r->out[i];
        st = allocate_spectrum(r, i, s, err);
        if (st == CBE_OK) st = cbe_spectra_checkpoint_spectrum(file, r->options->states[i], s, err);
        if (st != CBE_OK) break;
        cbe_spectrum_summarise(r->d, s->variances, &s->variance);
        cbe_spectrum_summarise(r->d, s->energies, &s->energy);
        st = tell(r, i, err);
    }
    return st;
}

/* Where the run begins: in the group in which rank 0 was, behind the sequences that this process
 * has in sums of that group.
 * @param file  [in, out] closed, and NULL, if it has nothing of use */
static cbe_status find_place(run *r, cbe_safetensors **file, cbe_spectra_place *place,
                             cbe_error *err)
{
    const cbe_spectra_options *o = r->options;
    const cbe_spectra_checkpoint *c = o->checkpoint;
    const size_t n_sequences = o->gradients.n_sequences;
    cbe_status st =
        c ? cbe_spectra_checkpoint_open(file, c, o->n_states, n_sequences, place, err) : CBE_OK;
    st = cbe_processes_agree(o->processes, st, err);
    if (st != CBE_OK) return st;
    size_t of_first[] = {place->states_at_once, place->groups_done};
    cbe_processes_broadcast(o->processes, sizeof of_first, of_first);
    if (of_first[0] > r->n_at_once)
        return cbe_fail(
            err, CBE_ERR_ARG, -1,
            "the run that was interrupted had sums of %zu layers in memory at once, "
            "%zu fit now: give more " CBE_OPTION("memory") ", or leave out " CBE_OPTION("resume"),
            of_first[0], r->n_at_once);
    if (of_first[0]) r->n_at_once = of_first[0];
    r->group = of_first[1];
    r->n_groups = (o->n_states - 1) / r->n_at_once + 1;
    if (*file && (place->states_at_once != r->n_at_once || place->groups_done != r->group)) {
        cbe_safetensors_close(*file);
        *file = NULL;
    }
    if (!*file) place->sequences_done = 0;
    if (*file && cbe_processes_rank(o->processes) == 0) st = take_done(r, *file, err);
    if (*file && st == CBE_OK && c->found)
        c->found(c->context, place->sequences_done,
                 cbe_min_size(r->group * r->n_at_once, o->n_states));
    return cbe_processes_agree(o->processes, st, err);
}

/* Sums of the sequences that a checkpoint has of the group. */
static cbe_status take_sums(run *r, const cbe_safetensors *file, size_t n_sequences, cbe_error *err)
{
    const cbe_sampled_gradients_options *o = &r->options->gradients;
    const size_t n = n_sequences * (o->context_length - r->skip);
    cbe_status st = CBE_OK;
    for (size_t i = 0; i < r->n && n && st == CBE_OK; i++) {
        st = cbe_spectra_checkpoint_sums(file, r->options->states[r->first + i], &r->states[i],
                                         &r->gradients[i], err);
        r->states[i].n = n;
        r->gradients[i].n = n * o->n_draws;
    }
    return st;
}

cbe_status cbe_spectra_run(const cbe_model *model, const cbe_spectra_options *options,
                           cbe_state_spectrum *out, cbe_error *err)
{
    const size_t n_layers = cbe_model_get_config(model)->n_layers;
    cbe_sampled_gradients_options gradients = options->gradients;
    cbe_spectra_plan plan;
    cbe_spectra_place place = {0};
    cbe_safetensors *file = NULL;
    run r = {.options = options,
             .d = cbe_model_get_config(model)->hidden_size,
             .skip = options->gradients.skip_positions,
             .out = out,
             .written = cbe_now()};
    cbe_status st = cbe_spectra_choose(&plan, model, options, err);
    if (st != CBE_OK) return st;
    r.n_at_once = plan.n_states;
    st = cbe_processes_agree(options->processes, allocate(&r, &plan, n_layers, err), err);
    if (st == CBE_OK) st = find_place(&r, &file, &place, err);
    gradients.memory = gradients.memory ? plan.gradients.bytes : 0;
    gradients.states = r.wanted;
    gradients.progress = progress;
    gradients.batch_done = options->checkpoint && options->checkpoint->path ? batch_done : NULL;
    gradients.context = &r;
    gradients.n_done = place.sequences_done;
    cbe_gemm_enter();
    for (; r.group < r.n_groups && st == CBE_OK; r.group++) {
        const size_t first = r.group * r.n_at_once;
        st = begin_group(&r, first, cbe_min_size(r.n_at_once, options->n_states - first), n_layers,
                         err);
        if (st == CBE_OK) st = take_sums(&r, file, gradients.n_done, err);
        if (st == CBE_OK) st = cbe_sampled_gradients_run(model, &gradients, add, &r, err);
        st = cbe_processes_agree(options->processes, st, err);
        if (st == CBE_OK) st = finish_group(&r, err);
        end_group(&r);
        gradients.n_done = 0;
    }
    cbe_gemm_leave();
    cbe_safetensors_close(file);
    release(&r);
    return st;
}
