/*
 * test_handshake: both judges, clause by clause, over heads that the parser
 * has read; and the keys of RFC 6455's own example.
 */
#include "core/handshake.h"

#include <openssl/sha.h>

#include "test.h"

static void sha1(const void *bytes, size_t n, uint8_t digest[20])
{
    SHA1(bytes, n, digest);
}

static const char example_key[] = "dGhlIHNhbXBsZSBub25jZQ==";
static const char example_accept[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/* ---- the server's side --------------------------------------------------- */

#define LINE "GET /chat HTTP/1.1\r\n"
#define HOST "Host: server.example.com\r\n"
#define UPGRADE "Upgrade: websocket\r\nConnection: Upgrade\r\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"
#define END "\r\n"

static wf_head head;
static const char *why;
static bool bad_version;

static int judge(const char *text)
{
    int r =
        wf_head_parse_request(&head, text, strlen(text), &wf_head_default_limits, &why);
    CHECK_INT(r, strlen(text));
    why = NULL;
    bad_version = false;
    int status = wf_handshake_judge(&head, text, &bad_version, &why);
    CHECK_THAT((status == 101) == (why == NULL), "a sentence belongs to a refusal alone");
    CHECK(!bad_version || status == 426);
    CHECK_INT(wf_handshake_judge(&head, text, NULL, NULL), status);
    return status;
}

static void the_example_request(void)
{
    CHECK_INT(
        judge("GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n"
              "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
              "Origin: http://example.com\r\nSec-WebSocket-Protocol: chat, superchat\r\n"
              "Sec-WebSocket-Version: 13\r\n\r\n"),
        101);
}

static void other_good_requests(void)
{
    static const char *const texts[] = {
        LINE HOST
        "UPGRADE: WebSocket\r\nCONNECTION: keep-alive, UPGRADE\r\n" KEY VERSION END,
        LINE HOST "upgrade: h2c, websocket\r\nconnection: keep-alive\r\n"
                  "connection: x,upgrade\r\n" KEY VERSION END,
        LINE HOST
        "Upgrade: h2c\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" KEY VERSION END,
        "GET /chat HTTP/1.2\r\n" HOST UPGRADE KEY VERSION END,
        "GET http://server.example.com/chat HTTP/1.1\r\n" HOST UPGRADE KEY VERSION END,
        LINE "Host: [::1]:8080\r\n" UPGRADE KEY VERSION END,
        LINE "Host: a.example:443\r\n" UPGRADE KEY VERSION END,
        LINE HOST UPGRADE KEY VERSION "Content-Length: 0\r\n" END,
        LINE HOST UPGRADE VERSION
        "sec-websocket-key: \tAAAAAAAAAAAAAAAAAAAAAA== \r\n" END,
        LINE HOST UPGRADE VERSION "Sec-WebSocket-Key: /+/+/+/+/+/+/+/+/+/+/w==\r\n" END
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        int status = judge(texts[i]);
        CHECK_THAT(status == 101, "row %zu: %d, %s", i, status, why ? why : "");
    }
}

typedef struct row {
    const char *text;
    int status;
    bool bad_version;
} row;

static void check_rows(const row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int status = judge(rows[i].text);
        CHECK_THAT(status == rows[i].status && bad_version == rows[i].bad_version,
                   "row %zu: %d (%s), not %d", i, status, why ? why : "", rows[i].status);
    }
}
#define CHECK_ROWS(rows) check_rows((rows), sizeof(rows) / sizeof((rows)[0]))

static void hosts(void)
{
    static const row rows[] = {
        { LINE UPGRADE KEY VERSION END, 400, false },
        { LINE HOST HOST UPGRADE KEY VERSION END, 400, false },
        { LINE HOST UPGRADE KEY "hOST: other\r\n" VERSION END, 400, false },
        { LINE "Host:\r\n" UPGRADE KEY VERSION END, 400, false },
        { LINE "Host: [::1\r\n" UPGRADE KEY VERSION END, 400, false },
        { LINE "Host: []\r\n" UPGRADE KEY VERSION END, 400, false },
        { LINE "Host: :80\r\n" UPGRADE KEY VERSION END, 400, false },
        { LINE "Host: a:b\r\n" UPGRADE KEY VERSION END, 400, false },
        { LINE "Host: [::1]x\r\n" UPGRADE KEY VERSION END, 400, false },
        { LINE "Host: a b\r\n" UPGRADE KEY VERSION END, 400, false },
        { LINE "Host: a/b\r\n" UPGRADE KEY VERSION END, 400, false },
        { LINE "Host: u@a\r\n" UPGRADE KEY VERSION END, 400, false },
        { LINE "Host: a\xC3\xA4\r\n" UPGRADE KEY VERSION END, 400, false },
    };
    CHECK_ROWS(rows);
}

static void not_an_upgrade(void)
{
    static const row rows[] = {
        { LINE HOST END, 426, false },
        { "POST /chat HTTP/1.1\r\n" HOST END, 426, false },
        { LINE HOST "Connection: Upgrade\r\n" KEY VERSION END, 426, false },
        { LINE HOST "Upgrade: websocket\r\n" KEY VERSION END, 426, false },
        { LINE HOST "Upgrade: websockets\r\nConnection: Upgrade\r\n" KEY VERSION END, 426,
          false },
        { LINE HOST "Upgrade: websocket/13\r\nConnection: Upgrade\r\n" KEY VERSION END,
          426, false },
        { LINE HOST "Upgrade: websocket\r\nConnection: close\r\n" KEY VERSION END, 426,
          false },
        { LINE HOST "Upgrade: websocket\r\nConnection: upgraded\r\n" KEY VERSION END, 426,
          false },
        { LINE HOST "Upgrade:\r\nConnection:\r\n" KEY VERSION END, 426, false },
    };
    CHECK_ROWS(rows);
}

static void request_lines(void)
{
    static const row rows[] = {
        { "POST /chat HTTP/1.1\r\n" HOST UPGRADE KEY VERSION END, 405, false },
        { "get /chat HTTP/1.1\r\n" HOST UPGRADE KEY VERSION END, 405, false },
        { "GETS /chat HTTP/1.1\r\n" HOST UPGRADE KEY VERSION END, 405, false },
        { "CONNECT a:1 HTTP/1.1\r\n" HOST UPGRADE KEY VERSION END, 405, false },
        { "GET /chat HTTP/1.0\r\n" HOST UPGRADE KEY VERSION END, 505, false },
        { "GET * HTTP/1.1\r\n" HOST UPGRADE KEY VERSION END, 400, false },
        { "GET chat HTTP/1.1\r\n" HOST UPGRADE KEY VERSION END, 400, false },
        { "GET a:1 HTTP/1.1\r\n" HOST UPGRADE KEY VERSION END, 400, false },
        { "GET a:/ HTTP/1.1\r\n" HOST UPGRADE KEY VERSION END, 400, false },
    };
    CHECK_ROWS(rows);
}

static void bodies(void)
{
    static const row rows[] = {
        { LINE HOST UPGRADE KEY VERSION "Content-Length: 5\r\n" END, 400, false },
        { LINE HOST UPGRADE KEY VERSION "Content-Length: 0, 0\r\n" END, 400, false },
        { LINE HOST UPGRADE KEY VERSION "Content-Length:\r\n" END, 400, false },
        { LINE HOST UPGRADE KEY VERSION "Content-Length: 0\r\nContent-Length: 1\r\n" END,
          400, false },
        { LINE HOST UPGRADE KEY VERSION "Transfer-Encoding: chunked\r\n" END, 400,
          false },
        { LINE HOST UPGRADE KEY VERSION "Transfer-Encoding:\r\n" END, 400, false },
        /* as the first field too */
        { LINE "Content-Length: 5\r\n" HOST UPGRADE KEY VERSION END, 400, false },
        { LINE "Transfer-Encoding: x\r\n" HOST UPGRADE KEY VERSION END, 400, false },
        { LINE HOST UPGRADE KEY VERSION "Content-Length: 00\r\n" END, 101, false },
    };
    CHECK_ROWS(rows);
}

static void versions(void)
{
    static const row rows[] = {
        { LINE HOST UPGRADE KEY END, 426, true },
        { LINE HOST UPGRADE KEY "Sec-WebSocket-Version: 8\r\n" END, 426, true },
        { LINE HOST UPGRADE KEY "Sec-WebSocket-Version: 14\r\n" END, 426, true },
        { LINE HOST UPGRADE KEY "Sec-WebSocket-Version: 013\r\n" END, 426, true },
        { LINE HOST UPGRADE KEY "Sec-WebSocket-Version: 130\r\n" END, 426, true },
        { LINE HOST UPGRADE KEY "Sec-WebSocket-Version:\r\n" END, 426, true },
        { LINE HOST UPGRADE KEY "Sec-WebSocket-Version: 13, 8\r\n" END, 426, true },
        { LINE HOST UPGRADE KEY VERSION VERSION END, 400, false },
        { LINE HOST UPGRADE KEY VERSION "sec-websocket-version: 8\r\n" END, 400, false },
        /* the version goes before the key, which other versions form otherwise */
        { LINE HOST UPGRADE "Sec-WebSocket-Version: 8\r\n" END, 426, true },
    };
    CHECK_ROWS(rows);
}

static void keys(void)
{
#define WITH_KEY(key) LINE HOST UPGRADE VERSION "Sec-WebSocket-Key: " key "\r\n" END
    static const row rows[] = {
        { LINE HOST UPGRADE VERSION END, 400, false },
        { LINE HOST UPGRADE KEY KEY VERSION END, 400, false },
        { LINE HOST UPGRADE KEY VERSION "SEC-WEBSOCKET-KEY: x\r\n" END, 400, false },
        { WITH_KEY(""), 400, false },
        { WITH_KEY("dGhlIHNhbXBsZSBub25jZQ="), 400, false },
        { WITH_KEY("dGhlIHNhbXBsZSBub25jZQ==="), 400, false },
        { WITH_KEY("dGhlIHNhbXBsZSBub25jZQ"), 400, false },
        { WITH_KEY("dGhlIHNhbXBsZSBub25jZR=="), 400,
          false }, /* bits beyond the 16 bytes */
        { WITH_KEY("dGhlIHNhbXBsZSBub25jZ==="), 400, false },
        { WITH_KEY("dGhlIHNhbXBsZSBub25jZQQ="), 400, false }, /* 17 bytes */
        { WITH_KEY("dGhlIHNhbXBsZSBub25jZQQQ"), 400, false }, /* 18 */
        { WITH_KEY("dGhlIHNhbXBs SBub25jZQ=="), 400, false },
        { WITH_KEY("dGhlIHNhbXBs-SBub25jZQ=="), 400, false },
        { WITH_KEY("=GhlIHNhbXBsZSBub25jZQ=="), 400, false },
        { WITH_KEY("dGhlIHNhbXBsZSBub25jZQ=A"), 400, false },
        { WITH_KEY("dGhlIHNhbXBsZSBub25jZQ==, x"), 400, false },
        { WITH_KEY("dGhlIHNhbXBsZSBub25jZQ=="), 101, false },
    };
    CHECK_ROWS(rows);
}

/* ---- keys ------------------------------------------------------------------- */

static void the_example_accept(void)
{
    char accept[29];
    memset(accept, 'x', sizeof accept);
    wf_handshake_accept(example_key, strlen(example_key), sha1, accept);
    CHECK_STR(accept, example_accept);
}

/* A key of any length leaves the buffers whole. */
static void a_key_of_any_length(void)
{
    char accept[29], key[200];
    memset(key, 'k', sizeof key);
    for (size_t n = 0; n <= sizeof key; n++) {
        wf_handshake_accept(key, n, sha1, accept);
        CHECK_INT(strlen(accept), 28);
    }
}

static void fresh_keys(void)
{
    char key[25];
    wf_handshake_key((const uint8_t *)"the sample nonce", key);
    CHECK_STR(key, example_key);
    uint8_t noise[16];
    for (int i = 0; i < 1000; i++) {
        char text[400];
        for (size_t j = 0; j < sizeof noise; j++)
            noise[j] = (uint8_t)test_random();
        wf_handshake_key(noise, key);
        snprintf(text, sizeof text,
                 LINE HOST UPGRADE VERSION "Sec-WebSocket-Key: %s\r\n" END, key);
        CHECK_INT(judge(text), 101);
    }
}

/* ---- the client's side --------------------------------------------------------- */

#define STATUS "HTTP/1.1 101 Switching Protocols\r\n"
#define ACCEPT "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"

static wf_span protocol;

static const char *check(const char *text, const char *offered, bool extensions)
{
    int r =
        wf_head_parse_response(&head, text, strlen(text), &wf_head_default_limits, &why);
    CHECK_INT(r, strlen(text));
    protocol = (wf_span){ 7, 7 };
    const char *error = wf_handshake_check(&head, text, example_key, sha1, offered,
                                           extensions, &protocol);
    CHECK(error == NULL || protocol.len == 0 || strstr(error, "not offered"));
    return error;
}

static void good_answers(void)
{
    static const char *const texts[] = {
        STATUS UPGRADE ACCEPT END, "HTTP/1.1 101\r\n" UPGRADE ACCEPT END,
        STATUS "UPGRADE: WebSocket\r\nCONNECTION: x, UPGRADE\r\n" ACCEPT END,
        STATUS
        "upgrade: websocket\r\nconnection: x\r\nconnection: upgrade\r\n"
        "sec-websocket-accept:s3pPLMBiTxaQ9kYGzzhZRbK+xOo= \r\nServer: y\r\n" END
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const char *error = check(texts[i], NULL, false);
        CHECK_THAT(error == NULL, "row %zu: %s", i, error);
        CHECK_INT(protocol.len, 0);
    }
}

static void bad_answers(void)
{
    static const char *const texts[] = {
        "HTTP/1.1 200 OK\r\n" UPGRADE ACCEPT END,
        "HTTP/1.1 100 Continue\r\n" UPGRADE ACCEPT END,
        "HTTP/1.0 101 x\r\n" UPGRADE ACCEPT END,
        STATUS "Connection: Upgrade\r\n" ACCEPT END,
        STATUS "Upgrade: websocket\r\n" ACCEPT END,
        STATUS "Upgrade: h2c\r\nConnection: Upgrade\r\n" ACCEPT END,
        STATUS "Upgrade: websocket, h2c\r\nConnection: Upgrade\r\n" ACCEPT END,
        STATUS UPGRADE "Upgrade: websocket\r\n" ACCEPT END,
        STATUS "Upgrade: websocket\r\nConnection: close\r\n" ACCEPT END,
        STATUS UPGRADE END,
        STATUS UPGRADE ACCEPT ACCEPT END,
        STATUS UPGRADE "Sec-WebSocket-Accept:\r\n" END,
        STATUS UPGRADE "Sec-WebSocket-Accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" END,
        STATUS UPGRADE "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo\r\n" END,
        STATUS UPGRADE "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo==\r\n" END,
        STATUS UPGRADE "Sec-WebSocket-Accept: dGhlIHNhbXBsZSBub25jZQ==\r\n" END
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        CHECK_THAT(check(texts[i], NULL, false) != NULL, "row %zu was let through", i);
}

#define CHOSEN(name) STATUS UPGRADE ACCEPT "Sec-WebSocket-Protocol: " name "\r\n" END

static void subprotocols(void)
{
    CHECK(check(STATUS UPGRADE ACCEPT END, "chat, superchat", false) == NULL);
    CHECK_INT(protocol.len, 0);
    static const char chosen[] = CHOSEN("superchat");
    static const char *const offers[] = { "superchat", "chat,superchat",
                                          "superchat , chat", " a,\tsuperchat\t,b" };
    for (size_t i = 0; i < sizeof offers / sizeof offers[0]; i++) {
        CHECK(check(chosen, offers[i], false) == NULL);
        CHECK_BYTES(chosen + protocol.at, protocol.len, "superchat");
    }
    CHECK(check(CHOSEN("chat"), NULL, false) != NULL);
    CHECK(check(CHOSEN("chat"), "", false) != NULL);
    CHECK(check(CHOSEN("chat"), "superchat", false) != NULL);
    CHECK(check(CHOSEN("chat"), "chats, cha", false) != NULL);
    CHECK(check(CHOSEN("Chat"), "chat", false) != NULL);
    CHECK(check(CHOSEN(""), "chat", false) != NULL);
    CHECK(check(CHOSEN("chat, superchat"), "chat, superchat", false) != NULL);
    CHECK(check(STATUS UPGRADE ACCEPT "Sec-WebSocket-Protocol: chat\r\n"
                                      "Sec-WebSocket-Protocol: chat\r\n" END,
                "chat", false) != NULL);
}

static void extensions(void)
{
#define EXTENSION "Sec-WebSocket-Extensions: permessage-deflate\r\n"
    CHECK(check(STATUS UPGRADE ACCEPT EXTENSION END, NULL, false) != NULL);
    CHECK(check(STATUS UPGRADE ACCEPT "Sec-WebSocket-Extensions:\r\n" END, NULL, false) !=
          NULL);
    CHECK(check(STATUS EXTENSION UPGRADE ACCEPT END, NULL, false) != NULL);
    CHECK(check(STATUS UPGRADE ACCEPT EXTENSION END, NULL, true) == NULL);
}

int main(void)
{
    static const test_case cases[] = {
        { "the request of RFC 6455 1.2", the_example_request },
        { "other good requests", other_good_requests },
        { "Host", hosts },
        { "requests that ask for no WebSocket", not_an_upgrade },
        { "request lines", request_lines },
        { "requests with a body", bodies },
        { "Sec-WebSocket-Version", versions },
        { "Sec-WebSocket-Key", keys },
        { "the accept of RFC 6455 1.3", the_example_accept },
        { "a key of any length", a_key_of_any_length },
        { "fresh keys", fresh_keys },
        { "good answers", good_answers },
        { "bad answers", bad_answers },
        { "subprotocols", subprotocols },
        { "extensions", extensions },
    };
    return RUN(cases);
}
