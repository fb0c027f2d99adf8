/* SPDX-License-Identifier: Apache-2.0
 *
 * The stage of parity: packets put into groups by the lane's encoder, beside ISA-L's call alone.
 */
#include "dataplane/transport/fec_encode.h"
#include "perf/stages.h"

#include <isa-l.h>
#include <stdio.h>
#include <stdlib.h>

#define GROUPS 256u /* of a run */

struct parity {
    struct hg_fec_code code;
    struct hg_fec_encode encode;
    uint8_t *memory;
    uint8_t *packets; /* a group's frames */
    uint8_t *rows[HG_WIRE_FEC_PARITY_MAX];
    uint32_t frames_bytes;
    uint32_t room_bytes;
    uint32_t parities;
};

/* As a lane does it: the header in one piece, the data in another. */
static uint64_t encode_run(void *ctx)
{
    struct parity *parity = ctx;
    uint64_t begin_ns = hg_perf_cpu_ns();
    for (uint32_t group = 0; group < GROUPS; group++) {
        struct hg_fec_parity taken;
        for (uint32_t i = 0; i < HG_WIRE_FEC_SOURCES_MAX; i++) {
            struct hg_wire_fec place;
            uint8_t *frames = parity->packets + (size_t)i * parity->room_bytes;
            struct iovec pieces[2] = {
                {frames, sizeof(struct hg_wire_data)},
                {frames + sizeof(struct hg_wire_data), parity->frames_bytes - sizeof(struct hg_wire_data)}};
            bool placed = hg_fec_encode_place(&parity->encode, parity->parities, 1, 0, &place);
            hg_assert(placed);
            hg_fec_encode_add(&parity->encode, pieces, 2, parity->frames_bytes, i + 1);
        }
        hg_fec_encode_close(&parity->encode, hg_fec_encode_full(&parity->encode), parity->parities);
        while (hg_fec_encode_take(&parity->encode, &taken))
            hg_assert(taken.bytes == parity->frames_bytes + sizeof(struct hg_wire_fec_symbol));
    }
    return hg_perf_cpu_ns() - begin_ns;
}

static uint64_t isal_run(void *ctx)
{
    struct parity *parity = ctx;
    uint64_t begin_ns = hg_perf_cpu_ns();
    for (uint32_t group = 0; group < GROUPS; group++)
        for (uint32_t i = 0; i < HG_WIRE_FEC_SOURCES_MAX; i++)
            ec_encode_data_update((int)parity->frames_bytes, HG_WIRE_FEC_SOURCES_MAX, (int)parity->parities,
                                  (int)i, parity->code.tables,
                                  parity->packets + (size_t)i * parity->room_bytes, parity->rows);
    return hg_perf_cpu_ns() - begin_ns;
}

void hg_perf_stages_parity(struct hg_perf_sample *sample, uint32_t mtu_bytes)
{
    static const uint32_t counts[] = {1, 2, 4};
    struct parity parity;
    uint32_t inner_bytes = HG_WIRE_INNER_BYTES(mtu_bytes);
    memset(&parity, 0, sizeof(parity));
    parity.frames_bytes = inner_bytes - (uint32_t)(sizeof(struct hg_wire_header) + HG_WIRE_FEC_BYTES);
    parity.room_bytes = hg_fec_symbol_room_bytes(inner_bytes);
    parity.memory = aligned_alloc(64, hg_align_up(hg_fec_encode_memory_bytes(inner_bytes), 64));
    parity.packets = calloc(HG_WIRE_FEC_SOURCES_MAX + HG_WIRE_FEC_PARITY_MAX, parity.room_bytes);
    hg_assert(parity.memory != NULL && parity.packets != NULL);
    for (uint32_t i = 0; i < HG_WIRE_FEC_SOURCES_MAX; i++) /* bytes of the sample */
        memcpy(parity.packets + (size_t)i * parity.room_bytes, sample->sealed[i % sample->batch_count],
               hg_min_u64(parity.frames_bytes, sample->sealed_bytes[i % sample->batch_count]));
    for (uint32_t i = 0; i < HG_WIRE_FEC_PARITY_MAX; i++)
        parity.rows[i] = parity.packets + (size_t)(HG_WIRE_FEC_SOURCES_MAX + i) * parity.room_bytes;
    hg_fec_code_init(&parity.code);
    hg_fec_encode_init(&parity.encode, parity.memory, &parity.code, inner_bytes);
    uint64_t packets = GROUPS * HG_WIRE_FEC_SOURCES_MAX, bytes = packets * parity.frames_bytes;
    for (size_t i = 0; i < HG_COUNT(counts); i++) {
        char stage[24];
        parity.parities = counts[i];
        snprintf(stage, sizeof(stage), "parity_%u", counts[i]);
        double ns = hg_perf_median_ns(sample, encode_run, &parity);
        hg_perf_stage(sample, stage, "packet", ns, bytes, packets);
        hg_perf_stage_raw(sample, stage, "ec_encode_data_update", ns,
                          hg_perf_median_ns(sample, isal_run, &parity), bytes);
    }
    free(parity.memory);
    free(parity.packets);
}
