/*
 * test_buffer: growth within its limit, contents against a model, and the spares
 * of a loop: who owns which memory at what time.
 */
#include "core/buffer.h"

#include "test.h"

static void fill(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)test_random();
}

static void reserve_keeps_and_grows(void)
{
    wf_buffer b = { 0 };
    CHECK(wf_buffer_reserve(&b, 0, 0) && b.data == NULL);
    CHECK(wf_buffer_append(&b, NULL, 0) && b.data == NULL);
    CHECK(wf_buffer_append(&b, "abc", 3) && b.len == 3 && b.cap >= 3);
    size_t cap = b.cap;
    CHECK(wf_buffer_reserve(&b, cap - 3, 1000) && b.cap == cap); /* it had the room */
    CHECK(wf_buffer_reserve(&b, cap - 2, 1000) && b.cap >= 2 * cap);
    CHECK(b.len == 3 && memcmp(b.data, "abc", 3) == 0);
    wf_buffer_free(&b);
    CHECK(b.data == NULL && b.len == 0 && b.cap == 0);
    wf_buffer_free(&b); /* idempotent */
}

/* Doubling stops at the limit, so that a message of known size has no slack. */
static void the_limit_bounds_growth(void)
{
    for (size_t limit = 1; limit < 300; limit++) {
        wf_buffer b = { 0 };
        uint8_t byte = 7;
        for (size_t i = 0; i < limit; i++) {
            CHECK(wf_buffer_reserve(&b, 1, limit));
            b.data[b.len++] = byte;
            CHECK_THAT(b.cap <= limit && b.cap <= 2 * b.len, "%zu of %zu: cap %u", i,
                       limit, b.cap);
        }
        CHECK_INT(b.cap, limit);
        wf_buffer_free(&b);
    }
}

static void too_much_changes_nothing(void)
{
    wf_buffer b = { 0 };
    CHECK(wf_buffer_append(&b, "abc", 3));
    wf_buffer before = b;
    CHECK(!wf_buffer_reserve(&b, SIZE_MAX, SIZE_MAX));
    CHECK(!wf_buffer_reserve(&b, UINT32_MAX - 2, SIZE_MAX));
    CHECK(!wf_buffer_append(&b, "x", SIZE_MAX - 1));
    CHECK(b.data == before.data && b.len == before.len && b.cap == before.cap);
    wf_buffer_free(&b);
}

static void contents_against_a_model(void)
{
    static uint8_t model[1 << 16], piece[700];
    size_t n = 0;
    wf_buffer b = { 0 };
    for (int i = 0; i < 20000; i++) {
        size_t k = test_random_below(sizeof piece);
        if (test_random_below(2) && n + k <= sizeof model) {
            fill(piece, k);
            CHECK(wf_buffer_append(&b, piece, k));
            memcpy(model + n, piece, k);
            n += k;
        } else {
            k = WF_MIN(k, n);
            wf_buffer_consume(&b, k);
            memmove(model, model + k, n - k);
            n -= k;
        }
        CHECK_INT(b.len, n);
        CHECK(n == 0 || memcmp(b.data, model, n) == 0);
    }
    wf_buffer_free(&b);
}

/* Taking the first bytes moves none, and their room comes back before more is asked for.
 */
static void consuming_moves_nothing(void)
{
    wf_buffer b = { 0 };
    uint8_t bytes[1000];
    fill(bytes, sizeof bytes);
    CHECK(wf_buffer_append(&b, bytes, sizeof bytes));
    const uint8_t *base = b.data;
    uint32_t cap = b.cap;
    for (uint32_t i = 1; i < 1000; i++) {
        wf_buffer_consume(&b, 1);
        CHECK(b.data == base + i && b.len == 1000 - i && b.cap == cap - i);
        CHECK(b.data[0] == bytes[i]);
    }
    CHECK(wf_buffer_reserve(&b, cap - 1, cap));
    CHECK(b.data == base && b.len == 1 && b.cap == cap && b.data[0] == bytes[999]);
    wf_buffer_consume(&b, 0);
    wf_buffer_consume(&b, 1);
    CHECK(b.data == base && b.len == 0 && b.cap == cap);
    wf_buffer_append(&b, bytes, 10);
    wf_buffer_consume(&b, 3);
    wf_buffer_free(&b); /* from where it began: the sanitizers tell */
    wf_buffer none = { 0 };
    wf_buffer_consume(&none, 0);
    CHECK(none.data == NULL);
}

static wf_buffer buffer_of(size_t cap)
{
    wf_buffer b = { .data = malloc(cap), .len = (uint32_t)cap / 2, .cap = (uint32_t)cap };
    if (b.data == NULL)
        exit(2);
    fill(b.data, b.len);
    return b;
}

static void spares_keep_what_is_worth_it(void)
{
    static const struct {
        size_t cap;
        bool kept;
    } rows[] = {
        { WF_SPARE_MIN - 1, false },
        { WF_SPARE_MIN, true },
        { WF_SPARE_MAX, true },
        { WF_SPARE_MAX + 1, false },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        wf_spares spares = { 0 };
        wf_buffer b = buffer_of(rows[i].cap), again = { 0 };
        const uint8_t *data = b.data;
        wf_spares_give(&spares, &b);
        CHECK(b.data == NULL && b.len == 0 && b.cap == 0);
        wf_spares_take(&spares, &again);
        CHECK_INT(again.data == data, rows[i].kept);
        CHECK_INT(again.cap, rows[i].kept ? rows[i].cap : 0);
        CHECK_INT(again.len, 0); /* an empty one */
        wf_buffer_free(&again);
        wf_spares_free(&spares);
    }
}

static void spares_have_room_for_a_few(void)
{
    wf_spares spares = { 0 };
    wf_buffer b[WF_SPARES + 3], none = { 0 };
    wf_spares_give(&spares, &none); /* nothing to give */
    for (int i = 0; i < WF_SPARES + 3; i++) {
        b[i] = buffer_of(WF_SPARE_MIN);
        wf_spares_give(&spares, &b[i]);
        CHECK(b[i].data == NULL); /* kept or freed, in either case not ours */
    }
    int taken = 0;
    for (int i = 0; i < WF_SPARES + 3; i++) {
        wf_spares_take(&spares, &b[i]);
        taken += b[i].data != NULL;
    }
    CHECK_INT(taken, WF_SPARES);
    for (int i = 0; i < WF_SPARES + 3; i++)
        wf_spares_give(&spares, &b[i]);
    wf_spares_free(&spares);
    wf_spares_take(&spares, &none);
    CHECK(none.data == NULL);
}

static void spares_age(void)
{
    wf_spares spares = { 0 };
    wf_buffer b = buffer_of(WF_SPARE_MIN);
    const uint8_t *data = b.data;
    wf_spares_give(&spares, &b);
    wf_spares_take(&spares, &b);
    CHECK(b.data == data);
    wf_spares_give(&spares, &b);
    wf_spares_age(&spares); /* it was used since the last time */
    wf_spares_take(&spares, &b);
    CHECK(b.data == data);
    wf_spares_give(&spares, &b);
    wf_spares_age(&spares);
    wf_spares_age(&spares); /* nobody asked in between */
    wf_spares_take(&spares, &b);
    CHECK(b.data == NULL);
    wf_spares_free(&spares);
}

int main(void)
{
    static const test_case cases[] = {
        { "reserve keeps and grows", reserve_keeps_and_grows },
        { "the limit bounds growth", the_limit_bounds_growth },
        { "too much changes nothing", too_much_changes_nothing },
        { "contents against a model", contents_against_a_model },
        { "consuming moves nothing", consuming_moves_nothing },
        { "spares keep what is worth it", spares_keep_what_is_worth_it },
        { "spares have room for a few", spares_have_room_for_a_few },
        { "spares age", spares_age },
    };
    return RUN(cases);
}
