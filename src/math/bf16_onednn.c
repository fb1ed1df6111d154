/*
 * bf16_onednn.c - bf16.h by oneDNN 2.
 *
 * A tile of TILE rows is split into its parts, which stay in a cache, and multiplied by a primitive
 * for that number of rows. A primitive is created when its shape first comes up, and kept; matrices
 * of one shape have one arrangement for any number of rows. oneDNN's fast kernels want the rows of
 * C close together: if ldc is larger than n, the rows go through a buffer of the thread.
 */
#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#if DNNL_VERSION_MAJOR != 2
#error "bf16_onednn.c is written for oneDNN 2; configure with CBE_ONEDNN=OFF"
#endif

#include "math/bf16.h"
#include "core/pulse.h"
#include "core/clones.h"
#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"

enum { TILE = 128, MAX_PRODUCTS = 256, PAD = 64 };

/* A product of m rows with a (k, n) matrix, and oneDNN's handles of its operands for each
 * thread. */
typedef struct {
    size_t m, k, n;
    bool add;
    dnnl_primitive_t primitive;
    dnnl_memory_t *a, *c, *scratch; /* (n_threads) each; only scratch owns the memory behind it */
} product;

struct cbe_bf16 {
    size_t max_size, n_threads;
    dnnl_engine_t engine;
    dnnl_stream_t *streams; /* (n_threads) */
    uint16_t *room;         /* (n_threads, 2, TILE, max_size): parts of a tile's rows */
    /* (n_threads, TILE, max_size): rows of C before they are spread to ldc */
    float *results;
    pthread_mutex_t lock; /* guards products and n_products */
    product *products;    /* (MAX_PRODUCTS) */
    size_t n_products;
    int parts;
    atomic_bool failed;
};

struct cbe_bf16_matrix {
    cbe_bf16 *owner;
    size_t k, n;
    dnnl_memory_desc_t arranged;
    dnnl_memory_t parts[2]; /* high, low */
    uint16_t *memory;
};

const char *cbe_bf16_missing(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx512bf16") ? NULL : "this CPU does not multiply bfloat16";
#else
    return "only CPUs of the x86-64 family are supported in this";
#endif
}

bool cbe_bf16_is_fast(void)
{
    const dnnl_cpu_isa_t amx = dnnl_cpu_isa_avx512_core_amx;
    return !cbe_bf16_missing() && (dnnl_get_effective_cpu_isa() & amx) == amx;
}

/* Rounds to the nearest bfloat16, ties to even; infinity and NaN stay infinity and NaN. */
static inline uint16_t round_bf16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Splits n numbers into high and low parts; low may be NULL. */
CBE_CLONES static void split_row(size_t n, const float *x, uint16_t *high, uint16_t *low)
{
    for (size_t i = 0; i < n; i++) high[i] = round_bf16(x[i]);
    for (size_t i = 0; i < n && low; i++) {
        const uint32_t bits = (uint32_t)high[i] << 16;
        float rounded;
        memcpy(&rounded, &bits, sizeof rounded);
        low[i] = round_bf16(x[i] - rounded);
    }
}

static cbe_status failed(const char *what, cbe_error *err)
{
    return cbe_fail(err, CBE_ERR_NOMEM, -1, "oneDNN could not make %s; most likely memory is short",
                    what);
}

size_t cbe_bf16_bytes(size_t max_size)
{
    return cbe_times(cbe_times((size_t)omp_get_max_threads(), TILE, max_size),
                     2 * sizeof(uint16_t) + sizeof(float), 1);
}

cbe_status cbe_bf16_create(cbe_bf16 **out, size_t max_size, cbe_error *err)
{
    const char *missing = cbe_bf16_missing();
    if (missing) return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1, "%s", missing);
    cbe_bf16 *o = cbe_alloc_zero(1, sizeof *o, "bfloat16 products", err);
    if (!o) return CBE_ERR_NOMEM;
    o->max_size = max_size;
    o->n_threads = (size_t)omp_get_max_threads();
    pthread_mutex_init(&o->lock, NULL);
    o->streams = cbe_alloc_zero(o->n_threads, sizeof *o->streams, "bfloat16 products", err);
    o->products = cbe_alloc_zero(MAX_PRODUCTS, sizeof *o->products, "bfloat16 products", err);
    o->room = cbe_alloc(cbe_times(o->n_threads, 2 * TILE, max_size), sizeof *o->room,
                        "rows in bfloat16", err);
    o->results = cbe_alloc(cbe_times(o->n_threads, TILE, max_size), sizeof *o->results,
                           "rows in bfloat16", err);
    cbe_status st = o->streams && o->products && o->room && o->results ? CBE_OK : CBE_ERR_NOMEM;
    if (st == CBE_OK && dnnl_engine_create(&o->engine, dnnl_cpu, 0) != dnnl_success)
        st = failed("its engine", err);
    for (size_t i = 0; i < o->n_threads && st == CBE_OK; i++)
        if (dnnl_stream_create(&o->streams[i], o->engine, dnnl_stream_default_flags) !=
            dnnl_success)
            st = failed("a stream", err);
    if (st == CBE_OK)
        *out = o;
    else
        cbe_bf16_free(o);
    return st;
}

static void free_product(const cbe_bf16 *o, product *p)
{
    for (size_t i = 0; i < o->n_threads; i++) {
        if (p->a && p->a[i]) dnnl_memory_destroy(p->a[i]);
        if (p->c && p->c[i]) dnnl_memory_destroy(p->c[i]);
        if (p->scratch && p->scratch[i]) dnnl_memory_destroy(p->scratch[i]);
    }
    cbe_free(p->a);
    cbe_free(p->c);
    cbe_free(p->scratch);
    if (p->primitive) dnnl_primitive_destroy(p->primitive);
}

void cbe_bf16_free(cbe_bf16 *o)
{
    if (!o) return;
    for (size_t i = 0; i < o->n_products; i++) free_product(o, &o->products[i]);
    for (size_t i = 0; i < o->n_threads && o->streams; i++)
        if (o->streams[i]) dnnl_stream_destroy(o->streams[i]);
    if (o->engine) dnnl_engine_destroy(o->engine);
    pthread_mutex_destroy(&o->lock);
    cbe_free(o->streams);
    cbe_free(o->products);
    cbe_free(o->room);
    cbe_free(o->results);
    cbe_free(o);
}

static bool describe(dnnl_memory_desc_t *out, dnnl_data_type_t type, size_t rows, size_t columns,
                     size_t row_step, size_t column_step)
{
    const dnnl_dims_t dims = {(dnnl_dim_t)rows, (dnnl_dim_t)columns},
                      steps = {(dnnl_dim_t)row_step, (dnnl_dim_t)column_step};
    return dnnl_memory_desc_init_by_strides(out, 2, dims, type, steps) == dnnl_success;
}

/* Describes the product C = A B, or C += A B if add; NULL if oneDNN lacks memory. */
static dnnl_primitive_desc_t plan_product(dnnl_engine_t engine, const dnnl_memory_desc_t *a,
                                          const dnnl_memory_desc_t *b, const dnnl_memory_desc_t *c,
                                          bool add)
{
    dnnl_matmul_desc_t desc;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t post = NULL;
    dnnl_primitive_desc_t plan = NULL;
    bool ready =
        dnnl_matmul_desc_init(&desc, a, b, NULL, c) == dnnl_success &&
        dnnl_primitive_attr_create(&attr) == dnnl_success &&
        dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user) == dnnl_success;
    if (ready && add)
        ready = dnnl_post_ops_create(&post) == dnnl_success &&
                dnnl_post_ops_append_sum(post, 1) == dnnl_success &&
                dnnl_primitive_attr_set_post_ops(attr, post) == dnnl_success;
    /* A primitive divides its work over the number of threads at its creation, which must be there
     * when it runs: each of our threads runs primitives alone. */
    const int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    if (ready && dnnl_primitive_desc_create(&plan, &desc, attr, engine, NULL) != dnnl_success)
        plan = NULL;
    omp_set_num_threads(threads);
    if (post) dnnl_post_ops_destroy(post);
    if (attr) dnnl_primitive_attr_destroy(attr);
    return plan;
}

/* Finds the arrangement that oneDNN wants for a matrix (k, n). */
static bool arrange(const cbe_bf16 *o, size_t k, size_t n, dnnl_memory_desc_t *out)
{
    const dnnl_dims_t dims = {(dnnl_dim_t)k, (dnnl_dim_t)n};
    dnnl_memory_desc_t a, b, c;
    if (!describe(&a, dnnl_bf16, TILE, k, k, 1) || !describe(&c, dnnl_f32, TILE, n, n, 1) ||
        dnnl_memory_desc_init_by_tag(&b, 2, dims, dnnl_bf16, dnnl_format_tag_any) != dnnl_success)
        return false;
    dnnl_primitive_desc_t plan = plan_product(o->engine, &a, &b, &c, false);
    if (!plan) return false;
    *out = *dnnl_primitive_desc_query_md(plan, dnnl_query_weights_md, 0);
    dnnl_primitive_desc_destroy(plan);
    return true;
}

/* Most entries of an arranged matrix (k, n): oneDNN pads to blocks of at most PAD x PAD. */
static size_t padded_entries(size_t k, size_t n)
{
    return cbe_times((k + PAD - 1) / PAD * PAD, (n + PAD - 1) / PAD * PAD, 1);
}

size_t cbe_bf16_matrix_bytes(size_t k, size_t n)
{
    return cbe_times(padded_entries(k, n), 2, sizeof(uint16_t));
}

/* Copies from a plain matrix to an arranged one. */
static bool copy_arranged(const cbe_bf16 *o, const dnnl_memory_desc_t *plain, uint16_t *from,
                          dnnl_memory_t to)
{
    const dnnl_memory_desc_t *arranged;
    dnnl_memory_t source = NULL;
    dnnl_primitive_desc_t plan = NULL;
    dnnl_primitive_t reorder = NULL;
    bool done = dnnl_memory_get_memory_desc(to, &arranged) == dnnl_success &&
                dnnl_memory_create(&source, plain, o->engine, from) == dnnl_success &&
                dnnl_reorder_primitive_desc_create(&plan, plain, o->engine, arranged, o->engine,
                                                   NULL) == dnnl_success &&
                dnnl_primitive_create(&reorder, plan) == dnnl_success;
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, source}, {DNNL_ARG_TO, to}};
    done = done && dnnl_primitive_execute(reorder, o->streams[0], 2, arguments) == dnnl_success &&
           dnnl_stream_wait(o->streams[0]) == dnnl_success;
    if (reorder) dnnl_primitive_destroy(reorder);
    if (plan) dnnl_primitive_desc_destroy(plan);
    if (source) dnnl_memory_destroy(source);
    return done;
}

cbe_status cbe_bf16_matrix_create(cbe_bf16_matrix **out, cbe_bf16 *o, size_t k, size_t n,
                                  const float *b, size_t ldb, bool transposed, cbe_error *err)
{
    const size_t rows = transposed ? n : k, columns = transposed ? k : n,
                 entries = padded_entries(k, n);
    cbe_bf16_matrix *matrix = cbe_alloc_zero(1, sizeof *matrix, "matrix in bfloat16", err);
    uint16_t *plain[2] = {cbe_alloc(rows, columns * sizeof **plain, "matrix in bfloat16", err),
                          cbe_alloc(rows, columns * sizeof **plain, "matrix in bfloat16", err)};
    dnnl_memory_desc_t from;
    cbe_status st = matrix && plain[0] && plain[1] ? CBE_OK : CBE_ERR_NOMEM;
    if (st == CBE_OK) {
        matrix->owner = o;
        matrix->k = k;
        matrix->n = n;
        if (!arrange(o, k, n, &matrix->arranged) ||
            !describe(&from, dnnl_bf16, k, n, transposed ? 1 : n, transposed ? k : 1))
            st = failed("a matrix's arrangement", err);
    }
    if (st == CBE_OK && dnnl_memory_desc_get_size(&matrix->arranged) > entries * sizeof(uint16_t))
        st = cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                      "oneDNN wants %zu bytes for a matrix of %zu x %zu in bfloat16",
                      dnnl_memory_desc_get_size(&matrix->arranged), k, n);
    if (st == CBE_OK && !(matrix->memory = cbe_alloc(2 * entries, sizeof *matrix->memory,
                                                     "matrix in bfloat16", err)))
        st = CBE_ERR_NOMEM;
    for (size_t i = 0; i < rows && st == CBE_OK; i++)
        split_row(columns, b + i * ldb, plain[0] + i * columns, plain[1] + i * columns);
    for (size_t i = 0; i < 2 && st == CBE_OK; i++)
        if (dnnl_memory_create(&matrix->parts[i], &matrix->arranged, o->engine,
                               matrix->memory + i * entries) != dnnl_success ||
            !copy_arranged(o, &from, plain[i], matrix->parts[i]))
            st = failed("a matrix", err);
    cbe_free(plain[0]);
    cbe_free(plain[1]);
    if (st == CBE_OK)
        *out = matrix;
    else
        cbe_bf16_matrix_free(matrix);
    return st;
}

void cbe_bf16_matrix_free(cbe_bf16_matrix *matrix)
{
    if (!matrix) return;
    for (size_t i = 0; i < 2; i++)
        if (matrix->parts[i]) dnnl_memory_destroy(matrix->parts[i]);
    cbe_free(matrix->memory);
    cbe_free(matrix);
}

static bool make_product(const cbe_bf16 *o, const cbe_bf16_matrix *b, product *p)
{
    dnnl_memory_desc_t a, c;
    if (!describe(&a, dnnl_bf16, p->m, p->k, p->k, 1) ||
        !describe(&c, dnnl_f32, p->m, p->n, p->n, 1))
        return false;
    dnnl_primitive_desc_t plan = plan_product(o->engine, &a, &b->arranged, &c, p->add);
    bool done = plan && dnnl_primitive_create(&p->primitive, plan) == dnnl_success;
    p->a = cbe_alloc_zero(o->n_threads, sizeof *p->a, "product", NULL);
    p->c = cbe_alloc_zero(o->n_threads, sizeof *p->c, "product", NULL);
    p->scratch = cbe_alloc_zero(o->n_threads, sizeof *p->scratch, "product", NULL);
    done = done && p->a && p->c && p->scratch;
    for (size_t i = 0; i < o->n_threads && done; i++)
        done = dnnl_memory_create(&p->a[i], &a, o->engine, DNNL_MEMORY_NONE) == dnnl_success &&
               dnnl_memory_create(&p->c[i], &c, o->engine, DNNL_MEMORY_NONE) == dnnl_success &&
               dnnl_memory_create(&p->scratch[i],
                                  dnnl_primitive_desc_query_md(plan, dnnl_query_scratchpad_md, 0),
                                  o->engine, DNNL_MEMORY_ALLOCATE) == dnnl_success;
    if (plan) dnnl_primitive_desc_destroy(plan);
    return done;
}

/* The product of m rows with b, created if there is none; NULL if that fails. Products are never
 * moved or freed before cbe_bf16_free, so threads may keep the pointer. */
static const product *find_product(cbe_bf16 *o, const cbe_bf16_matrix *b, size_t m, bool add)
{
    const product wanted = {.m = m, .k = b->k, .n = b->n, .add = add};
    const product *found = NULL;
    pthread_mutex_lock(&o->lock);
    for (size_t i = 0; i < o->n_products && !found; i++) {
        const product *p = &o->products[i];
        if (p->m == m && p->k == b->k && p->n == b->n && p->add == add) found = p;
    }
    if (!found && o->n_products < MAX_PRODUCTS) {
        product *p = &o->products[o->n_products];
        *p = wanted;
        if (make_product(o, b, p))
            o->n_products++, found = p;
        else
            free_product(o, p);
    }
    pthread_mutex_unlock(&o->lock);
    return found;
}

static bool multiply_part(cbe_bf16 *o, const cbe_bf16_matrix *b, int part, size_t thread, size_t m,
                          uint16_t *a, bool add, float *c)
{
    const product *p = find_product(o, b, m, add);
    if (!p || dnnl_memory_set_data_handle(p->a[thread], a) != dnnl_success ||
        dnnl_memory_set_data_handle(p->c[thread], c) != dnnl_success)
        return false;
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, p->a[thread]},
                                         {DNNL_ARG_WEIGHTS, b->parts[part]},
                                         {DNNL_ARG_DST, p->c[thread]},
                                         {DNNL_ARG_SCRATCHPAD, p->scratch[thread]}};
    return dnnl_primitive_execute(p->primitive, o->streams[thread], 4, arguments) == dnnl_success;
}

void cbe_bf16_set_parts(cbe_bf16 *bf16, int parts)
{
    bf16->parts = parts;
}

bool cbe_bf16_in_use(const cbe_bf16_matrix *b)
{
    return b && b->owner->parts;
}

static void spread_row(size_t n, const float *row, bool add, float *to)
{
    if (!add) memcpy(to, row, n * sizeof *row);
    for (size_t i = 0; i < n && add; i++) to[i] += row[i];
}

void cbe_bf16_gemm(const cbe_bf16_matrix *b, size_t m, const float *a, size_t lda, float beta,
                   float *c, size_t ldc)
{
    cbe_bf16 *o = b->owner;
    const size_t tiles = (m + TILE - 1) / TILE, k = b->k;
    const bool inside = omp_get_level() > 0, three = o->parts == 3;
#pragma omp parallel for schedule(dynamic) if (tiles > 1 && !inside)
    for (size_t tile = 0; tile < tiles; tile++) {
        cbe_pulse();
        const size_t first = tile * TILE, rows = cbe_min_size(TILE, m - first);
        /* In a nested region omp_get_thread_num is 0 for each thread of the outer one. */
        const size_t thread =
            (size_t)(inside ? omp_get_ancestor_thread_num(1) : omp_get_thread_num());
        uint16_t *high = o->room + thread * 2 * TILE * o->max_size, *low = high + TILE * k;
        const bool direct = ldc == b->n;
        float *to = c + first * ldc, *out = direct ? to : o->results + thread * TILE * o->max_size;
        for (size_t i = 0; i < rows; i++)
            split_row(k, a + (first + i) * lda, high + i * k, three ? low + i * k : NULL);
        bool done = multiply_part(o, b, 0, thread, rows, high, direct && beta != 0, out);
        if (three)
            done = done && multiply_part(o, b, 1, thread, rows, high, true, out) &&
                   multiply_part(o, b, 0, thread, rows, low, true, out);
        for (size_t i = 0; i < rows && done && !direct; i++)
            spread_row(b->n, out + i * b->n, beta != 0, to + i * ldc);
        if (!done) atomic_store(&o->failed, true);
    }
}

cbe_status cbe_bf16_check(cbe_bf16 *o, cbe_error *err)
{
    return atomic_exchange(&o->failed, false) ? failed("a product", err) : CBE_OK;
}
