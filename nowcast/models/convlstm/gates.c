/* The gates of a ConvLSTM, one pass forward and one backward; compiled where a C compiler is at hand (see gates.py).

   A row is one pixel of one sequence. z holds 4 F numbers a row in the order i, f, g, o: what enters the gates, before
   peepholes. c is float32, z and h are float32 or bfloat16 (its bits as uint16_t); all arithmetic is in float32.

       i = sigmoid(zi + wi c')        c = f c' + i tanh(zg)
       f = sigmoid(zf + wf c' + k)    o = sigmoid(zo + wo c)        h = o tanh(c)

   c' is the cell state before, k a constant. The backward pass computes i, f, g, o and c again from z and c'. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

INLINE float bits_to_float(uint32_t bits) { float x; memcpy(&x, &bits, 4); return x; }
INLINE uint32_t float_to_bits(float x) { uint32_t bits; memcpy(&bits, &x, 4); return bits; }

INLINE float load_float(const float *x) { return *x; }
INLINE void store_float(float *to, float x) { *to = x; }
INLINE float load_bfloat16(const uint16_t *x) { return bits_to_float((uint32_t)*x << 16); }
INLINE void store_bfloat16(uint16_t *to, float x) { /* to the nearest, ties to even; NaN stays NaN */
    uint32_t bits = float_to_bits(x);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    *to = (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
}

/* exp(x) = s + s p with s a power of two and p = expm1 of the rest in [-ln2/2, ln2/2]. x is held in [-LIMIT, LIMIT], so that
   products of two (1 + exp) stay finite; sigmoid and tanh are 0 or 1 to float32 long before. NaN stays NaN. */
#define LIMIT 28.0f
typedef struct { float s, p; } Power;
INLINE Power power(float x) {
    x = x > LIMIT ? LIMIT : x;
    x = x < -LIMIT ? -LIMIT : x;
    const float shifted = x * 1.44269504f + 12582912.0f; /* 1.5 * 2^23: the integer lies in the low bits */
    const float n = shifted - 12582912.0f;
    float r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    float q = 1.9875691500e-4f;
    q = q * r + 1.3981999507e-3f;
    q = q * r + 8.3334519073e-3f;
    q = q * r + 4.1665795894e-2f;
    q = q * r + 1.6666665459e-1f;
    q = q * r + 5.0000001201e-1f;
    const Power result = {bits_to_float((float_to_bits(shifted) << 23) + 0x3f800000u), q * r * r + r};
    return result;
}
INLINE float exp1(float x) { const Power e = power(x); return e.s * e.p + (e.s + 1.0f); }        /* 1 + exp(x) */
INLINE float expm1_of(float x) { const Power e = power(x); return e.s * e.p + (e.s - 1.0f); }    /* exp(x) - 1, exact near 0 */
INLINE float sigmoid(float x) { return 1.0f / exp1(-x); }
INLINE float tanh_of(float x) { const float e = expm1_of(2.0f * x); return e / (e + 2.0f); }

#define DEFINE(TYPE, LOAD, STORE, NAME)                                                                                        \
                                                                                                                               \
INLINE void forward_##NAME(ptrdiff_t F, const TYPE *restrict conv, const TYPE *add, TYPE *keep, const float *before,           \
                           float *after, TYPE *restrict h, const float *restrict w, const float k, const int keeps) {          \
    _Pragma("omp simd")                                                                                                        \
    for (ptrdiff_t j = 0; j < F; j++) {                                                                                        \
        float zi = LOAD(conv + j) + LOAD(add + j), zf = LOAD(conv + F + j) + LOAD(add + F + j);                                \
        float zg = LOAD(conv + 2 * F + j) + LOAD(add + 2 * F + j), zo = LOAD(conv + 3 * F + j) + LOAD(add + 3 * F + j);        \
        if (keeps) STORE(keep + j, zi), STORE(keep + F + j, zf), STORE(keep + 2 * F + j, zg), STORE(keep + 3 * F + j, zo);     \
        const float c0 = before[j];                                                                                            \
        const float a = exp1(-(zf + k + w[F + j] * c0)), b = exp1(-(zi + w[j] * c0)), e = expm1_of(2.0f * zg);                 \
        const float c = c0 / a + e / ((e + 2.0f) * b), t = expm1_of(2.0f * c);                                                 \
        after[j] = c;                                                                                                          \
        STORE(h + j, t / ((t + 2.0f) * exp1(-(zo + w[2 * F + j] * c))));                                                       \
    }                                                                                                                          \
}                                                                                                                              \
                                                                                                                               \
INLINE void backward_##NAME(ptrdiff_t F, const TYPE *z, const float *restrict before, const TYPE *dh1, const TYPE *dh2,        \
                            float *dc, TYPE *dz, const float *restrict w, const float k, float *restrict sums) {               \
    _Pragma("omp simd")                                                                                                        \
    for (ptrdiff_t j = 0; j < F; j++) {                                                                                        \
        const float c0 = before[j], zi = LOAD(z + j), zf = LOAD(z + F + j), zg = LOAD(z + 2 * F + j), zo = LOAD(z + 3 * F + j); \
        const float i = sigmoid(zi + w[j] * c0), f = sigmoid(zf + k + w[F + j] * c0), g = tanh_of(zg), c = f * c0 + i * g;     \
        const float o = sigmoid(zo + w[2 * F + j] * c), t = tanh_of(c), dh = LOAD(dh1 + j) + LOAD(dh2 + j);                    \
        const float dzo = dh * t * o * (1.0f - o);                                                                             \
        const float d = dc[j] + dh * o * (1.0f - t * t) + dzo * w[2 * F + j];                                                  \
        const float dzi = d * g * i * (1.0f - i), dzf = d * c0 * f * (1.0f - f), dzg = d * i * (1.0f - g * g);                 \
        dc[j] = d * f + dzi * w[j] + dzf * w[F + j];                                                                           \
        STORE(dz + j, dzi), STORE(dz + F + j, dzf), STORE(dz + 2 * F + j, dzg), STORE(dz + 3 * F + j, dzo);                    \
        sums[j] += dzi, sums[F + j] += dzf, sums[2 * F + j] += dzg, sums[3 * F + j] += dzo;                                    \
        sums[4 * F + j] += dzi * c0, sums[5 * F + j] += dzf * c0, sums[6 * F + j] += dzo * c;                                  \
    }                                                                                                                          \
}                                                                                                                              \
                                                                                                                               \
void gates_forward_##NAME(ptrdiff_t N, ptrdiff_t F, const TYPE *conv, const TYPE *add, TYPE *keep, const float *before,        \
                          float *after, TYPE *h, const float *w, const TYPE *zeros, float k, int threads) {                    \
    _Pragma("omp parallel for schedule(static) num_threads(threads)")                                                          \
    for (ptrdiff_t row = 0; row < N; row++) {                                                                                  \
        const TYPE *x = conv ? conv + row * 4 * F : zeros, *y = add ? add + row * 4 * F : zeros;                               \
        if (keep) forward_##NAME(F, x, y, keep + row * 4 * F, before + row * F, after + row * F, h + row * F, w, k, 1);        \
        else forward_##NAME(F, x, y, NULL, before + row * F, after + row * F, h + row * F, w, k, 0);                           \
    }                                                                                                                          \
}                                                                                                                              \
                                                                                                                               \
void gates_backward_##NAME(ptrdiff_t N, ptrdiff_t F, const TYPE *z, const float *before, const TYPE *dh1, const TYPE *dh2,     \
                           float *dc, TYPE *dz, const float *w, const TYPE *zeros, float k, float *sums, int threads) {        \
    _Pragma("omp parallel for schedule(static) num_threads(threads)")                                                          \
    for (int part = 0; part < threads; part++) {                                                                               \
        for (ptrdiff_t row = N * part / threads; row < N * (part + 1) / threads; row++) {                                      \
            const TYPE *x = dh1 ? dh1 + row * F : zeros, *y = dh2 ? dh2 + row * F : zeros;                                     \
            backward_##NAME(F, z + row * 4 * F, before + row * F, x, y, dc + row * F, dz + row * 4 * F, w, k,                  \
                            sums + (ptrdiff_t)part * 7 * F);                                                                   \
        }                                                                                                                      \
    }                                                                                                                          \
}

/* gates_forward_*: conv and add: (N, 4F), NULL for zeros; what enters the gates is their sum. keep: (N, 4F) for that sum, may be add
   (or NULL: not wanted). before, after: c (N, F), may be the same. h: (N, F). w: (3, F). zeros: 4 F of them. threads: how many.

   gates_backward_*: z: (N, 4F). before: c' (N, F). dh1, dh2: two parts of the gradient of h (N, F), NULL for zeros. dc: gradient of c
   in, of c' out. dz: (N, 4F), may be z. sums: (threads, 7 F), added to: gradients of the bias, then of the peepholes. */
DEFINE(float, load_float, store_float, float32)
DEFINE(uint16_t, load_bfloat16, store_bfloat16, bfloat16)
