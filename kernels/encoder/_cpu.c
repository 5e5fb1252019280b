/* Products of float32 matrices on the matrix unit (AMX) of newer Intel processors, each number as the sum of two of bf16.
 *
 * x = h + l with h = bf16(x) and l = bf16(x - h) keeps 16 of 24 bits; h h' + h l' + l h' leaves out l l', which is below
 * them. Three products of bf16 are still several times faster than one of float32. Sums are of float32 and in one order,
 * so that a row's result depends neither on the other rows nor on the number of threads.
 */
#define _GNU_SOURCE /* for syscall */

#if defined(__x86_64__) && defined(__linux__)

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define AMX __attribute__((target("amx-tile,amx-bf16,avx512f,avx512bw,avx512vl,avx512bf16")))
#define STEP 32           /* values of k that one tile holds */
#define TILE 1024         /* bytes of a tile: 16 rows of 64 */
#define NEAR 12           /* such steps of W for 32 columns, 48 KB, are used for all rows in turn (measured: 6, 8, 12, 48) */
#define BLOCK (768 << 10) /* bytes of x that are split at once: with the panel of W beside it they fit into the L2 cache */

/* 1 when this processor and kernel let us use the matrix unit. */
int encoder_ready(void) {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx512bf16") || !__builtin_cpu_supports("avx512bw")) return 0;
    unsigned a = 7, b, c = 0, d;
    __asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    if (!(d >> 22 & 1) || !(d >> 24 & 1)) return 0;             /* amx-bf16, amx-tile */
    return syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */) == 0;
}

/* 32 floats as 32 of h and 32 of l. */
AMX static inline void halves(__m512 a, __m512 b, void *h, void *l) {
    __m512i high = (__m512i)_mm512_cvtne2ps_pbh(b, a);
    __m512 ha = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(high)), 16));
    __m512 hb = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(high, 1)), 16));
    _mm512_storeu_si512(h, high);
    _mm512_storeu_si512(l, (__m512i)_mm512_cvtne2ps_pbh(_mm512_sub_ps(b, hb), _mm512_sub_ps(a, ha)));
}

/* The same of memory, where `have` of them are and 0 follows. */
AMX static inline void split(const float *x, int64_t have, void *h, void *l) {
    __mmask16 one = have >= 16 ? 0xffff : have <= 0 ? 0 : (__mmask16)((1u << have) - 1);
    __mmask16 two = have >= 32 ? 0xffff : have <= 16 ? 0 : (__mmask16)((1u << (have - 16)) - 1);
    halves(_mm512_maskz_loadu_ps(one, x), _mm512_maskz_loadu_ps(two, x + 16), h, l);
}

/* 16 rows of (rows, width) as tiles of 32 columns, h and l after each other. */
AMX static void rows16(const float *x, int64_t stride, int64_t rows, int64_t width, char *to) {
    for (int64_t s = 0; s * STEP < width; ++s)
        for (int64_t r = 0; r < 16; ++r)
            split(x + (r < rows ? r : 0) * stride + s * STEP, r < rows ? width - s * STEP : 0, to + s * 2 * TILE + r * 64,
                  to + s * 2 * TILE + r * 64 + TILE);
}

/* W (n, k) as tiles, 16 columns of the result by 32 of k, h and l after each other: ceil(n/32)*2 * ceil(k/32) * 2 KB. */
AMX void encoder_pack(const float *w, int64_t n, int64_t k, int64_t stride, char *packed) {
    int64_t steps = (k + STEP - 1) / STEP, blocks = (n + 31) / 32 * 2;
    for (int64_t j = 0; j < blocks; ++j)
        for (int64_t s = 0; s < steps; ++s) {
            uint16_t *tile = (uint16_t *)(packed + (j * steps + s) * 2 * TILE);
            for (int c = 0; c < 16; ++c) {
                uint16_t h[32], l[32];
                int64_t row = j * 16 + c, left = k - s * STEP;
                split(w + (row < n ? row : 0) * stride + s * STEP, row < n ? left : 0, h, l);
                for (int i = 0; i < 32; ++i) {  /* pairs of k lie beside each other, columns after them */
                    tile[(i >> 1) * 32 + c * 2 + (i & 1)] = h[i];
                    tile[TILE / 2 + (i >> 1) * 32 + c * 2 + (i & 1)] = l[i];
                }
            }
        }
}

/* erf(x), at most 2 units in the last place of 1 away: a rational function on [-4, 4], beyond which it is 1 in float. */
AMX static inline __m512 erf16(__m512 x) {
    x = _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(-4)), _mm512_set1_ps(4));
    __m512 z = _mm512_mul_ps(x, x), p = _mm512_set1_ps(-2.72614225801306e-10f), q = _mm512_set1_ps(-1.45660718464996e-05f);
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(2.77068142495902e-08f));
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(-2.10102402082508e-06f));
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(-5.69250639462346e-05f));
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(-7.34990630326855e-04f));
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(-2.95459980854025e-03f));
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(-1.60960333262415e-02f));
    q = _mm512_fmadd_ps(q, z, _mm512_set1_ps(-2.13374055278905e-04f));
    q = _mm512_fmadd_ps(q, z, _mm512_set1_ps(-1.68282697438203e-03f));
    q = _mm512_fmadd_ps(q, z, _mm512_set1_ps(-7.37332916720468e-03f));
    q = _mm512_fmadd_ps(q, z, _mm512_set1_ps(-1.42647390514189e-02f));
    return _mm512_div_ps(_mm512_mul_ps(x, p), q);
}

AMX static inline __m512 finished(__m512 y, int gelu) {
    if (!gelu) return y;
    __m512 half = _mm512_mul_ps(y, _mm512_set1_ps(.5f));
    return _mm512_fmadd_ps(half, erf16(_mm512_mul_ps(y, _mm512_set1_ps(.70710678118654752f))), half);
}

typedef struct {
    uint8_t palette, start, zero[14];
    uint16_t row[16];
    uint8_t rows[16];
} Config;

/* Eight tiles of 16 rows of 64 bytes. */
AMX static inline void configure(void) {
    Config config = {.palette = 1};
    for (int t = 0; t < 8; ++t) config.row[t] = 64, config.rows[t] = 16;
    __asm__ volatile("" : : "r"(&config) : "memory"); /* gcc believes that only 8 bytes of it are read */
    _tile_loadconfig(&config);
}

#define SEEN __asm__ volatile("" ::: "memory") /* what was written is in memory before tiles read it, and the reverse */
#define LOAD(t, at) _tile_loadd(t, at, 64)

/* 32 rows of x by 32 rows of W over `steps` tiles, added to c, four tiles; nothing is there yet where `begin`. */
AMX static inline void square(const char *x0, const char *x1, const char *w0, const char *w1, int64_t steps, int begin,
                              float *c) {
    if (begin) {
        _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
    } else {
        LOAD(0, c); LOAD(1, c + 256); LOAD(2, c + 512); LOAD(3, c + 768);
    }
    for (int64_t at = 0; at < steps * 2 * TILE; at += 2 * TILE) {
        LOAD(4, x0 + at + TILE); LOAD(6, w0 + at); LOAD(7, w1 + at); LOAD(5, x1 + at + TILE);
        _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(1, 4, 7); _tile_dpbf16ps(2, 5, 6); _tile_dpbf16ps(3, 5, 7);
        LOAD(4, x0 + at); LOAD(5, x1 + at);
        _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(1, 4, 7); _tile_dpbf16ps(2, 5, 6); _tile_dpbf16ps(3, 5, 7);
        LOAD(6, w0 + at + TILE); LOAD(7, w1 + at + TILE);
        _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(1, 4, 7); _tile_dpbf16ps(2, 5, 6); _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, c, 64); _tile_stored(1, c + 256, 64); _tile_stored(2, c + 512, 64); _tile_stored(3, c + 768, 64);
}

/* `rows` rows of y. x holds them as tiles, up to a multiple of 32; sums has 4 KB for each 32 of them. What W has for a
 * panel of columns and NEAR steps stays near while all rows pass by. */
AMX static void block(const char *x, const char *packed, const float *bias, int gelu, float *y, int64_t stride,
                      int64_t rows, int64_t n, int64_t steps, float *sums) {
    for (int64_t j = 0; j < n; j += 32) {
        const char *w0 = packed + j / 16 * steps * 2 * TILE, *w1 = w0 + steps * 2 * TILE;
        for (int64_t s = 0; s < steps; s += NEAR) {
            int64_t some = steps - s < NEAR ? steps - s : NEAR, at = s * 2 * TILE;
            for (int64_t i = 0; i < rows; i += 32) {
                const char *x0 = x + i / 16 * steps * 2 * TILE, *x1 = x0 + steps * 2 * TILE;
                square(x0 + at, x1 + at, w0 + at, w1 + at, some, s == 0, sums + i * 32);
            }
        }
        SEEN;
        for (int64_t i = 0; i < rows; ++i)
            for (int64_t half = 0; half < 2 && j + half * 16 < n; ++half) {
                int64_t column = j + half * 16;
                __mmask16 some = n - column >= 16 ? 0xffff : (__mmask16)((1u << (n - column)) - 1);
                __m512 sum = _mm512_load_ps(sums + i / 16 * 512 + half * 256 + (i & 15) * 16);
                if (bias) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(some, bias + column));
                _mm512_mask_storeu_ps(y + i * stride + column, some, finished(sum, gelu));
            }
    }
}

/* y (m, n) = act(x (m, k) W^T + bias); 0 when it worked, 1 without memory. */
AMX int encoder_linear(const float *x, int64_t m, int64_t k, int64_t x_stride, const char *packed, int64_t n,
                       const float *bias, int gelu, float *y, int64_t y_stride, int threads) {
    int64_t steps = (k + STEP - 1) / STEP, most = BLOCK / (steps * STEP * 4) / 32 * 32, failed = 0;
    int64_t share = ((m + threads - 1) / threads + 31) / 32 * 32;
    if (most < 32) most = 32;
    if (share < most) most = share;
    int64_t blocks = (m + most - 1) / most;
#pragma omp parallel num_threads(threads) if (threads > 1) reduction(+ : failed)
    {
        char *parts = aligned_alloc(64, (size_t)(most * (steps * STEP + 32) * 4));
        if (parts) configure();
#pragma omp for schedule(static)
        for (int64_t at = 0; at < blocks; ++at) {
            if (!parts) { failed = 1; continue; }
            int64_t from = at * most, rows = m - from < most ? m - from : most;
            for (int64_t i = 0; i < (rows + 31) / 32 * 32; i += 16)
                rows16(x + (from + (i < rows ? i : 0)) * x_stride, x_stride, rows - i, k, parts + i / 16 * steps * 2 * TILE);
            SEEN;
            block(parts, packed, bias, gelu, y + from * y_stride, y_stride, rows, n, steps,
                  (float *)(parts + most * steps * STEP * 4));
        }
        if (parts) _tile_release();
        free(parts);
    }
    return failed != 0;
}

/* 2^x for x <= 0; 0 below -125, where it would take the slow way of denormal numbers. Cephes' polynomial; NaN passes. */
AMX static inline __m512 power16(__m512 x) {
    __mmask16 some = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-125), _CMP_NLT_UQ);
    __m512 n = _mm512_roundscale_ps(x, 8), r = _mm512_sub_ps(x, n), p = _mm512_set1_ps(1.535336188319500e-4f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.339887440266574e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(9.618437357674640e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.550332471162809e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.402264791363012e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(6.931472028550421e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1));
    return _mm512_maskz_scalef_ps(some, p, n);
}

/* The same turned round, as the second factor: pairs of columns beside each other, rows after them. */
AMX static void turned16(const float *x, int64_t stride, int64_t rows, int64_t width, char *to) {
    __m512i place = _mm512_setr_epi32(0, 16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240);
    uint32_t h[16], l[16];
    for (int64_t s = 0; s * STEP < width; ++s)
        for (int64_t r = 0; r < 16; ++r) {
            int64_t left = r < rows ? width - s * STEP : 0;
            split(x + (r < rows ? r : 0) * stride + s * STEP, left, h, l);
            _mm512_i32scatter_epi32((int *)(to + s * 2 * TILE) + r, place, _mm512_loadu_si512(h), 4);
            _mm512_i32scatter_epi32((int *)(to + s * 2 * TILE + TILE) + r, place, _mm512_loadu_si512(l), 4);
        }
}

/* 32 rows as the second factor whose sum runs over rows: pairs of rows beside each other, tiles of 16 columns. */
AMX static void pairs32(const float *x, int64_t stride, int64_t rows, int64_t width, char *to) {
    __m512i low = _mm512_setr_epi32(0x00200000, 0x00210001, 0x00220002, 0x00230003, 0x00240004, 0x00250005, 0x00260006,
                                    0x00270007, 0x00280008, 0x00290009, 0x002a000a, 0x002b000b, 0x002c000c, 0x002d000d,
                                    0x002e000e, 0x002f000f);
    __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
    uint16_t h[2][32], l[2][32];
    for (int64_t s = 0; s * STEP < width; ++s)
        for (int64_t r = 0; r < 32; r += 2) {
            for (int64_t i = 0; i < 2; ++i) {
                int64_t left = r + i < rows ? width - s * STEP : 0;
                split(x + (r + i < rows ? r + i : 0) * stride + s * STEP, left, h[i], l[i]);
            }
            char *at = to + s * 4 * TILE + r * 32;
            __m512i h0 = _mm512_loadu_si512(h[0]), h1 = _mm512_loadu_si512(h[1]);
            __m512i l0 = _mm512_loadu_si512(l[0]), l1 = _mm512_loadu_si512(l[1]);
            _mm512_storeu_si512(at, _mm512_permutex2var_epi16(h0, low, h1));
            _mm512_storeu_si512(at + TILE, _mm512_permutex2var_epi16(l0, low, l1));
            _mm512_storeu_si512(at + 2 * TILE, _mm512_permutex2var_epi16(h0, high, h1));
            _mm512_storeu_si512(at + 3 * TILE, _mm512_permutex2var_epi16(l0, high, l1));
        }
}

/* exp(scores + mask - their maximum) of at most 16 rows as tiles, and what their sum is divided by. scores (16, wide). */
AMX static void softmax16(float *scores, int64_t wide, int64_t keys, const float *mask, int64_t mask_row, int64_t rows,
                          float scale, char *to, float *share) {
    __m512 log2e = _mm512_set1_ps(1.44269504088896341f);
    for (int64_t r = 0; r < 16 && r < rows; ++r) {
        float *row = scores + r * wide;
        __m512 most = _mm512_set1_ps(-INFINITY), sum = _mm512_setzero_ps();
        for (int64_t k = 0; k < wide; k += 16) {
            __mmask16 some = keys - k >= 16 ? 0xffff : keys <= k ? 0 : (__mmask16)((1u << (keys - k)) - 1);
            __m512 x = _mm512_mask_loadu_ps(_mm512_set1_ps(-INFINITY), some, row + k);
            if (mask) x = _mm512_fmadd_ps(x, _mm512_set1_ps(scale), _mm512_maskz_loadu_ps(some, mask + r * mask_row + k));
            else x = _mm512_mul_ps(x, _mm512_set1_ps(scale));
            _mm512_storeu_ps(row + k, x);
            most = _mm512_max_ps(most, x);
        }
        __m512 top = _mm512_set1_ps(_mm512_reduce_max_ps(most));
        for (int64_t s = 0; s * STEP < wide; ++s) {
            char *at = to + s * 2 * TILE + r * 64;
            __m512 a = power16(_mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(row + s * STEP), top), log2e));
            __m512 b = power16(_mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(row + s * STEP + 16), top), log2e));
            sum = _mm512_add_ps(sum, _mm512_add_ps(a, b));
            halves(a, b, at, at + TILE);
        }
        share[r] = 1 / _mm512_reduce_add_ps(sum);
    }
}

/* y[b, t, h] = softmax(scale q k^T + mask) v for one b and h; `room` holds what is between. */
AMX static void attend(const float *q, const float *k, const float *v, const int64_t *stride, const float *mask,
                       int64_t mask_row, int64_t queries, int64_t keys, int64_t width, float scale, float *y,
                       int64_t y_row, char *room) {
    int64_t deep = (width + 31) / 32, steps = (keys + 31) / 32, wide = steps * 32;
    char *kt = room, *vt = kt + steps * 2 * deep * 2 * TILE, *qt = vt + steps * deep * 4 * TILE, *pt = qt + deep * 2 * TILE;
    float *scores = (float *)(pt + steps * 2 * TILE), *made = scores + 16 * wide, share[16];
    for (int64_t j = 0; j < wide; j += 16)
        turned16(k + (j < keys ? j : 0) * stride[1], stride[1], keys - j, width, kt + j / 16 * deep * 2 * TILE);
    for (int64_t s = 0; s < steps; ++s)
        pairs32(v + s * 32 * stride[2], stride[2], keys - s * 32, width, vt + s * deep * 4 * TILE);
    for (int64_t i = 0; i < queries; i += 16) {
        rows16(q + i * stride[0], stride[0], queries - i, width, qt);
        SEEN;
        for (int64_t j = 0; j < wide; j += 32) {
            const char *one = kt + j / 16 * deep * 2 * TILE, *two = one + deep * 2 * TILE;
            _tile_zero(0); _tile_zero(1);
            for (int64_t s = 0; s < deep; ++s, one += 2 * TILE, two += 2 * TILE) {
                LOAD(4, qt + s * 2 * TILE + TILE); LOAD(6, one); LOAD(7, two); LOAD(5, qt + s * 2 * TILE);
                _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(1, 4, 7); _tile_dpbf16ps(0, 5, 6); _tile_dpbf16ps(1, 5, 7);
                LOAD(6, one + TILE); LOAD(7, two + TILE);
                _tile_dpbf16ps(0, 5, 6); _tile_dpbf16ps(1, 5, 7);
            }
            _tile_stored(0, scores + j, wide * 4); _tile_stored(1, scores + j + 16, wide * 4);
        }
        SEEN;
        softmax16(scores, wide, keys, mask ? mask + i * mask_row : 0, mask_row, queries - i, scale, pt, share);
        SEEN;
        for (int64_t d = 0; d < deep; ++d) {
            _tile_zero(0); _tile_zero(1);
            for (int64_t s = 0; s < steps; ++s) {
                const char *from = vt + (s * deep + d) * 4 * TILE;
                LOAD(4, pt + s * 2 * TILE + TILE); LOAD(6, from); LOAD(7, from + 2 * TILE); LOAD(5, pt + s * 2 * TILE);
                _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(1, 4, 7); _tile_dpbf16ps(0, 5, 6); _tile_dpbf16ps(1, 5, 7);
                LOAD(6, from + TILE); LOAD(7, from + 3 * TILE);
                _tile_dpbf16ps(0, 5, 6); _tile_dpbf16ps(1, 5, 7);
            }
            _tile_stored(0, made, 64); _tile_stored(1, made + 256, 64);
            SEEN;
            for (int64_t r = 0; r < 16 && i + r < queries; ++r)
                for (int64_t half = 0; half < 2 && d * 32 + half * 16 < width; ++half) {
                    int64_t left = width - d * 32 - half * 16;
                    _mm512_mask_storeu_ps(y + (i + r) * y_row + d * 32 + half * 16,
                                          left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1),
                                          _mm512_mul_ps(_mm512_load_ps(made + half * 256 + r * 16), _mm512_set1_ps(share[r])));
                }
        }
    }
}

/* y (b, queries, h, width) from q, k, v (b, h, ., width) with strides {b, h, row} each, mask (b, queries, keys) to add or
 * null, with strides {b, row}; 0 when it worked, 1 without memory. */
AMX int encoder_attention(const float *q, const float *k, const float *v, const int64_t *strides, const float *mask,
                          const int64_t *mask_strides, int64_t b, int64_t h, int64_t queries, int64_t keys, int64_t width,
                          float scale, float *y, int threads) {
    int64_t deep = (width + 31) / 32, steps = (keys + 31) / 32, failed = 0;
    int64_t size = (steps * 4 * deep * 2 + deep * 2 + steps * 2) * TILE + 16 * steps * 32 * 4 + 2 * TILE;
    int64_t rows[3] = {strides[2], strides[5], strides[8]};
#pragma omp parallel num_threads(threads) if (threads > 1) reduction(+ : failed)
    {
        char *room = aligned_alloc(64, (size_t)size);
        if (room) configure();
#pragma omp for schedule(static)
        for (int64_t at = 0; at < b * h; ++at) {
            if (!room) { failed = 1; continue; }
            int64_t i = at / h, j = at % h;
            attend(q + i * strides[0] + j * strides[1], k + i * strides[3] + j * strides[4],
                   v + i * strides[6] + j * strides[7], rows, mask ? mask + i * mask_strides[0] : 0,
                   mask ? mask_strides[1] : 0, queries, keys, width, scale, y + (i * queries * h + j) * width, h * width, room);
        }
        if (room) _tile_release();
        free(room);
    }
    return failed != 0;
}

#else

int encoder_ready(void) { return 0; }

#endif
