/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/fec_code.h"
#include <isa-l.h>

#define SOURCES HG_WIRE_FEC_SOURCES_MAX
#define PARITY  HG_WIRE_FEC_PARITY_MAX

void hg_fec_code_init(struct hg_fec_code *code)
{
    uint8_t matrix[(SOURCES + PARITY) * SOURCES];
    gf_gen_cauchy1_matrix(matrix, SOURCES + PARITY, SOURCES);
    memcpy(code->coefficients, matrix + SOURCES * SOURCES, sizeof(code->coefficients));
    ec_init_tables(SOURCES, PARITY, &code->coefficients[0][0], code->tables);
}

/* ISA-L's signatures have no const; it does not write to sources and tables. */
static uint8_t *unconst(const uint8_t *at)
{
    return (uint8_t *)(uintptr_t)at;
}

void hg_fec_code_add(const struct hg_fec_code *code, uint32_t rows, uint32_t index, const uint8_t *source,
                     uint32_t bytes, uint8_t **parity)
{
    hg_assert(rows <= PARITY && index < SOURCES && bytes % HG_FEC_ALIGN_BYTES == 0);
    if (rows > 0) {
        ec_encode_data_update((int)bytes, SOURCES, (int)rows, (int)index, unconst(code->tables),
                              unconst(source), parity);
    }
}

void hg_fec_code_fold(const struct hg_fec_code *code, uint32_t row, uint32_t index, const uint8_t *source,
                      uint32_t bytes, uint8_t *parity)
{
    hg_assert(row < PARITY && index < SOURCES && bytes % HG_FEC_ALIGN_BYTES == 0);
    gf_vect_mad((int)bytes, SOURCES, (int)index, unconst(code->tables + (size_t)row * SOURCES * 32),
                unconst(source), parity);
}

void hg_fec_code_solve(const struct hg_fec_code *code, uint32_t count, const uint8_t *rows,
                       const uint8_t *missing, uint8_t **parity, uint8_t **sources, uint32_t bytes)
{
    hg_assert(count >= 1 && count <= PARITY && bytes % HG_FEC_ALIGN_BYTES == 0);
    uint8_t matrix[PARITY * PARITY];
    uint8_t inverse[PARITY * PARITY];
    uint8_t tables[PARITY * PARITY * 32];
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t j = 0; j < count; j++) {
            matrix[i * count + j] = code->coefficients[rows[i]][missing[j]];
        }
    }
    int rc = gf_invert_matrix(matrix, inverse, (int)count);
    hg_assert(rc == 0); /* every square part of a Cauchy matrix has an inverse */
    ec_init_tables((int)count, (int)count, inverse, tables);
    ec_encode_data((int)bytes, (int)count, (int)count, tables, parity, sources);
}
