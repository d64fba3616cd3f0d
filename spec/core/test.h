/*
 * test: the whole framework of the C unit tests. A program is a list of named
 * cases and one RUN of them; failures are printed with file and line, and the
 * last line is exactly "N passed, N failed", counted in cases. Header-only:
 * each test program includes it once.
 */
#ifndef WF_SPEC_TEST_H
#define WF_SPEC_TEST_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define TEST_UNUSED __attribute__((unused))

typedef struct test_case {
    const char *name;
    void (*run)(void);
} test_case;

static const char *test_name = "";
static int test_failures; /* checks that failed in the running case */

static TEST_UNUSED __attribute__((format(printf, 3, 4))) void
test_fail(const char *file, int line, const char *format, ...)
{
    if (++test_failures > 10)
        return; /* a broken loop would print for ever */
    va_list args;
    va_start(args, format);
    printf("%s:%d: %s: ", file, line, test_name);
    vprintf(format, args);
    printf("\n");
    va_end(args);
}

#define CHECK(condition)                                                                 \
    do {                                                                                 \
        if (!(condition))                                                                \
            test_fail(__FILE__, __LINE__, "%s", #condition);                             \
    } while (0)

/* As CHECK, with a printf-like account of the case at hand. */
#define CHECK_THAT(condition, ...)                                                       \
    do {                                                                                 \
        if (!(condition))                                                                \
            test_fail(__FILE__, __LINE__, __VA_ARGS__);                                  \
    } while (0)

#define CHECK_INT(got, want)                                                             \
    do {                                                                                 \
        long long got_ = (long long)(got), want_ = (long long)(want);                    \
        if (got_ != want_)                                                               \
            test_fail(__FILE__, __LINE__, "%s is %lld, not %lld", #got, got_, want_);    \
    } while (0)

#define CHECK_STR(got, want)                                                             \
    do {                                                                                 \
        const char *got_ = (got), *want_ = (want);                                       \
        if (got_ == NULL || strcmp(got_, want_) != 0)                                    \
            test_fail(__FILE__, __LINE__, "%s is \"%s\", not \"%s\"", #got,              \
                      got_ ? got_ : "(null)", want_);                                    \
    } while (0)

/* Bytes with a length against a C string. */
#define CHECK_BYTES(got, n, want)                                                        \
    do {                                                                                 \
        const char *got_ = (const char *)(got), *want_ = (want);                         \
        size_t n_ = (size_t)(n);                                                         \
        if (n_ != strlen(want_) || memcmp(got_, want_, n_) != 0)                         \
            test_fail(__FILE__, __LINE__, "%s is \"%.*s\", not \"%s\"", #got, (int)n_,   \
                      got_, want_);                                                      \
    } while (0)

/* Runs the cases; for `return RUN(cases);` at the end of main. */
#define RUN(cases) test_run((cases), sizeof(cases) / sizeof((cases)[0]))

static TEST_UNUSED int test_run(const test_case *cases, size_t n)
{
    int passed = 0, failed = 0;
    for (size_t i = 0; i < n; i++) {
        test_name = cases[i].name;
        test_failures = 0;
        cases[i].run();
        if (test_failures == 0) {
            passed++;
            continue;
        }
        failed++;
        printf("FAILED %s (%d checks)\n", test_name, test_failures);
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}

/*
 * A fence: room of which the last byte is the last one that may be touched, so
 * that a parser which reads past its input dies at once.
 */
typedef struct test_fence {
    uint8_t *pages;
    size_t room; /* bytes that may be touched */
    size_t mapped;
} test_fence;

static TEST_UNUSED test_fence test_fence_new(size_t room)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    test_fence f = { NULL, (room + page - 1) / page * page, 0 };
    f.mapped = f.room + page;
    void *at =
        mmap(NULL, f.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED || mprotect((uint8_t *)at + f.room, page, PROT_NONE) != 0) {
        perror("test_fence");
        exit(2);
    }
    f.pages = at;
    return f;
}

/* The last n bytes before the fence. */
static TEST_UNUSED uint8_t *test_fence_end(const test_fence *f, size_t n)
{
    return f->pages + f->room - n;
}

/* A copy of n bytes that ends at the fence. */
static TEST_UNUSED char *test_fence_put(const test_fence *f, const void *bytes, size_t n)
{
    uint8_t *at = test_fence_end(f, n);
    if (n > 0)
        memcpy(at, bytes, n);
    return (char *)at;
}

static TEST_UNUSED void test_fence_free(test_fence *f)
{
    munmap(f->pages, f->mapped);
    f->pages = NULL;
}

/* Reproducible noise (xorshift): the same in every run. */
static uint64_t test_random_state = 0x9E3779B97F4A7C15u;

static TEST_UNUSED uint32_t test_random(void)
{
    uint64_t x = test_random_state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    test_random_state = x;
    return (uint32_t)(x >> 32);
}

/* 0 <= result < below */
static TEST_UNUSED uint32_t test_random_below(uint32_t below)
{
    return test_random() % below;
}

#endif
