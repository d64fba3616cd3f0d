/* fuzz_session: conversations without deflate. */
#include "conversation.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    return converse(p, n, false);
}
