/*
 * base: what every file of weft includes first. Error codes, visibility and
 * small helpers. Includes nothing but the C standard library.
 */
#ifndef WF_CORE_BASE_H
#define WF_CORE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Every header declares its functions between these two, so that the built
 * module exports luaopen_weft_core alone, whatever flags it was built with. */
#define WF_HIDDEN_BEGIN _Pragma("GCC visibility push(hidden)")
#define WF_HIDDEN_END _Pragma("GCC visibility pop")

/* The closed list of failures: C enum, Lua code, and the manual's sentence. */
#define WF_ERRORS(X)                                                                     \
    X(WF_CLOSED, "closed", "the connection, channel or listener is closed")              \
    X(WF_TIMEOUT, "timeout", "the time given for the operation ran out")                 \
    X(WF_CANCELLED, "cancelled", "the task was cancelled")                               \
    X(WF_BUSY, "busy", "another task already waits there, or the address is in use")     \
    X(WF_REFUSED, "refused", "the peer refused the connection or the upgrade")           \
    X(WF_RESOLVE, "resolve", "the name has no address, or the address is malformed")     \
    X(WF_TLS, "tls", "TLS failed: certificate, host name, version or handshake")         \
    X(WF_HANDSHAKE, "handshake", "the peer's HTTP or WebSocket handshake was not valid") \
    X(WF_PROTOCOL, "protocol", "the peer broke the WebSocket or HTTP protocol")          \
    X(WF_UTF8, "utf8", "a text message or close reason is not UTF-8")                    \
    X(WF_TOO_BIG, "too_big", "a message, head or body is over its limit")                \
    X(WF_SYSTEM, "system", "the operating system reported an error")                     \
    X(WF_NOMEM, "nomem", "memory could not be allocated")

enum wf_error {
    WF_OK = 0,
#define X(id, name, text) id,
    WF_ERRORS(X)
#undef X
};

#define WF_MIN(a, b) ((a) < (b) ? (a) : (b))
#define WF_MAX(a, b) ((a) > (b) ? (a) : (b))
#define WF_LIKELY(x) __builtin_expect(!!(x), 1)
#define WF_UNLIKELY(x) __builtin_expect(!!(x), 0)
/* A function with a variant for wider vectors than every machine of its kind has; who
 * calls it asks WF_HAS_WIDE first. Where there is no such thing both are plain. */
#if defined(__x86_64__) && defined(__GNUC__)
#define WF_WIDE __attribute__((target("avx2")))
#define WF_HAS_WIDE __builtin_cpu_supports("avx2")
#else
#define WF_WIDE
#define WF_HAS_WIDE false
#endif
/* Of eight octets the bits that are 0 in ASCII. */
#define WF_HIGH_BITS 0x8080808080808080u
#define WF_INLINE static inline __attribute__((always_inline))
#define WF_CONTAINER(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

WF_HIDDEN_BEGIN

/* Random bytes from the system's source; false when it failed. */
typedef bool (*wf_random_fn)(void *bytes, size_t n);
/* SHA-1 of n bytes. */
typedef void (*wf_sha1_fn)(const void *bytes, size_t n, uint8_t digest[20]);

WF_HIDDEN_END

#endif
