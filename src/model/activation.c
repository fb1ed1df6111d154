/*
 * activation.c - see activation.h. Plain twins: tests/ref/model_ref.c.
 *
 * Each activation is an inline function of a float, so that loops over it become vector code.
 */
#include "model/activation.h"

/* Exception flags are read nowhere. If compilers had to keep them right, the clamps in cbe_expf
 * would not vectorise. NaN and infinity behave as without the option. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-trapping-math")
#endif

#include <math.h>
#include <string.h>

#include "math/exp.h"
#include "core/clones.h"

static inline float silu(float z)
{
    return z / (1.0f + cbe_expf(-z));
}

/* With s = 1 / (1 + exp(-z)): d (z s) / dz = s + z s (1 - s), and 1 - s = exp(-z) s does not
 * cancel. */
static inline float silu_slope(float z)
{
    const float e = cbe_expf(-z), s = 1.0f / (1.0f + e);
    return s + z * (e * s) * s;
}

static inline float quick_gelu(float z)
{
    return z / (1.0f + cbe_expf(-1.702f * z));
}

static inline float quick_gelu_slope(float z)
{
    const float e = cbe_expf(-1.702f * z), s = 1.0f / (1.0f + e);
    return s + 1.702f * z * (e * s) * s;
}

/* Uses (1 + tanh(u)) / 2 = 1 / (1 + exp(-2 u)), in which nothing cancels. */
static inline float gelu_tanh(float z)
{
    const float twice_root = 1.5957691216057308f; /* 2 sqrt(2 / pi) */
    return z / (1.0f + cbe_expf(-twice_root * (z + 0.044715f * z * z * z)));
}

static inline float gelu_tanh_slope(float z)
{
    const float twice_root = 1.5957691216057308f;
    const float e = cbe_expf(-twice_root * (z + 0.044715f * z * z * z)), s = 1.0f / (1.0f + e);
    return s + z * (e * s) * s * twice_root * (1.0f + 0.134145f * z * z);
}

/* With Q the upper tail of the normal distribution: z (1 - Q(z)), or z Q(-z) below 0.
 * -log Q(t) is nearly a parabola; the polynomial (tests/tools/activation_coefficients.py) leaves
 * |z| Q within 4e-8 in float32 arithmetic. Past 9 Q is below 1e-18 and counts as constant. */
static inline float upper_tail(float t)
{
    t = t > 9.0f ? 9.0f : t;
    float p = 1.1462743643164686e-8f;
    p = p * t - 3.982633813848224e-7f;
    p = p * t + 5.725267783418531e-6f;
    p = p * t - 4.331735544838011e-5f;
    p = p * t + 1.640829723328352e-4f;
    p = p * t + 5.621097807306796e-5f;
    p = p * t - 4.879346117377281e-3f;
    p = p * t + 3.639104589819908e-2f;
    p = p * t + 3.182942271232605e-1f;
    p = p * t + 7.978862524032593e-1f;
    p = p * t + 6.931471228599548e-1f;
    return cbe_expf(-p);
}

static inline float gelu(float z)
{
    const float tail = z * upper_tail(z < 0 ? -z : z);
    return z < 0 ? tail : z - tail;
}

static inline float gelu_slope(float z)
{
    const float inverse_root = 0.3989422804014327f; /* 1 / sqrt(2 pi) */
    const float tail = upper_tail(z < 0 ? -z : z);
    return (z < 0 ? tail : 1.0f - tail) + z * inverse_root * cbe_expf(-0.5f * z * z);
}

static inline float relu(float z)
{
    return z > 0 ? z : 0;
}

static inline float relu_slope(float z)
{
    return z > 0 ? 1 : 0;
}

/* Loops over an activation f: alone, and times b; forward and backward. */
#define DEFINE_LOOPS(f)                                                                            \
    CBE_CLONES static void f##_row(size_t n, const float *a, float *out)                           \
    {                                                                                              \
        _Pragma("omp simd") for (size_t i = 0; i < n; i++) out[i] = f(a[i]);                       \
    }                                                                                              \
    CBE_CLONES static void f##_gated_row(size_t n, const float *a, const float *b, float *out)     \
    {                                                                                              \
        _Pragma("omp simd") for (size_t i = 0; i < n; i++) out[i] = f(a[i]) * b[i];                \
    }                                                                                              \
    CBE_CLONES static void f##_back_row(size_t n, const float *a, const float *g, float *da)       \
    {                                                                                              \
        _Pragma("omp simd") for (size_t i = 0; i < n; i++) da[i] = g[i] * f##_slope(a[i]);         \
    }                                                                                              \
    CBE_CLONES static void f##_gated_back_row(size_t n, const float *a, const float *b,            \
                                              const float *g, float *da, float *db)                \
    {                                                                                              \
        _Pragma("omp simd") for (size_t i = 0; i < n; i++)                                         \
        {                                                                                          \
            const float by = g[i];                                                                 \
            da[i] = by * b[i] * f##_slope(a[i]);                                                   \
            db[i] = by * f(a[i]);                                                                  \
        }                                                                                          \
    }

DEFINE_LOOPS(silu)
DEFINE_LOOPS(gelu)
DEFINE_LOOPS(gelu_tanh)
DEFINE_LOOPS(quick_gelu)
DEFINE_LOOPS(relu)

static const struct {
    void (*row)(size_t n, const float *a, float *out);
    void (*gated_row)(size_t n, const float *a, const float *b, float *out);
    void (*back_row)(size_t n, const float *a, const float *g, float *da);
    void (*gated_back_row)(size_t n, const float *a, const float *b, const float *g, float *da,
                           float *db);
} loops[] = {
#define LOOPS(f)                                                                                   \
    {                                                                                              \
        f##_row, f##_gated_row, f##_back_row, f##_gated_back_row                                   \
    }
    [CBE_SILU] = LOOPS(silu),           [CBE_GELU] = LOOPS(gelu),
    [CBE_GELU_TANH] = LOOPS(gelu_tanh), [CBE_QUICK_GELU] = LOOPS(quick_gelu),
    [CBE_RELU] = LOOPS(relu),
#undef LOOPS
};
_Static_assert(sizeof loops / sizeof *loops == CBE_N_ACTIVATIONS, "one row for each activation");

static const struct {
    const char *name;
    cbe_activation activation;
} names[] = {
    {"silu", CBE_SILU},
    {"swish", CBE_SILU},
    {"gelu", CBE_GELU},
    {"gelu_python", CBE_GELU},
    {"gelu_new", CBE_GELU_TANH},
    {"gelu_fast", CBE_GELU_TANH},
    {"gelu_pytorch_tanh", CBE_GELU_TANH},
    {"gelu_python_tanh", CBE_GELU_TANH},
    {"gelu_accurate", CBE_GELU_TANH},
    {"quick_gelu", CBE_QUICK_GELU},
    {"relu", CBE_RELU},
};

cbe_activation cbe_activation_find(const char *name)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i].name) == 0) return names[i].activation;
    return CBE_N_ACTIVATIONS;
}

void cbe_activate(cbe_activation activation, size_t n, const float *a, float *out)
{
    loops[activation].row(n, a, out);
}

void cbe_activate_gated(cbe_activation activation, size_t n, const float *a, const float *b,
                        float *out)
{
    loops[activation].gated_row(n, a, b, out);
}

void cbe_activate_back(cbe_activation activation, size_t n, const float *a, const float *grad_out,
                       float *grad_a)
{
    loops[activation].back_row(n, a, grad_out, grad_a);
}

void cbe_activate_gated_back(cbe_activation activation, size_t n, const float *a, const float *b,
                             const float *grad_out, float *grad_a, float *grad_b)
{
    loops[activation].gated_back_row(n, a, b, grad_out, grad_a, grad_b);
}
