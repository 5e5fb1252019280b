/* Gated fusion on the CPU, float32, forward and backward. The meaning is in _reference.py; _cpu.py calls this.
 *
 * Rows are independent, so each is finished while it lies in the first-level cache: blocks are read once from memory.
 * Rows are worked in chunks whose size the caller derives from the shape alone. What is summed over rows (the gradients
 * of weight and bias) is summed a chunk and then over chunks in order, so the bits do not depend on the thread count.
 *
 * Nothing is allocated here; all buffers are the caller's. No data is aligned or padded by assumption.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

/* One binary for every x86: the loader picks the variant the processor has. Needs ifunc, hence glibc. */
#if defined(__x86_64__) && defined(__GLIBC__)
#define MULTI_TARGET __attribute__((target_clones("avx512f", "fma", "default")))
#else
#define MULTI_TARGET
#endif
#define INLINE static inline __attribute__((always_inline))

enum { LANES = 16, TILE = 4 }; /* 16 floats are one 512-bit register, or several narrower; 4 of them hide the latency */
typedef float vec __attribute__((vector_size(LANES * sizeof(float))));

/* K blocks of rows. Row b of block k starts at data[k] + b * stride[k]; within a row elements are adjacent. */
typedef struct {
    const float *const *data;
    const int64_t *stride;
    int64_t count, width;
} Blocks;

/* The first n <= LANES floats at p; the other lanes are 0. With n a constant LANES this is one load. */
INLINE vec load(const float *p, int64_t n) {
    vec v = {0};
    memcpy(&v, p, (size_t)n * sizeof(float));
    return v;
}

INLINE void store(float *p, vec v, int64_t n) { memcpy(p, &v, (size_t)n * sizeof(float)); }

/* Zero the lanes from n on, so that a sum over lanes sees the row's own elements only. */
INLINE vec keep(vec v, int64_t n) {
    for (int64_t i = n; i < LANES; ++i) v[i] = 0;
    return v;
}

INLINE float total(vec v) {
    float a[LANES];
    memcpy(a, &v, sizeof a);
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; ++i) a[i] += a[i + half];
    return a[0];
}

/* gates = softmax(logits), in place allowed. NaN and inf come out as torch's softmax has them. */
INLINE void softmax(const float *logits, int64_t count, float *gates) {
    float top = -INFINITY, sum = 0;
    for (int64_t k = 0; k < count; ++k) top = logits[k] > top ? logits[k] : top;
    for (int64_t k = 0; k < count; ++k) sum += gates[k] = expf(logits[k] - top);
    for (int64_t k = 0; k < count; ++k) gates[k] /= sum;
}

/* out[d .. d + n) of one row = sum over k of gates[k] * block k, `tiles` registers at once; returns their sum. */
INLINE vec mix_tile(Blocks in, int64_t row, const float *gates, float *out, int64_t d, int tiles, int64_t n) {
    vec acc[TILE] = {{0}}, sum = {0};
    for (int64_t k = 0; k < in.count; ++k) {
        const float *p = in.data[k] + row * in.stride[k] + d;
        for (int t = 0; t < tiles; ++t) acc[t] += gates[k] * load(p + t * LANES, n);
    }
    for (int t = 0; t < tiles; ++t) {
        store(out + d + t * LANES, acc[t], n);
        sum += acc[t];
    }
    /* Lanes past n hold 0 * gate: 0, unless a gate is NaN, and then every element of the row is NaN too. */
    return sum;
}

/* out = the mixed row; returns its mean. */
INLINE float mix_row(Blocks in, int64_t row, const float *gates, float *out) {
    vec sum = {0};
    int64_t d = 0;
    for (; d + TILE * LANES <= in.width; d += TILE * LANES) sum += mix_tile(in, row, gates, out, d, TILE, LANES);
    for (; d + LANES <= in.width; d += LANES) sum += mix_tile(in, row, gates, out, d, 1, LANES);
    if (d < in.width) sum += mix_tile(in, row, gates, out, d, 1, in.width - d);
    return total(sum) / (float)in.width;
}

MULTI_TARGET
static void forward_rows(int64_t first, int64_t last, Blocks in, const float *logits, int64_t logit_stride,
                         const float *weight, const float *bias, float eps, float *y, float *gates, float *mean,
                         float *rstd) {
    const int64_t D = in.width, whole = D - D % LANES;
    for (int64_t row = first; row < last; ++row) {
        float *out = y + row * D, *gate = gates + row * in.count;
        softmax(logits + row * logit_stride, in.count, gate);
        const float mu = mix_row(in, row, gate, out);
        if (!weight) continue;

        vec square = {0}; /* around the mean in a second pass: E[x^2] - E[x]^2 would cancel */
        for (int64_t d = 0; d < whole; d += LANES) {
            const vec x = load(out + d, LANES) - mu;
            square += x * x;
        }
        if (whole < D) {
            const vec x = keep(load(out + whole, D - whole) - mu, D - whole);
            square += x * x;
        }
        const float scale = 1 / sqrtf(total(square) / (float)D + eps);
        mean[row] = mu;
        rstd[row] = scale;
        for (int64_t d = 0; d < D; d += LANES) {
            const int64_t n = D - d;
            if (n >= LANES) {
                const vec x = (load(out + d, LANES) - mu) * scale * load(weight + d, LANES);
                store(out + d, bias ? x + load(bias + d, LANES) : x, LANES);
            } else {
                const vec x = (load(out + d, n) - mu) * scale * load(weight + d, n);
                store(out + d, bias ? x + load(bias + d, n) : x, n);
            }
        }
    }
}

/* n elements at d: from the mixed row in x and the gradient dy to xhat (in x) and dy * weight (in dz); adds up the two
 * sums LayerNorm's gradient needs, and this chunk's gradients of weight and bias. */
INLINE void normalize_tile(float *x, float *dz, const float *dy, const float *weight, float mu, float scale,
                           float *dweight, float *dbias, vec *sum, vec *product, int64_t d, int64_t n) {
    const vec g = load(dy + d, n), xhat = keep((load(x + d, n) - mu) * scale, n), wg = g * load(weight + d, n);
    store(x + d, xhat, n);
    store(dz + d, wg, n);
    store(dweight + d, load(dweight + d, n) + g * xhat, n);
    store(dbias + d, load(dbias + d, n) + g, n);
    *sum += wg;
    *product += wg * xhat;
}

/* Returns <dz, row of the block>; writes dblock = gate * dz when that gradient is wanted. */
INLINE float block_gradient(const float *dz, const float *block, float gate, float *dblock, int64_t D) {
    vec acc[TILE] = {{0}};
    int64_t d = 0;
    for (; d + TILE * LANES <= D; d += TILE * LANES)
        for (int t = 0; t < TILE; ++t) {
            const vec z = load(dz + d + t * LANES, LANES);
            acc[t] += z * load(block + d + t * LANES, LANES);
            if (dblock) store(dblock + d + t * LANES, gate * z, LANES);
        }
    for (; d < D; d += LANES) {
        const int64_t n = D - d < LANES ? D - d : LANES;
        const vec z = load(dz + d, n);
        acc[0] += z * load(block + d, n);
        if (dblock) store(dblock + d, gate * z, n);
    }
    return total((acc[0] + acc[1]) + (acc[2] + acc[3]));
}

/* scratch: 2 * D floats of this thread. dweight, dbias: D floats each of this chunk, or NULL with weight. */
MULTI_TARGET
static void backward_rows(int64_t first, int64_t last, Blocks in, const float *gates, const float *weight,
                          const float *mean, const float *rstd, const float *dy, int64_t dy_stride,
                          float *const *dblocks, float *dlogits, float *dweight, float *dbias, float *scratch) {
    const int64_t D = in.width, K = in.count, whole = D - D % LANES;
    float *x = scratch, *dz = scratch + D;
    if (weight) memset(dweight, 0, (size_t)D * sizeof(float)), memset(dbias, 0, (size_t)D * sizeof(float));
    for (int64_t row = first; row < last; ++row) {
        const float *gate = gates + row * K, *grad = dy + row * dy_stride;
        const float *through = grad; /* the gradient at the mixed row */
        if (weight) {
            const float mu = mean[row], scale = rstd[row];
            vec sum = {0}, product = {0};
            mix_row(in, row, gate, x); /* again, rather than kept: the blocks must be read here anyway */
            for (int64_t d = 0; d < whole; d += LANES)
                normalize_tile(x, dz, grad, weight, mu, scale, dweight, dbias, &sum, &product, d, LANES);
            if (whole < D)
                normalize_tile(x, dz, grad, weight, mu, scale, dweight, dbias, &sum, &product, whole, D - whole);
            const float a = total(sum) / (float)D, b = total(product) / (float)D;
            for (int64_t d = 0; d < whole; d += LANES)
                store(dz + d, (load(dz + d, LANES) - a - load(x + d, LANES) * b) * scale, LANES);
            if (whole < D) {
                const vec g = load(dz + whole, D - whole) - a - load(x + whole, D - whole) * b;
                store(dz + whole, g * scale, D - whole);
            }
            through = dz;
        }
        float *dlogit = dlogits + row * K, mixed = 0;
        for (int64_t k = 0; k < K; ++k) {
            const float *block = in.data[k] + row * in.stride[k];
            dlogit[k] = block_gradient(through, block, gate[k], dblocks[k] ? dblocks[k] + row * D : 0, D);
            mixed += gate[k] * dlogit[k];
        }
        for (int64_t k = 0; k < K; ++k) dlogit[k] = gate[k] * (dlogit[k] - mixed);
    }
}

/* y (B, D), gates (B, K), mean and rstd (B) are written. weight and bias may be NULL. */
void gated_fusion_forward(const float *const *blocks, const int64_t *strides, int64_t K, int64_t B, int64_t D,
                          const float *logits, int64_t logit_stride, const float *weight, const float *bias, float eps,
                          float *y, float *gates, float *mean, float *rstd, int64_t chunk, int32_t threads) {
    const Blocks in = {blocks, strides, K, D};
    const int64_t chunks = (B + chunk - 1) / chunk;
    (void)threads;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t c = 0; c < chunks; ++c) {
        const int64_t last = (c + 1) * chunk < B ? (c + 1) * chunk : B;
        forward_rows(c * chunk, last, in, logits, logit_stride, weight, bias, eps, y, gates, mean, rstd);
    }
}

/* dlogits (B, K), dweight and dbias (D) are written, and every dblocks[k] (B, D) that is not NULL.
 * partial: chunks * 2 * D floats; scratch: threads * 2 * D floats. dweight, dbias, partial go with weight. */
void gated_fusion_backward(const float *const *blocks, const int64_t *strides, int64_t K, int64_t B, int64_t D,
                           const float *gates, const float *weight, const float *mean, const float *rstd,
                           const float *dy, int64_t dy_stride, float *const *dblocks, float *dlogits, float *dweight,
                           float *dbias, float *partial, float *scratch, int64_t chunk, int32_t threads) {
    const Blocks in = {blocks, strides, K, D};
    const int64_t chunks = (B + chunk - 1) / chunk;
    (void)threads;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t c = 0; c < chunks; ++c) {
        const int64_t last = (c + 1) * chunk < B ? (c + 1) * chunk : B;
#ifdef _OPENMP
        float *own = scratch + omp_get_thread_num() * 2 * D;
#else
        float *own = scratch;
#endif
        float *dw = weight ? partial + c * 2 * D : 0;
        backward_rows(c * chunk, last, in, gates, weight, mean, rstd, dy, dy_stride, dblocks, dlogits, dw,
                      weight ? dw + D : 0, own);
    }
    if (!weight) return;
    memset(dweight, 0, (size_t)D * sizeof(float));
    memset(dbias, 0, (size_t)D * sizeof(float));
    for (int64_t c = 0; c < chunks; ++c)
        for (int64_t d = 0; d < D; ++d) {
            dweight[d] += partial[c * 2 * D + d];
            dbias[d] += partial[c * 2 * D + D + d];
        }
}
