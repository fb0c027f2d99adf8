/* SPDX-License-Identifier: Apache-2.0
 *
 * The erasure code of a lane once more, as plainly as it can be written: a k x k matrix of the symbols that
 * are here, turned around by Gauss, byte by byte. Shares nothing with ISA-L.
 */
#ifndef HG_TEST_FEC_ORACLE_H
#define HG_TEST_FEC_ORACLE_H

#include <stdbool.h>
#include <stdint.h>

/* One byte of parity row `row` over the byte of each of k sources. */
uint8_t fec_oracle_parity(uint32_t k, uint32_t row, const uint8_t *sources);
/* The byte of each of k sources, from k symbols: `names[i]` below 32 is that source, 32 + row a parity.
 * False: these symbols don't tell. */
bool fec_oracle_sources(uint32_t k, const uint32_t *names, const uint8_t *symbols, uint8_t *sources);

#endif
