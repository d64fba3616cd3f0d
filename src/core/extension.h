/*
 * extension: the field Sec-WebSocket-Extensions (RFC 6455 9.1) and what it says about
 * permessage-deflate (RFC 7692 7.1), the one extension there is. Pure.
 */
#ifndef WF_CORE_EXTENSION_H
#define WF_CORE_EXTENSION_H

#include "base.h"

#define WF_WINDOW_MAX 15 /* bits; what a parameter that is absent stands for */
#define WF_EXTENSION_TEXT 160

WF_HIDDEN_BEGIN

/* permessage-deflate as agreed on, or as this side would have it. */
typedef struct wf_extension {
    bool deflate; /* false: there is no extension */
    bool server_no_takeover, client_no_takeover;
    uint8_t server_window, client_window; /* 8 to 15; 0: the parameter is absent */
} wf_extension;

/* Is the value of that field a list of extensions? RFC 6455 9.1: one that does not
 * conform to the grammar fails the connection. */
bool wf_extension_valid(const char *p, size_t n);

/*
 * A server's choice: the first offer in a valid value that is acceptable becomes *agreed,
 * unless an earlier value's has. Of the wish, both windows are set (9 to 15). Where the
 * client does not let us limit its window, it has to do without context takeover.
 */
void wf_extension_accept(const char *p, size_t n, const wf_extension *wish,
                         wf_extension *agreed);

/* A client's judgement of the answer to its offer, one value after the other; *agreed
 * begins as zeros. NULL, or a constant sentence that names what is wrong. */
const char *wf_extension_check(const char *p, size_t n, const wf_extension *wish,
                               wf_extension *agreed);

/* The value for a client's offer, or for an answer; returns its length, 0 for none. */
size_t wf_extension_offer(const wf_extension *wish, char text[WF_EXTENSION_TEXT]);
size_t wf_extension_answer(const wf_extension *agreed, char text[WF_EXTENSION_TEXT]);

WF_HIDDEN_END

#endif
