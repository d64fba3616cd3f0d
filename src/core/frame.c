/* frame: see frame.h. */
#include "core/frame.h"

static const char *judge_first(uint8_t b0, unsigned rsv)
{
    unsigned op = b0 & 15;
    if (b0 & WF_FRAME_RSV & ~rsv) /* RFC 6455 5.2: MUST be 0 unless negotiated */
        return "a reserved bit is set";
    if ((op > WF_OP_BINARY && op < WF_OP_CLOSE) || op > WF_OP_PONG)
        return "reserved opcode"; /* RFC 6455 5.2 */
    if (op >= WF_OP_CLOSE && !(b0 & WF_FRAME_FIN))
        return "a control frame is fragmented"; /* RFC 6455 5.5 */
    if (op >= WF_OP_CLOSE && (b0 & WF_FRAME_RSV))
        return "a control frame is compressed"; /* RFC 7692 6.1 */
    return NULL;
}

static const char *judge_second(uint8_t b0, uint8_t b1, bool must_mask)
{
    if (must_mask && !(b1 & WF_FRAME_MASKED))
        return "a client's frame is not masked"; /* RFC 6455 5.1 */
    if (!must_mask && (b1 & WF_FRAME_MASKED))
        return "a server's frame is masked"; /* RFC 6455 5.1 */
    if ((b0 & 8) && (b1 & 127) > WF_CONTROL_MAX)
        return "a control frame is longer than 125 bytes"; /* RFC 6455 5.5 */
    return NULL;
}

/* The 16 or 64 bit length behind the second byte. */
static void read_length(wf_frame *frame, const uint8_t *h, size_t n, size_t bytes)
{
    if (bytes == 8 && n > 2 && (h[2] & 0x80))
        frame->fail = "the top bit of a length is set"; /* RFC 6455 5.2 */
    uint64_t v = 0;
    size_t come = WF_MIN(n - 2, bytes);
    for (size_t i = 0; i < come; i++)
        v = v << 8 | h[2 + i];
    /* RFC 6455 5.2; the last two of eight bytes cannot make good six zeros */
    if (bytes == 2 ? come == 2 && v < 126 : come >= 6 && v >> (8 * (come - 6)) == 0)
        frame->fail = "a length is not in its shortest form";
    frame->length = v;
    frame->has_length = come == bytes;
}

size_t wf_frame_read(wf_frame *frame, const uint8_t *h, size_t n, bool must_mask,
                     unsigned rsv)
{
    *frame = (wf_frame){ .b0 = h[0] };
    if ((frame->fail = judge_first(h[0], rsv)) || n < 2)
        return 0;
    if ((frame->fail = judge_second(h[0], h[1], must_mask)))
        return 0;
    unsigned len7 = h[1] & 127;
    size_t bytes = len7 < 126 ? 0 : len7 == 126 ? 2 : 8;
    if (bytes == 0) {
        frame->length = len7;
        frame->has_length = true;
    } else {
        read_length(frame, h, n, bytes);
    }
    size_t need = 2 + bytes + (must_mask ? 4 : 0);
    return frame->fail || n < need ? 0 : need;
}

size_t wf_frame_write_long(uint8_t *h, unsigned b0, uint64_t length, bool masked)
{
    unsigned mask = masked ? WF_FRAME_MASKED : 0;
    h[0] = (uint8_t)b0;
    size_t bytes = length < 65536 ? 2 : 8;
    h[1] = (uint8_t)(mask | (bytes == 2 ? 126 : 127));
    for (size_t i = 0; i < bytes; i++)
        h[2 + i] = (uint8_t)(length >> (8 * (bytes - 1 - i)));
    return 2 + bytes;
}

bool wf_close_code_valid(unsigned code)
{
    /* 1004, 1005, 1006 and 1015 are never on the wire; 1012 to 1014 came by the
     * registry; 3000 to 4999 belong to libraries and applications. */
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}
