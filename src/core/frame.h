/*
 * frame: the header of a WebSocket frame (RFC 6455 5.2), read and written.
 * Pure, stateless.
 */
#ifndef WF_CORE_FRAME_H
#define WF_CORE_FRAME_H

#include "base.h"

enum {
    WF_OP_CONTINUATION = 0,
    WF_OP_TEXT = 1,
    WF_OP_BINARY = 2,
    WF_OP_CLOSE = 8,
    WF_OP_PING = 9,
    WF_OP_PONG = 10,
};

#define WF_FRAME_HEAD_MAX 14
#define WF_FRAME_FIN 0x80
#define WF_FRAME_RSV 0x70
#define WF_FRAME_RSV1 0x40
#define WF_FRAME_MASKED 0x80
#define WF_CONTROL_MAX 125

WF_HIDDEN_BEGIN

typedef struct wf_frame {
    uint64_t length;  /* of the payload; valid once known */
    uint8_t b0;       /* FIN, RSV, opcode */
    bool has_length;  /* enough bytes for it have arrived */
    const char *fail; /* a constant sentence: the bytes so far break RFC 6455 5.2 */
} wf_frame;

/*
 * Reads a header at h[0..n), n >= 1. Returns its length once it is complete
 * (the masking key is its last four bytes when must_mask), 0 while it is not or
 * when frame->fail is set; judged as early as the bytes allow. rsv: the bits
 * that extensions gave a meaning.
 */
size_t wf_frame_read(wf_frame *frame, const uint8_t *h, size_t n, bool must_mask,
                     unsigned rsv);

/* The length of a header without its masking key, 2 to 10. */
static inline size_t wf_frame_head_size(uint64_t length)
{
    return length < 126 ? 2 : length < 65536 ? 4 : 10;
}
/* Writes one, and returns its length. */
size_t wf_frame_write_long(uint8_t *h, unsigned b0, uint64_t length, bool masked);
static inline size_t wf_frame_write(uint8_t *h, unsigned b0, uint64_t length, bool masked)
{
    if (length >= 126)
        return wf_frame_write_long(h, b0, length, masked);
    h[0] = (uint8_t)b0;
    h[1] = (uint8_t)((masked ? WF_FRAME_MASKED : 0) | length);
    return 2;
}

/* May this close code appear in a frame (RFC 6455 7.4, and the registry)? */
bool wf_close_code_valid(unsigned code);

WF_HIDDEN_END

#endif
