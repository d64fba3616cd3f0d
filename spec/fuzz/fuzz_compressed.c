/* fuzz_compressed: conversations with permessage-deflate. */
#include "conversation.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    return converse(p, n, true);
}
