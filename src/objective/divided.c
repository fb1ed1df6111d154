/* divided.c - see divided.h. */
#include "objective/divided.h"

#include <string.h>

#include "core/fail.h"
#include "core/memory.h"

typedef struct {
    cbe_objective head;
    cbe_objective *share;
    const cbe_processes *processes;
    size_t *counts; /* (processes): each process's tokens in the sample in force */
    size_t n_all;   /* all processes' tokens in the sample in force */
    double *sent;   /* (max_batch, d + 1): directions and their constants */
    /* (max_batch), (max_batch, d) for grad: results of the share; rank 0 has its caller's
     * arrays. */
    double *energy, *constant, *slope, *grad;
    double *own; /* (max_batch, N): energies of the process's tokens */
    double *all; /* (N of all processes): energies of all tokens of one direction */
} divided;

static void free_arrays(divided *o)
{
    void *owned[] = {o->counts, o->sent, o->energy, o->constant, o->slope, o->grad, o->own, o->all};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) cbe_free(owned[i]);
    cbe_objective_free(o->share);
    cbe_free(o);
}

static void divided_destroy(cbe_objective *self)
{
    divided *o = (divided *)self;
    if (cbe_processes_rank(o->processes) == 0) cbe_divided_give(self, CBE_ORDER_END, 0);
    free_arrays(o);
}

static size_t divided_n_tokens(const cbe_objective *self)
{
    return ((const divided *)self)->n_all;
}

static void give(divided *o, const cbe_order *order)
{
    cbe_order copy = *order;
    cbe_processes_broadcast(o->processes, sizeof copy, &copy);
}

/* After the sample has changed. */
static void count_tokens(divided *o)
{
    cbe_processes_list(o->processes, cbe_objective_n_tokens(o->share), o->counts);
    o->n_all = 0;
    for (size_t r = 0; r < cbe_processes_size(o->processes); r++) o->n_all += o->counts[r];
}

static void set_sample(divided *o, const cbe_order *order)
{
    if (order->kind == CBE_ORDER_SAMPLE)
        cbe_objective_set_part(o->share, order->n, order->part);
    else
        cbe_objective_set_held_out(o->share);
    count_tokens(o);
}

static size_t divided_n_parts(const cbe_objective *self, size_t n)
{
    return cbe_objective_n_parts(((const divided *)self)->share, n);
}

static void divided_set_sample(cbe_objective *self, size_t n, size_t part)
{
    const cbe_order order = {.kind = CBE_ORDER_SAMPLE, .n = n, .part = part};
    give((divided *)self, &order);
    set_sample((divided *)self, &order);
}

static bool divided_set_rough(cbe_objective *self, bool rough)
{
    const cbe_order order = {.kind = CBE_ORDER_ROUGH, .n = rough};
    give((divided *)self, &order);
    return cbe_objective_set_rough(((divided *)self)->share, rough);
}

static void divided_set_held_out(cbe_objective *self)
{
    const cbe_order order = {.kind = CBE_ORDER_HELD_OUT};
    give((divided *)self, &order);
    set_sample((divided *)self, &order);
}

/* Directions that are removed together, v (n, d) of rank 0, in every process alike; v, energy and
 * grad are NULL in other ranks. */
static cbe_status together(divided *o, const cbe_order *order, const double *v, double *energy,
                           double *grad, cbe_error *err)
{
    const size_t size = order->n * o->head.hidden_size;
    double *sent = cbe_alloc(size, 2 * sizeof *sent, "directions removed together", err);
    cbe_status st = cbe_processes_agree(o->processes, sent ? CBE_OK : CBE_ERR_NOMEM, err);
    if (st == CBE_OK && v) memcpy(sent, v, size * sizeof *sent);
    if (st == CBE_OK) {
        cbe_processes_broadcast(o->processes, size * sizeof *sent, sent);
        st = cbe_objective_eval_together(o->share, order->n, sent, energy ? energy : o->energy,
                                         order->grad ? sent + size : NULL, err);
    }
    if (st == CBE_OK && grad) memcpy(grad, sent + size, size * sizeof *sent);
    cbe_free(sent);
    return st;
}

static cbe_status divided_eval_together(cbe_objective *self, size_t n, const double *v,
                                        double *energy, double *grad, cbe_error *err)
{
    const cbe_order order = {.kind = CBE_ORDER_TOGETHER, .n = n, .grad = grad != NULL};
    give((divided *)self, &order);
    return together((divided *)self, &order, v, energy, grad, err);
}

/* An evaluation of all tokens, in every process alike; the directions are in o->sent. per_token (m,
 * n_all); NULL: not wanted here. */
static cbe_status evaluate(divided *o, const cbe_order *order, double *energy, double *constant,
                           double *slope, double *grad, double *per_token, cbe_error *err)
{
    const size_t m = order->n, own = o->counts[cbe_processes_rank(o->processes)];
    const double *v = o->sent, *constants = o->sent + m * o->head.hidden_size;
    double *each = order->per_token ? o->own : NULL;
    if (!order->slope) slope = NULL;
    if (!order->grad) grad = NULL;
    cbe_status st;
    if (order->kind == CBE_ORDER_EVAL)
        st = cbe_objective_eval(o->share, m, v, energy, grad, each, err);
    else if (order->kind == CBE_ORDER_OPTIMAL)
        st = cbe_objective_eval_optimal(o->share, m, v, energy, constant, grad, each, err);
    else
        st = cbe_objective_eval_constant(o->share, m, v, constants, energy, slope, grad, each, err);
    if (st != CBE_OK) return st; /* in all of them: see cbe_processes_agree */
    for (size_t j = 0; each && j < m; j++)
        cbe_processes_join(o->processes, each + j * own, o->counts,
                           per_token ? per_token + j * o->n_all : o->all);
    return CBE_OK;
}

/* In rank 0. constants NULL unless they are given. */
static cbe_status call(cbe_objective *self, cbe_order_kind kind, size_t m, const double *v,
                       const double *constants, double *energy, double *constant, double *slope,
                       double *grad, double *per_token, cbe_error *err)
{
    divided *o = (divided *)self;
    const size_t d = o->head.hidden_size;
    const cbe_order order = {.kind = kind,
                             .n = m,
                             .slope = slope != NULL,
                             .grad = grad != NULL,
                             .per_token = per_token != NULL};
    give(o, &order);
    memcpy(o->sent, v, m * d * sizeof *v);
    memset(o->sent + m * d, 0, m * sizeof *v);
    if (constants) memcpy(o->sent + m * d, constants, m * sizeof *v);
    cbe_processes_broadcast(o->processes, m * (d + 1) * sizeof *o->sent, o->sent);
    return evaluate(o, &order, energy, constant ? constant : o->constant, slope, grad, per_token,
                    err);
}

static cbe_status divided_eval(cbe_objective *self, size_t m, const double *v, double *energy,
                               double *grad, double *per_token, cbe_error *err)
{
    return call(self, CBE_ORDER_EVAL, m, v, NULL, energy, NULL, NULL, grad, per_token, err);
}

static cbe_status divided_eval_optimal(cbe_objective *self, size_t m, const double *v,
                                       double *energy, double *constant, double *grad,
                                       double *per_token, cbe_error *err)
{
    return call(self, CBE_ORDER_OPTIMAL, m, v, NULL, energy, constant, NULL, grad, per_token, err);
}

static cbe_status divided_eval_constant(cbe_objective *self, size_t m, const double *v,
                                        const double *constants, double *energy, double *slope,
                                        double *grad, double *per_token, cbe_error *err)
{
    return call(self, CBE_ORDER_CONSTANT, m, v, constants, energy, NULL, slope, grad, per_token,
                err);
}

void cbe_divided_give(cbe_objective *self, cbe_order_kind kind, size_t n)
{
    const cbe_order order = {.kind = kind, .n = n};
    give((divided *)self, &order);
}

void cbe_divided_take(cbe_objective *self, cbe_order *order)
{
    cbe_processes_broadcast(((divided *)self)->processes, sizeof *order, order);
}

cbe_status cbe_divided_obey(cbe_objective *self, const cbe_order *order, cbe_error *err)
{
    divided *o = (divided *)self;
    if (order->kind == CBE_ORDER_ROUGH) {
        cbe_objective_set_rough(o->share, order->n);
        return CBE_OK;
    }
    if (order->kind == CBE_ORDER_TOGETHER) return together(o, order, NULL, NULL, NULL, err);
    if (order->kind == CBE_ORDER_SAMPLE || order->kind == CBE_ORDER_HELD_OUT) {
        set_sample(o, order);
        return CBE_OK;
    }
    cbe_processes_broadcast(o->processes, order->n * (o->head.hidden_size + 1) * sizeof *o->sent,
                            o->sent);
    return evaluate(o, order, o->energy, o->constant, o->slope, o->grad, NULL, err);
}

cbe_status cbe_divided_create(cbe_objective **out, cbe_objective *share, size_t n_own,
                              size_t n_tokens, const cbe_processes *processes, cbe_error *err)
{
    const size_t d = cbe_objective_hidden_size(share), m = cbe_objective_max_batch(share),
                 size = cbe_processes_size(processes);
    divided *o = cbe_alloc_zero(1, sizeof *o, "divided objective", err);
    cbe_status st = cbe_processes_agree(processes, o ? CBE_OK : CBE_ERR_NOMEM, err);
    if (st != CBE_OK) {
        cbe_objective_free(share);
        cbe_free(o);
        return st;
    }
    o->head = (cbe_objective){d,
                              m,
                              share->divergence,
                              divided_eval,
                              divided_n_tokens,
                              divided_set_sample,
                              divided_n_parts,
                              divided_set_held_out,
                              divided_eval_optimal,
                              divided_eval_constant,
                              divided_destroy,
                              divided_set_rough,
                              share->eval_together ? divided_eval_together : NULL};
    o->share = share;
    o->processes = processes;
    o->counts = cbe_alloc(size, sizeof *o->counts, "divided objective", err);
    o->sent = cbe_alloc(m, (d + 1) * sizeof *o->sent, "divided objective", err);
    o->energy = cbe_alloc(m, sizeof *o->energy, "divided objective", err);
    o->constant = cbe_alloc(m, sizeof *o->constant, "divided objective", err);
    o->slope = cbe_alloc(m, sizeof *o->slope, "divided objective", err);
    o->grad = cbe_alloc(m, d * sizeof *o->grad, "divided objective", err);
    o->own = cbe_alloc(m, n_own * sizeof *o->own, "divided objective", err);
    o->all = cbe_alloc(n_tokens, sizeof *o->all, "divided objective", err);
    const bool whole =
        o->counts && o->sent && o->energy && o->constant && o->slope && o->grad && o->own && o->all;
    if ((st = cbe_processes_agree(processes, whole ? CBE_OK : CBE_ERR_NOMEM, err)) != CBE_OK) {
        free_arrays(o);
        return st;
    }
    count_tokens(o);
    *out = &o->head;
    return CBE_OK;
}
