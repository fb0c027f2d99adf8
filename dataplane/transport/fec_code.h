/* SPDX-License-Identifier: Apache-2.0
 *
 * The erasure code of a lane: systematic Cauchy Reed-Solomon over GF(2^8) (Bloemer et al. 1995; polynomial
 * 0x11d, as ISA-L has it). One code serves every group: parity row p of source j has the coefficient
 * 1 / ((32 + p) ^ j), and a group with fewer than 32 sources leaves the last ones zero. Any k symbols of a
 * group of k sources and m parities give all of it, for every k up to 32 and m up to 8.
 *
 * A symbol is struct hg_wire_fec_symbol, then the packet's frames, then zeros up to the largest of the group.
 */
#ifndef HG_TRANSPORT_FEC_CODE_H
#define HG_TRANSPORT_FEC_CODE_H

#include "dataplane/transport/wire.h"

#define HG_FEC_ALIGN_BYTES 64u /* what ISA-L is called with is a multiple: its fast paths need no more */

struct hg_fec_code {
    uint8_t coefficients[HG_WIRE_FEC_PARITY_MAX][HG_WIRE_FEC_SOURCES_MAX];
    /* ISA-L's multiplication tables: the first m rows are those of a code with m parities. */
    uint8_t tables[HG_WIRE_FEC_PARITY_MAX * HG_WIRE_FEC_SOURCES_MAX * 32];
};

void hg_fec_code_init(struct hg_fec_code *code);

/* Adds source `index` to the first `rows` parities. `bytes`: a multiple of HG_FEC_ALIGN_BYTES. */
void hg_fec_code_add(const struct hg_fec_code *code, uint32_t rows, uint32_t index, const uint8_t *source,
                     uint32_t bytes, uint8_t **parity);

/* The sources that are missing, from as many parities. `parity[i]` is row `rows[i]` with every source that is
 * there added to it (hg_fec_code_fold), `missing[i]` the index of the i-th source that is not; `sources[i]`
 * receives it. count: 1 to HG_WIRE_FEC_PARITY_MAX; bytes as above. */
void hg_fec_code_fold(const struct hg_fec_code *code, uint32_t row, uint32_t index, const uint8_t *source,
                      uint32_t bytes, uint8_t *parity);
void hg_fec_code_solve(const struct hg_fec_code *code, uint32_t count, const uint8_t *rows,
                       const uint8_t *missing, uint8_t **parity, uint8_t **sources, uint32_t bytes);

/* Room for a symbol of a lane whose inner packets have at most `inner_bytes`. */
static inline uint32_t hg_fec_symbol_room_bytes(uint32_t inner_bytes)
{
    uint32_t bytes =
        inner_bytes - (uint32_t)sizeof(struct hg_wire_header) + (uint32_t)sizeof(struct hg_wire_fec_symbol);
    return (uint32_t)hg_align_up(bytes, HG_FEC_ALIGN_BYTES);
}

#endif
