/*
 * mask: the XOR of RFC 6455 5.3, by machine words or vectors. Pure.
 */
#ifndef WF_CORE_MASK_H
#define WF_CORE_MASK_H

#include "base.h"

WF_HIDDEN_BEGIN

/* Masks or unmasks n bytes in place. phase is how many payload bytes of the
 * frame came before p (only its low two bits matter). True when they are ASCII then,
 * which spares another look at a text. */
bool wf_mask(uint8_t *p, size_t n, const uint8_t key[4], size_t phase);

/* The same from src to dst, which do not overlap. */
void wf_mask_copy(uint8_t *restrict dst, const uint8_t *restrict src, size_t n,
                  const uint8_t key[4], size_t phase);

WF_HIDDEN_END

#endif
