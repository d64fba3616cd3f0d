/*
 * test_extension: Sec-WebSocket-Extensions as offered, chosen and judged (RFC 6455 9.1,
 * RFC 7692 7.1).
 */
#include "core/extension.h"

#include "test.h"

static const wf_extension server_12 = { true, false, false, 12, 12 };
static const wf_extension server_15 = { true, false, false, 15, 15 };
static const wf_extension server_shared = { true, true, true, 12, 15 };

/* A copy that ends at a fence: no byte behind may be read. */
static const char *fenced(test_fence *f, const char *text)
{
    *f = test_fence_new(strlen(text) + 1);
    return test_fence_put(f, text, strlen(text));
}

static void check_answer(const wf_extension *wish, const char *offer, const char *want)
{
    test_fence f;
    char text[WF_EXTENSION_TEXT] = "";
    wf_extension agreed = { 0 };
    const char *p = fenced(&f, offer);
    CHECK_THAT(wf_extension_valid(p, strlen(offer)), "%s is valid", offer);
    wf_extension_accept(p, strlen(offer), wish, &agreed);
    size_t n = wf_extension_answer(&agreed, text);
    CHECK_THAT(n == strlen(want) && memcmp(text, want, n) == 0, "%s: %.*s, not %s", offer,
               (int)n, text, want);
    test_fence_free(&f);
}

#define PMD "permessage-deflate"
#define S_NO "; server_no_context_takeover"
#define C_NO "; client_no_context_takeover"
#define S_BITS "; server_max_window_bits"
#define C_BITS "; client_max_window_bits"

static void a_server_accepts(void)
{
    check_answer(&server_15, PMD, PMD);
    check_answer(&server_15, PMD C_BITS, PMD);
    check_answer(&server_12, PMD C_BITS, PMD C_BITS "=12");
    check_answer(&server_12, PMD C_BITS "=15", PMD C_BITS "=12");
    check_answer(&server_12, PMD C_BITS "=10", PMD C_BITS "=10");
    check_answer(&server_12, PMD C_BITS "=8", PMD C_BITS "=8");
    /* a client whose window may not be limited does without takeover */
    check_answer(&server_12, PMD, PMD C_NO);
    check_answer(&server_15, PMD S_BITS "=9", PMD S_BITS "=9");
    check_answer(&server_15, PMD S_BITS "=15", PMD S_BITS "=15");
    check_answer(&server_15, PMD S_BITS "=8", PMD S_BITS "=8");
    check_answer(&server_12, PMD S_BITS "=15" C_BITS, PMD S_BITS "=12" C_BITS "=12");
    check_answer(&server_15, PMD S_NO, PMD S_NO);
    check_answer(&server_15, PMD C_NO, PMD C_NO);
    check_answer(&server_15, PMD C_NO S_NO, PMD S_NO C_NO);
    check_answer(&server_shared, PMD C_BITS, PMD S_NO C_NO);
    check_answer(&server_shared, PMD, PMD S_NO C_NO);
}

static void grammar_in_all_its_forms(void)
{
    check_answer(&server_15, " , ," PMD " ;\tserver_max_window_bits = \"10\" ,,",
                 PMD S_BITS "=10");
    check_answer(&server_15, PMD S_BITS "=\"1\\0\"", PMD S_BITS "=10");
    check_answer(&server_15, "foo; a=\"b\"; c, bar ," PMD, PMD);
    check_answer(&server_15, "x-webkit-deflate-frame", "");
    check_answer(&server_15, "Permessage-deflate", "");
}

static void a_server_declines(void)
{
    static const char *const bad[] = {
        PMD "; unknown",
        PMD "; unknown=1",
        PMD S_NO S_NO,
        PMD C_NO C_NO,
        PMD S_BITS "=10" S_BITS "=10",
        PMD C_BITS C_BITS "=9",
        PMD S_NO "=1",
        PMD C_NO "=x",
        PMD S_BITS,
        PMD S_BITS "=7",
        PMD S_BITS "=16",
        PMD S_BITS "=08",
        PMD S_BITS "=1",
        PMD S_BITS "=0",
        PMD S_BITS "=100",
        PMD C_BITS "=7",
        PMD C_BITS "=16",
        PMD C_BITS "=-9",
        PMD C_BITS "=1e1",
        PMD C_BITS "=12345678901234567890",
        PMD "; Server_no_context_takeover",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char two[256];
        check_answer(&server_15, bad[i], "");
        /* RFC 7692 5.1: the next offer is looked at */
        snprintf(two, sizeof two, "%s, " PMD S_NO, bad[i]);
        check_answer(&server_15, two, PMD S_NO);
        snprintf(two, sizeof two, PMD C_NO ", %s", bad[i]);
        check_answer(&server_15, two, PMD C_NO);
    }
}

static void what_is_no_grammar(void)
{
    static const char *const bad[] = {
        "",
        ",",
        " ",
        ";",
        "=",
        PMD ";",
        PMD "; =1",
        PMD "; a=",
        PMD "; a=\"",
        PMD " b",
        PMD "; a b",
        PMD "; a=\"\"",
        "\"a\"",
        PMD "; a=b=c",
        PMD "; a=\"b c\"",
        PMD "; a=\"b\\",
        PMD "; a=\"b\\\"\"",
        "a/b",
        PMD ", ;",
        "(a)",
        PMD "; a=\"b\"c",
        "\x80",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        test_fence f;
        const char *p = fenced(&f, bad[i]);
        CHECK_THAT(!wf_extension_valid(p, strlen(bad[i])), "'%s' is not valid", bad[i]);
        test_fence_free(&f);
    }
    CHECK(!wf_extension_valid("permessage-deflate\0", 19));
}

/* Several fields of that name are one list. */
static void the_first_field_that_fits(void)
{
    wf_extension agreed = { 0 };
    wf_extension_accept("foo", 3, &server_15, &agreed);
    CHECK(!agreed.deflate);
    wf_extension_accept(PMD S_NO, strlen(PMD S_NO), &server_15, &agreed);
    wf_extension_accept(PMD C_NO, strlen(PMD C_NO), &server_15, &agreed);
    CHECK(agreed.deflate && agreed.server_no_takeover && !agreed.client_no_takeover);
}

static void what_a_client_offers(void)
{
    static const struct {
        wf_extension wish;
        const char *want;
    } cases[] = {
        { { false, true, true, 12, 12 }, "" },
        { { true, false, false, 0, 0 }, PMD C_BITS },
        { { true, false, false, 12, 0 }, PMD S_BITS "=12" C_BITS },
        { { true, true, true, 15, 9 }, PMD S_NO C_NO S_BITS "=15" C_BITS "=9" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[WF_EXTENSION_TEXT];
        size_t n = wf_extension_offer(&cases[i].wish, text);
        CHECK_BYTES(text, n, cases[i].want);
    }
}

static const char *judge(const wf_extension *wish, const char *answer, wf_extension *got)
{
    test_fence f;
    const char *p = fenced(&f, answer);
    *got = (wf_extension){ 0 };
    const char *why = wf_extension_check(p, strlen(answer), wish, got);
    test_fence_free(&f);
    return why;
}

static void a_client_takes_what_fits(void)
{
    wf_extension any = { true, false, false, 0, 0 }, own = { true, true, false, 12, 10 };
    wf_extension got;
    CHECK(!judge(&any, PMD, &got));
    CHECK(got.deflate && !got.server_window && !got.client_window);
    CHECK(!judge(&any, PMD S_NO C_NO S_BITS "=8" C_BITS "=15", &got));
    CHECK(got.server_no_takeover && got.client_no_takeover);
    CHECK_INT(got.server_window, 8);
    CHECK_INT(got.client_window, 15);
    CHECK(!judge(&own, PMD S_NO S_BITS "=12", &got));
    CHECK(!judge(&own, PMD S_NO S_BITS "=9" C_BITS "=10", &got));
}

static void a_client_refuses(void)
{
    wf_extension any = { true, false, false, 0, 0 }, own = { true, true, false, 12, 10 };
    wf_extension none = { 0 };
    static const char *const answers[][2] = {
        { "foo", "the answer has an extension that was not offered" },
        { PMD ", foo", "the answer has an extension that was not offered" },
        { PMD ", " PMD, "the answer has permessage-deflate twice" },
        { PMD "; x", "permessage-deflate has an unknown parameter" },
        { PMD S_NO S_NO, "permessage-deflate has a parameter twice" },
        { PMD C_NO "=1", "a no_context_takeover parameter has a value" },
        { PMD S_BITS "=16", "a max_window_bits parameter is not from 8 to 15" },
        { PMD S_BITS, "server_max_window_bits has no value" },
        { PMD C_BITS, "client_max_window_bits has no value" },
        { PMD ";", "the answer's Sec-WebSocket-Extensions is malformed" },
        { "", "the answer's Sec-WebSocket-Extensions is malformed" },
    };
    wf_extension got;
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++)
        CHECK_STR(judge(&any, answers[i][0], &got), answers[i][1]);
    CHECK_STR(judge(&none, PMD, &got),
              "the answer has an extension that was not offered");
    CHECK_STR(judge(&own, PMD S_BITS "=12", &got),
              "the answer lacks server_no_context_takeover, which was asked for");
    CHECK_STR(judge(&own, PMD S_NO, &got),
              "the answer lacks server_max_window_bits, which was asked for");
    CHECK_STR(judge(&own, PMD S_NO S_BITS "=13", &got),
              "server_max_window_bits is more than was offered");
    CHECK_STR(judge(&own, PMD S_NO S_BITS "=12" C_BITS "=11", &got),
              "client_max_window_bits is more than was offered");
}

/* Noise out of the grammar's own pieces: what is accepted is answered within the offer.
 */
static void noise(void)
{
    static const char *const pieces[] = {
        PMD, S_NO,    C_NO, S_BITS, C_BITS, "=", "12",
        "8", "\"9\"", ",",  ";",    " ",    "x", "\\",
    };
    for (int round = 0; round < 20000; round++) {
        char text[256] = "";
        for (uint32_t k = test_random_below(9); k-- > 0;)
            strcat(text, pieces[test_random_below(sizeof pieces / sizeof pieces[0])]);
        wf_extension agreed = { 0 };
        char answer[WF_EXTENSION_TEXT];
        if (!wf_extension_valid(text, strlen(text)))
            continue;
        wf_extension_accept(text, strlen(text), &server_12, &agreed);
        size_t n = wf_extension_answer(&agreed, answer);
        CHECK_THAT((n > 0) == agreed.deflate, "%s", text);
        CHECK_THAT(n == 0 || wf_extension_valid(answer, n), "%s", text);
    }
}

static const test_case cases[] = {
    { "a server accepts", a_server_accepts },
    { "the grammar in all its forms", grammar_in_all_its_forms },
    { "a server declines", a_server_declines },
    { "what is no grammar", what_is_no_grammar },
    { "the first field that fits", the_first_field_that_fits },
    { "what a client offers", what_a_client_offers },
    { "a client takes what fits", a_client_takes_what_fits },
    { "a client refuses", a_client_refuses },
    { "noise", noise },
};

int main(void)
{
    return RUN(cases);
}
