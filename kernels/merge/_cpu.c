/* Merging weights, a block of a tensor at a time. The meaning is in _reference.py; _cpu.py calls this.
 *
 * Every function reads raw values (bf16, f16, f32), works in float and writes raw values, TILE elements at a time, so
 * that what lies between the steps stays in the first-level cache. One thread, fused multiply-add only where it is written, sums
 * in lanes of fixed number: the same bits on every processor. Nothing is allocated here.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

/* One binary for every x86: the loader picks the variant the processor has. Needs ifunc, hence glibc. */
#if defined(__x86_64__) && defined(__GLIBC__)
#define MULTI_TARGET __attribute__((target_clones("avx512f", "arch=haswell", "default")))
#else
#define MULTI_TARGET
#endif
#define INLINE static inline __attribute__((always_inline))
#define TILE_WORK MULTI_TARGET __attribute__((noinline)) static

enum { BF16, F16, F32 };
enum { TILE = 1024, MOST = 64, LANES = 8 };
enum { ALL, NONE, WINDOW, RANDOM, BYTES };
typedef double dvec __attribute__((vector_size(LANES * sizeof(double))));
typedef float fvec __attribute__((vector_size(LANES * sizeof(float))));

/* Which elements of a delta are kept, and what they are multiplied with. See `Sparse` in __init__.py. */
typedef struct {
    int32_t mode;
    float scale, weight;
    uint32_t low, high, key_a, key_b, limit;
    int64_t low_from, low_to, high_to, seen_low, seen_high;
    const uint8_t *bytes;
} Sparse;

INLINE uint32_t bits(float x) {
    uint32_t u;
    memcpy(&u, &x, 4);
    return u;
}

INLINE float value(uint32_t u) {
    float x;
    memcpy(&x, &u, 4);
    return x;
}

/* The 16 bits of the half nearest to x, ties to even; what is too large becomes infinity. x is no NaN. */
INLINE uint32_t half_of(float x) {
    uint32_t u = bits(x), sign = (u >> 16) & 0x8000u, m = u & 0x7fffffffu;
    uint32_t normal = (m + 0xfffu + ((m >> 13) & 1u) - 0x38000000u) >> 13;
    uint32_t tiny = bits(value(m) + 0.5f) - 0x3f000000u; /* the last bit of 0.5 is 2^-24, that of the smallest halves */
    uint32_t h = m < 0x38800000u ? tiny : normal;
    return sign | (m >= 0x477ff000u ? 0x7c00u : h);
}

INLINE float of_half(uint32_t h) {
    uint32_t m = h & 0x7fffu;
    float x = value(m << 13) * 0x1p112f;
    return value(bits(x) | ((h & 0x8000u) << 16));
}

INLINE uint32_t brain_of(float x) {
    uint32_t u = bits(x);
    return (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
}

/* x as the working dtype holds it. */
INLINE float rounded(float x, int dtype) {
    if (dtype == BF16) return value(brain_of(x) << 16);
    if (dtype == F16) {
        uint32_t h = half_of(x);
        return (h & 0x7fffu) == 0x7c00u ? value((h << 16 & 0x80000000u) | 0x7f800000u) : of_half(h);
    }
    return x;
}

/* Work on one tile. These are functions of their own, not inlined: inlined into each other they take a compiler minutes.
 * PER_DTYPE writes a loop three times, so that within it the dtype is a constant. */
#define PER_DTYPE(dtype, loop)                                                                                         \
    if ((dtype) == BF16) {                                                                                             \
        enum { W = BF16 };                                                                                             \
        loop                                                                                                           \
    } else if ((dtype) == F16) {                                                                                       \
        enum { W = F16 };                                                                                              \
        loop                                                                                                           \
    } else {                                                                                                           \
        enum { W = F32 };                                                                                              \
        loop                                                                                                           \
    }

/* x[0 .. n) = elements from `at` on; true when one of them is NaN or infinite. */
TILE_WORK int load(const void *from, int dtype, int64_t at, int n, float *x) {
    uint32_t odd = 0;
    if (dtype == F32) {
        const float *p = (const float *)from + at;
        memcpy(x, p, (size_t)n * sizeof *x);
        for (int i = 0; i < n; ++i) odd |= (bits(p[i]) & 0x7f800000u) == 0x7f800000u;
    } else if (dtype == BF16) {
        const uint16_t *p = (const uint16_t *)from + at;
        for (int i = 0; i < n; ++i) x[i] = value((uint32_t)p[i] << 16), odd |= (p[i] & 0x7f80u) == 0x7f80u;
    } else {
        const uint16_t *p = (const uint16_t *)from + at;
        for (int i = 0; i < n; ++i) x[i] = of_half(p[i]), odd |= (p[i] & 0x7c00u) == 0x7c00u;
    }
    return odd != 0;
}

/* Writes x[0 .. n) from `at` on; true when one of them does not fit the dtype. */
TILE_WORK int store(void *to, int dtype, int64_t at, int n, const float *x) {
    uint32_t odd = 0;
    if (dtype == F32) {
        float *p = (float *)to + at;
        memcpy(p, x, (size_t)n * sizeof *x);
        for (int i = 0; i < n; ++i) odd |= (bits(x[i]) & 0x7f800000u) == 0x7f800000u;
    } else if (dtype == BF16) {
        uint16_t *p = (uint16_t *)to + at;
        for (int i = 0; i < n; ++i) {
            uint32_t h = brain_of(x[i]);
            p[i] = (uint16_t)h, odd |= (h & 0x7f80u) == 0x7f80u;
        }
    } else {
        uint16_t *p = (uint16_t *)to + at;
        for (int i = 0; i < n; ++i) {
            uint32_t h = half_of(x[i]);
            p[i] = (uint16_t)h, odd |= (h & 0x7c00u) == 0x7c00u;
        }
    }
    return odd != 0;
}

/* d = d - base */
TILE_WORK void subtract(float *restrict d, const float *restrict base, int work, int n) {
    PER_DTYPE(work, for (int i = 0; i < n; ++i) d[i] = rounded(d[i] - base[i], W);)
}

/* d = d * c */
TILE_WORK void scale(float *d, float c, int work, int n) {
    PER_DTYPE(work, for (int i = 0; i < n; ++i) d[i] = rounded(d[i] * c, W);)
}

/* sum = fma(c, x, sum) */
TILE_WORK void add_fused(float *restrict sum, float c, const float *restrict x, int n) {
    for (int i = 0; i < n; ++i) sum[i] = __builtin_fmaf(c, x[i], sum[i]);
}

/* sum = sum + c * x, in float */
TILE_WORK void add(float *restrict sum, float c, const float *restrict x, int n) {
    if (c == 1)
        for (int i = 0; i < n; ++i) sum[i] += x[i];
    else
        for (int i = 0; i < n; ++i) sum[i] += c * x[i];
}

/* Adds d and its weight where its sign is the elected one. */
TILE_WORK void vote(const float *restrict d, const float *restrict sum, float weight, float *restrict mixed,
                    float *restrict share, int n) {
    for (int i = 0; i < n; ++i) {
        float v = sum[i] >= 0 ? d[i] : -d[i];
        mixed[i] += v > 0 ? d[i] : 0;
        share[i] += v > 0 ? weight : 0;
    }
}

/* mixed = base + lambda * mixed / share, each step rounded; share may be null, for the divisor. */
TILE_WORK void finish(float *restrict mixed, const float *restrict share, float divisor, float lambda,
                      const float *restrict base, int work, int n) {
    PER_DTYPE(work, {
        for (int i = 0; i < n; ++i) mixed[i] = rounded(mixed[i], W);
        if (share)
            for (int i = 0; i < n; ++i) {
                float w = rounded(share[i], W);
                mixed[i] = rounded(mixed[i] / (w == 0 ? 1 : w), W);
            }
        else if (divisor != 1)
            for (int i = 0; i < n; ++i) mixed[i] = rounded(mixed[i] / divisor, W);
        if (lambda != 1)
            for (int i = 0; i < n; ++i) mixed[i] = rounded(mixed[i] * lambda, W);
        for (int i = 0; i < n; ++i) mixed[i] = rounded(base[i] + mixed[i], W);
    })
}

INLINE int tile_at(int64_t at, int64_t n) { return n - at < TILE ? (int)(n - at) : TILE; }

/* sums += <a, a>, <a, b>, <b, b> over n elements, a multiple of 2 LANES, in double: two lanes of sums each, as one would
 * wait for itself. */
TILE_WORK void products(const float *a, const float *b, int n, double *aa, double *ab, double *bb) {
    dvec sums[3][2] = {0};
    for (int k = 0; k < n; k += 2 * LANES)
        for (int half = 0; half < 2; ++half) {
            dvec x = __builtin_convertvector(*(fvec *)(a + k + half * LANES), dvec);
            dvec y = __builtin_convertvector(*(fvec *)(b + k + half * LANES), dvec);
            sums[0][half] += x * x, sums[1][half] += x * y, sums[2][half] += y * y;
        }
    double *to[3] = {aa, ab, bb};
    for (int i = 0; i < 3; ++i) {
        dvec both = sums[i][0] + sums[i][1];
        double whole = 0;
        for (int l = 0; l < LANES; ++l) whole += both[l];
        *to[i] += whole;
    }
}

/* sums[i * count + j] += <x_i - base, x_j - base> for i <= j, in double. base may be null. */
MULTI_TARGET int merge_gram(int count, const void *const *data, const int32_t *dtypes, const void *base, int base_dtype,
                            int64_t n, double *sums) {
    float x[MOST][TILE] __attribute__((aligned(64))), b[TILE] __attribute__((aligned(64)));
    int odd = 0;
    for (int64_t at = 0; at < n; at += TILE) {
        int m = tile_at(at, n);
        if (m < TILE) memset(b, 0, sizeof b);
        if (base) odd |= load(base, base_dtype, at, m, b);
        else if (at == 0) memset(b, 0, sizeof b);
        for (int i = 0; i < count; ++i) {
            if (m < TILE) memset(x[i], 0, sizeof x[i]);
            odd |= load(data[i], dtypes[i], at, m, x[i]);
        }
        int end = (m + 2 * LANES - 1) / (2 * LANES) * (2 * LANES);
        if (count == 2 && !base) {
            products(x[0], x[1], end, sums, sums + 1, sums + 3);
            continue;
        }
        for (int i = 0; i < count; ++i)
            for (int j = i; j < count; ++j) {
                dvec sum = {0};
                for (int k = 0; k < end; k += LANES) {
                    dvec zero = __builtin_convertvector(*(fvec *)(b + k), dvec);
                    dvec left = __builtin_convertvector(*(fvec *)(x[i] + k), dvec) - zero;
                    dvec right = __builtin_convertvector(*(fvec *)(x[j] + k), dvec) - zero;
                    sum += left * right;
                }
                double whole = 0;
                for (int l = 0; l < LANES; ++l) whole += sum[l];
                sums[i * count + j] += whole;
            }
    }
    return odd;
}

/* sum = (c x + e y) / divisor for two tiles of bf16: merge_combine without tiles of floats between. */
TILE_WORK void pair(const uint16_t *restrict p, float c, const uint16_t *restrict q, float e, int fused,
                    float *restrict sum, int n) {
    if (fused)
        for (int i = 0; i < n; ++i)
            sum[i] = __builtin_fmaf(e, value((uint32_t)q[i] << 16), c * value((uint32_t)p[i] << 16) + 0.0f);
    else
        for (int i = 0; i < n; ++i)
            sum[i] = c * value((uint32_t)p[i] << 16) + 0.0f + e * value((uint32_t)q[i] << 16);
}

/* out = (sum of c_i x_i, in order) / divisor, in float; fused: each product is added unrounded. */
int merge_combine(int count, const void *const *data, const int32_t *dtypes, const float *coefficients,
                  float divisor, int fused, void *out, int out_dtype, int64_t n) {
    float x[TILE], sum[TILE];
    int odd = 0, over = 0;
    /* NaN and infinity in an input always reach the result: only when they did is it asked where they are from. */
    int quick = count == 2 && dtypes[0] == BF16 && dtypes[1] == BF16;
    for (int64_t at = 0; at < n; at += TILE) {
        int m = tile_at(at, n);
        if (quick) {
            pair((const uint16_t *)data[0] + at, coefficients[0], (const uint16_t *)data[1] + at, coefficients[1], fused,
                 sum, m);
            if (divisor != 1)
                for (int k = 0; k < m; ++k) sum[k] /= divisor;
            if (!store(out, out_dtype, at, m, sum)) continue;
        }
        memset(sum, 0, sizeof sum);
        for (int i = 0; i < count; ++i) {
            float c = coefficients[i];
            odd |= load(data[i], dtypes[i], at, m, x);
            if (fused) add_fused(sum, c, x, m);
            else add(sum, c, x, m);
        }
        if (divisor != 1)
            for (int k = 0; k < m; ++k) sum[k] /= divisor;
        over |= store(out, out_dtype, at, m, sum);
    }
    return odd | over << 1;
}

INLINE int load_delta(const void *x, int dtype, const float *base, int work, int64_t at, int m, float *d) {
    int odd = load(x, dtype, at, m, d);
    subtract(d, base, work, m);
    return odd;
}

/* Counts magnitudes of x - base. `table` has 4 rows of 65,536: by the upper 16 bits of the 31 of a magnitude, or with
 * prefix >= 0 only those with these upper bits, by their lower 15. Rows are separate so that equal neighbours do not
 * wait for each other. base may be null. */
MULTI_TARGET int merge_histogram(const void *data, int dtype, const void *base, int base_dtype, int work, int64_t n,
                                 int32_t prefix, uint32_t *table) {
    float d[TILE], b[TILE] = {0};
    uint32_t place[TILE];
    int odd = 0;
    for (int64_t at = 0; at < n; at += TILE) {
        int m = tile_at(at, n);
        if (base) odd |= load(base, base_dtype, at, m, b);
        odd |= load_delta(data, dtype, b, work, at, m, d);
        if (prefix < 0) {
            for (int k = 0; k < m; ++k) place[k] = (bits(d[k]) & 0x7fffffffu) >> 15;
            int k = 0;
            for (; k + 4 <= m; k += 4)
                for (int r = 0; r < 4; ++r) ++table[r << 16 | place[k + r]];
            for (; k < m; ++k) ++table[place[k]];
        } else {
            for (int k = 0; k < m; ++k) {
                uint32_t u = bits(d[k]) & 0x7fffffffu;
                if (u >> 15 == (uint32_t)prefix) ++table[(k & 3) << 16 | (u & 0x7fffu)];
            }
        }
    }
    return odd;
}

/* A hash of the element's place: Chris Wellons' lowbias32, keyed before and between. */
INLINE uint32_t draw(uint32_t index, uint32_t key_a, uint32_t key_b) {
    uint32_t x = index ^ key_a;
    for (int round = 0; round < 2; ++round) {
        x ^= x >> 16, x *= 0x7feb352du;
        x ^= x >> 15, x *= 0x846ca68bu;
        x ^= x >> 16, x += round ? 0 : key_b;
    }
    return x;
}

/* Zeroes what is not kept of d[0 .. m), the elements from `at` of the block and from `first + at` of the tensor. */
TILE_WORK void thin(Sparse *s, float *d, int64_t first, int64_t at, int m) {
    switch (s->mode) {
    case ALL:
        return;
    case NONE:
        memset(d, 0, (size_t)m * sizeof *d);
        return;
    case BYTES:
        for (int k = 0; k < m; ++k) d[k] = s->bytes[at + k] ? d[k] : 0;
        return;
    case RANDOM: {
        uint64_t from = (uint64_t)(first + at);
        for (int k = 0; k < m; ++k) {
            uint64_t index = from + (uint64_t)k;
            uint32_t u = draw((uint32_t)index, s->key_a, s->key_b ^ (uint32_t)(index >> 32));
            d[k] = u < s->limit ? d[k] : 0;
        }
        return;
    }
    default: {
        int32_t ties_low = 0, ties_high = 0;
        for (int k = 0; k < m; ++k) {
            uint32_t u = bits(d[k]) & 0x7fffffffu;
            ties_low += u == s->low, ties_high += u == s->high;
        }
        int64_t a = s->seen_low, b = a + ties_low, c = s->seen_high, e = c + ties_high;
        int low_all = a >= s->low_from && b <= s->low_to, low_none = b <= s->low_from || a >= s->low_to;
        int high_all = e <= s->high_to, high_none = c >= s->high_to;
        if (s->low != s->high && (low_all || low_none) && (high_all || high_none)) {
            uint32_t least = low_all ? s->low : s->low + 1, end = high_all ? s->high + 1 : s->high;
            for (int k = 0; k < m; ++k) {
                uint32_t u = bits(d[k]) & 0x7fffffffu;
                d[k] = (u >= least) & (u < end) ? d[k] : 0;
            }
            s->seen_low = b, s->seen_high = e;
            return;
        }
        for (int k = 0; k < m; ++k) {
            uint32_t u = bits(d[k]) & 0x7fffffffu;
            int keep = u > s->low && u < s->high;
            if (u == s->low) {
                keep = s->seen_low >= s->low_from && s->seen_low < s->low_to;
                if (s->low == s->high) keep &= s->seen_low < s->high_to;
                ++s->seen_low;
            } else if (u == s->high) {
                keep = s->seen_high++ < s->high_to;
            }
            d[k] = keep ? d[k] : 0;
        }
    }
    }
}

/* sums[0] += sum of |x - base|, sums[1] += that of what is kept. */
MULTI_TARGET int merge_norms(const void *data, int dtype, const void *base, int base_dtype, int work, Sparse *s,
                             int64_t first, int64_t n, double *sums) {
    float d[TILE], b[TILE], size[TILE] __attribute__((aligned(64)));
    int odd = 0;
    for (int64_t at = 0; at < n; at += TILE) {
        int m = tile_at(at, n);
        odd |= load(base, base_dtype, at, m, b);
        memset(d, 0, sizeof d);
        odd |= load_delta(data, dtype, b, work, at, m, d);
        for (int kept = 0; kept < 2; ++kept) {
            dvec sum = {0};
            double whole = 0;
            if (kept) thin(s, d, first, at, m);
            for (int k = 0; k < TILE; ++k) size[k] = value(bits(d[k]) & 0x7fffffffu);
            for (int k = 0; k < TILE; k += LANES) sum += __builtin_convertvector(*(fvec *)(size + k), dvec);
            for (int l = 0; l < LANES; ++l) whole += sum[l];
            sums[kept] += whole;
        }
    }
    return odd;
}

/* out = base + lambda * (thinned, weighted deltas, those of the elected sign where `consensus`) / their weights. */
int merge_deltas(int count, const void *const *data, const int32_t *dtypes, const void *base, int base_dtype, int work,
                 Sparse *sparse, int consensus, int normalize, float lambda, float divisor, void *out, int out_dtype,
                 int64_t first, int64_t n) {
    float d[MOST][TILE], b[TILE], sum[TILE], mixed[TILE], share[TILE];
    int odd = 0, over = 0;
    for (int64_t at = 0; at < n; at += TILE) {
        int m = tile_at(at, n);
        odd |= load(base, base_dtype, at, m, b);
        memset(sum, 0, sizeof sum);
        for (int i = 0; i < count; ++i) {
            Sparse *s = sparse + i;
            odd |= load_delta(data[i], dtypes[i], b, work, at, m, d[i]);
            thin(s, d[i], first, at, m);
            if (s->scale != 1) scale(d[i], s->scale, work, m);
            if (s->weight != 1) scale(d[i], s->weight, work, m);
            add(sum, 1, d[i], m);
        }
        if (consensus) {
            memset(mixed, 0, sizeof mixed);
            memset(share, 0, sizeof share);
            for (int i = 0; i < count; ++i) vote(d[i], sum, sparse[i].weight, mixed, share, m);
            finish(mixed, normalize ? share : 0, 1, lambda, b, work, m);
            over |= store(out, out_dtype, at, m, mixed);
        } else {
            finish(sum, 0, normalize ? divisor : 1, lambda, b, work, m);
            over |= store(out, out_dtype, at, m, sum);
        }
    }
    return odd | over << 1;
}
