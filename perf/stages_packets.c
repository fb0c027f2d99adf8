/* SPDX-License-Identifier: Apache-2.0
 *
 * Stages of a packet: ESP beside IPsec-MB's one-shot call, outer headers, and two lanes without a link
 * between them.
 */
#include "dataplane/security/esp.h"
#include "dataplane/transport/encapsulation.h"
#include "dataplane/transport/lane.h"
#include "perf/stages.h"

#include <intel-ipsec-mb.h>
#include <stdio.h>
#include <stdlib.h>

#define BURST            64u
#define PACKETS          65536u /* of a run */
#define SLOT_BYTES       9216u
#define INNER_HEAD_BYTES (sizeof(struct hg_wire_header) + sizeof(struct hg_wire_data))

/* ---- ESP ---- */

struct esp {
    struct hg_perf_sample *sample;
    struct hg_esp_sa *tx, *rx;
    IMB_MGR *cipher;
    struct gcm_key_data *key;
    uint8_t *packets; /* BURST slots */
    uint8_t *text;
    uint32_t inner_bytes;
    bool opening;
};

/* Seals a burst, opens it; one of the two counts. */
static uint64_t esp_run(void *ctx)
{
    struct esp *esp = ctx;
    uint64_t spent_ns[2] = {0, 0};
    uint8_t head[INNER_HEAD_BYTES] = {0};
    for (uint32_t done = 0; done < PACKETS; done += BURST) {
        uint32_t bytes[BURST], inner_bytes;
        uint64_t number, a_ns = hg_perf_cpu_ns();
        for (uint32_t i = 0; i < BURST; i++) {
            struct iovec pieces[2] = {
                {head, sizeof(head)},
                {esp->text + (size_t)i * SLOT_BYTES, esp->inner_bytes - sizeof(head)},
            };
            bytes[i] = hg_esp_seal(esp->tx, pieces, 2, esp->packets + (size_t)i * SLOT_BYTES, SLOT_BYTES);
        }
        uint64_t b_ns = hg_perf_cpu_ns();
        for (uint32_t i = 0; i < BURST; i++) {
            enum hg_esp_reason reason =
                hg_esp_open(esp->rx, esp->packets + (size_t)i * SLOT_BYTES, bytes[i],
                            esp->text + (size_t)BURST * SLOT_BYTES, &inner_bytes, &number);
            hg_assert(reason == HG_ESP_OK && inner_bytes == esp->inner_bytes);
        }
        spent_ns[0] += b_ns - a_ns;
        spent_ns[1] += hg_perf_cpu_ns() - b_ns;
    }
    return spent_ns[esp->opening];
}

static uint64_t gcm_run(void *ctx)
{
    struct esp *esp = ctx;
    struct gcm_context_data context;
    uint8_t iv[12] = {0}, aad[12] = {0}, tag[16];
    uint64_t begin_ns = hg_perf_cpu_ns();
    for (uint32_t done = 0; done < PACKETS; done++) {
        uint32_t i = done % BURST;
        memcpy(iv, &done, sizeof(done));
        uint8_t *to = esp->packets + (size_t)i * SLOT_BYTES, *from = esp->text + (size_t)i * SLOT_BYTES;
        if (esp->opening)
            IMB_AES256_GCM_DEC(esp->cipher, esp->key, &context, to, from, esp->inner_bytes + 2, iv, aad,
                               sizeof(aad), tag, sizeof(tag));
        else
            IMB_AES256_GCM_ENC(esp->cipher, esp->key, &context, to, from, esp->inner_bytes + 2, iv, aad,
                               sizeof(aad), tag, sizeof(tag));
    }
    return hg_perf_cpu_ns() - begin_ns;
}

static void *memory_aligned(uint64_t bytes)
{
    void *memory = aligned_alloc(HG_CACHE_LINE_BYTES, hg_align_up(bytes, HG_CACHE_LINE_BYTES));
    hg_assert(memory != NULL);
    memset(memory, 0x5a, bytes);
    return memory;
}

static void esp_stage(struct hg_perf_sample *sample, uint32_t mtu_bytes)
{
    static const uint8_t secret[HG_ESP_KEY_BYTES] = {1}, salt[HG_ESP_SALT_BYTES] = {2};
    struct esp esp = {.sample = sample, .inner_bytes = HG_WIRE_INNER_BYTES(mtu_bytes)};
    void *sa[2] = {memory_aligned(hg_esp_sa_bytes()), memory_aligned(hg_esp_sa_bytes())};
    esp.tx = hg_esp_sa_init(sa[0], 256, secret, salt);
    esp.rx = hg_esp_sa_init(sa[1], 256, secret, salt);
    esp.packets = memory_aligned(BURST * SLOT_BYTES);
    esp.text = memory_aligned((BURST + 1) * SLOT_BYTES);
    esp.cipher = alloc_mb_mgr(0);
    hg_assert(esp.cipher != NULL);
    init_mb_mgr_auto(esp.cipher, NULL);
    esp.key = memory_aligned(sizeof(*esp.key));
    IMB_AES256_GCM_PRE(esp.cipher, secret, esp.key);
    uint64_t bytes = (uint64_t)PACKETS * esp.inner_bytes;
    for (int opening = 0; opening < 2; opening++) {
        esp.opening = opening != 0;
        const char *stage = esp.opening ? "esp_open" : "esp_seal";
        double ns = hg_perf_median_ns(sample, esp_run, &esp);
        double raw_ns = hg_perf_median_ns(sample, gcm_run, &esp);
        hg_perf_stage(sample, stage, "packet", ns, bytes, PACKETS);
        sample->packet_ns[opening] += ns / PACKETS;
        hg_perf_stage_raw(sample, stage, "IMB_AES256_GCM one shot", ns, raw_ns, bytes);
    }
    free_mb_mgr(esp.cipher);
    free(esp.key);
    free(esp.packets);
    free(esp.text);
    free(sa[0]);
    free(sa[1]);
}

/* ---- outer headers ---- */

struct outer {
    struct hg_encapsulation with;
    uint8_t *frame;
    uint32_t payload_bytes;
    bool reading;
};

static uint64_t outer_run(void *ctx)
{
    struct outer *outer = ctx;
    uint64_t begin_ns = hg_perf_cpu_ns();
    for (uint32_t i = 0; i < PACKETS; i++) {
        const uint8_t *payload;
        uint32_t payload_bytes;
        struct hg_encapsulation read;
        if (!outer->reading) {
            (void)hg_encapsulation_write(&outer->with, outer->payload_bytes, outer->frame);
            continue;
        }
        enum hg_encapsulation_reason fine =
            hg_encapsulation_read(outer->frame, hg_encapsulation_bytes(&outer->with) + outer->payload_bytes,
                                  &read, &payload, &payload_bytes);
        hg_assert(fine == HG_ENCAPSULATION_OK);
    }
    return hg_perf_cpu_ns() - begin_ns;
}

/* IPv4 beside IPv6, whose header has no checksum: what a device that computes it could save. */
static void outer_stage(struct hg_perf_sample *sample, uint32_t mtu_bytes)
{
    static const char *const stages[2][2] = {{"outer_write_ipv4", "outer_read_ipv4"},
                                             {"outer_write_ipv6", "outer_read_ipv6"}};
    struct outer outer = {.frame = memory_aligned(SLOT_BYTES), .payload_bytes = mtu_bytes - 100};
    for (uint32_t six = 0; six < 2; six++) {
        uint8_t family = six ? HG_FAMILY_IPV6 : HG_FAMILY_IPV4;
        outer.with.ip_source.family = outer.with.ip_destination.family = family;
        for (uint32_t reading = 0; reading < 2; reading++) {
            outer.reading = reading != 0;
            double ns = hg_perf_median_ns(sample, outer_run, &outer);
            hg_perf_stage(sample, stages[six][reading], "packet", ns, (uint64_t)PACKETS * outer.payload_bytes,
                          PACKETS);
            sample->packet_ns[reading] += six ? 0 : ns / PACKETS;
            if (!sample->quiet)
                printf("\n");
        }
    }
    free(outer.frame);
}

/* ---- lanes ---- */

struct lanes {
    struct hg_perf_sample *sample;
    struct hg_lane *lane[2];
    void *memory[2];
    uint64_t number[2];
    uint64_t virtual_ns;
    uint32_t next;     /* batch to send */
    uint32_t received; /* batches */
    uint64_t packets;
    uint64_t spent_ns[2]; /* building at the sender, receiving at the receiver */
    bool receiving;
    uint32_t mtu_bytes;
};

static bool lanes_next(void *ctx, struct hg_lane_batch *batch)
{
    struct lanes *lanes = ctx;
    struct hg_perf_sample *sample = lanes->sample;
    if (lanes->next == sample->batch_count)
        return false;
    const struct hg_batch_header *header = (const struct hg_batch_header *)sample->sealed[lanes->next];
    *batch = (struct hg_lane_batch){.alias = 1,
                                    .bytes = sample->sealed_bytes[lanes->next],
                                    .lsn_first = header->lsn_first,
                                    .lsn_end = header->lsn_end,
                                    .sequence = lanes->next};
    lanes->next++;
    return true;
}

static bool lanes_next_none(void *ctx, struct hg_lane_batch *batch)
{
    (void)ctx;
    (void)batch;
    return false;
}

static const uint8_t *lanes_bytes(void *ctx, const struct hg_lane_batch *batch)
{
    const struct lanes *lanes = ctx;
    return lanes->sample->sealed[batch->sequence];
}

static void lanes_acked(void *ctx, const struct hg_lane_batch *batch)
{
    (void)ctx;
    (void)batch;
}

static int lanes_received(void *ctx, uint32_t alias, const uint8_t *batch, uint32_t bytes)
{
    struct lanes *lanes = ctx;
    (void)alias;
    (void)batch;
    hg_assert(bytes == lanes->sample->sealed_bytes[lanes->received]);
    lanes->received++;
    return 0;
}

static void lanes_control(void *ctx, const struct hg_wire_control *frame)
{
    (void)ctx;
    (void)frame;
}

static void lanes_open(struct lanes *lanes)
{
    static const struct hg_lane_ops ops[2] = {
        {lanes_next, lanes_bytes, lanes_acked, lanes_received, lanes_control},
        {lanes_next_none, lanes_bytes, lanes_acked, lanes_received, lanes_control},
    };
    const struct hg_batch_header *first = (const struct hg_batch_header *)lanes->sample->sealed[0];
    lanes->virtual_ns = HG_NS_PER_S;
    for (uint32_t i = 0; i < 2; i++) {
        struct hg_lane_config config = {.ops = &ops[i],
                                        .ctx = lanes,
                                        .mtu_bytes = lanes->mtu_bytes,
                                        .receive_bytes_max = 32u << 20,
                                        .packets_in_flight_max = 16384};
        if (lanes->memory[i] == NULL)
            lanes->memory[i] = memory_aligned(hg_lane_bytes(&config));
        lanes->lane[i] = hg_lane_init(lanes->memory[i], &config, lanes->virtual_ns);
        lanes->number[i] = 1;
    }
    int rc = hg_lane_alias_open(lanes->lane[1], 1, first->lsn_first);
    hg_assert(rc == 0);
}

/* A burst one way; the packets lie flat between, as ESP would leave them. That copy counts as building: a
 * clock read for each packet would cost as much. */
static uint32_t lanes_burst(struct lanes *lanes, uint32_t from, uint8_t *flat)
{
    struct hg_lane_packet packet;
    uint32_t bytes[BURST], n = 0;
    uint64_t a_ns = hg_perf_cpu_ns();
    while (n < BURST &&
           hg_lane_build(lanes->lane[from], lanes->number[from] + n, lanes->virtual_ns, &packet) > 0) {
        uint32_t put = 0;
        for (uint32_t i = 0; i < packet.piece_count; i++) {
            memcpy(flat + (size_t)n * SLOT_BYTES + put, packet.pieces[i].iov_base, packet.pieces[i].iov_len);
            put += (uint32_t)packet.pieces[i].iov_len;
        }
        bytes[n++] = put;
    }
    uint64_t b_ns = hg_perf_cpu_ns();
    for (uint32_t i = 0; i < n; i++)
        hg_lane_receive(lanes->lane[1 - from], flat + (size_t)i * SLOT_BYTES, bytes[i], lanes->number[from]++,
                        HG_ECN_NOT_ECT, lanes->virtual_ns);
    lanes->spent_ns[0] += b_ns - a_ns;
    lanes->spent_ns[1] += hg_perf_cpu_ns() - b_ns;
    lanes->packets += from == 0 ? n : 0;
    return n;
}

static uint64_t lanes_run(void *ctx)
{
    struct lanes *lanes = ctx;
    static uint8_t flat[BURST * SLOT_BYTES];
    lanes_open(lanes);
    lanes->next = 0;
    lanes->received = 0;
    lanes->packets = 0;
    memset(lanes->spent_ns, 0, sizeof(lanes->spent_ns));
    while (lanes->received < lanes->sample->batch_count) {
        lanes_burst(lanes, 0, flat);
        lanes_burst(lanes, 1, flat);
        lanes->virtual_ns += 20000;
        const struct hg_lane_stats *stats = hg_lane_stats(lanes->lane[1]);
        hg_assert(stats->refused == 0 && stats->drop_mismatch == 0 && stats->drop_malformed == 0);
        hg_assert(stats->drop_alias == 0 && stats->drop_credit == 0);
    }
    return lanes->spent_ns[lanes->receiving];
}

static void lanes_stage(struct hg_perf_sample *sample, uint32_t mtu_bytes)
{
    struct lanes lanes = {.sample = sample, .mtu_bytes = mtu_bytes};
    double build_ns = hg_perf_median_ns(sample, lanes_run, &lanes);
    lanes.receiving = true;
    double receive_ns = hg_perf_median_ns(sample, lanes_run, &lanes);
    hg_perf_stage(sample, "lane_build", "packet", build_ns, sample->stored_bytes, lanes.packets);
    if (!sample->quiet)
        printf("   with the copy of its pieces and the acks' building\n");
    hg_perf_stage(sample, "lane_receive", "packet", receive_ns, sample->stored_bytes, lanes.packets);
    sample->packet_ns[0] += build_ns / (double)lanes.packets;
    sample->packet_ns[1] += receive_ns / (double)lanes.packets;
    if (!sample->quiet)
        printf("   with the acks' receiving\n");
    free(lanes.memory[0]);
    free(lanes.memory[1]);
}

void hg_perf_stages_packets(struct hg_perf_sample *sample, uint32_t mtu_bytes)
{
    char error[256];
    if (hg_esp_start(error, sizeof(error)) != 0) {
        fprintf(stderr, "helio-perf: %s\n", error);
        return;
    }
    memset(sample->packet_ns, 0, sizeof(sample->packet_ns));
    esp_stage(sample, mtu_bytes);
    outer_stage(sample, mtu_bytes);
    lanes_stage(sample, mtu_bytes);
}
