/* SPDX-License-Identifier: Apache-2.0
 *
 * Frames from anyone on the link, several in a row. The first byte: odd makes the ICMPv6 checksum of each
 * right. What is answered fits, nobody but those asked for is in the table, and no answer is to an answer.
 */
#include "dataplane/transport/neighbour.h"
#include <stdlib.h>

static void checksum_set(uint8_t *frame, uint32_t bytes)
{
    if (bytes < 14 + 40 + 8 || frame[12] != 0x86 || frame[13] != 0xdd)
        return;
    uint32_t icmp_bytes = bytes - 54, sum = icmp_bytes + 58;
    frame[18] = (uint8_t)(icmp_bytes >> 8);
    frame[19] = (uint8_t)icmp_bytes;
    frame[56] = frame[57] = 0;
    for (uint32_t i = 22; i < bytes; i++)
        sum += i % 2 ? frame[i] : (uint32_t)frame[i] << 8;
    sum = (sum & 0xffff) + (sum >> 16);
    sum = ~((sum & 0xffff) + (sum >> 16));
    frame[56] = (uint8_t)(sum >> 8);
    frame[57] = (uint8_t)sum;
}

static void frame_in(struct hg_neighbours *neighbours, const uint8_t *data, uint32_t bytes, bool fix,
                     uint64_t now_ns)
{
    uint8_t answer[HG_NEIGHBOUR_ECHO_BYTES_MAX], again[HG_NEIGHBOUR_ECHO_BYTES_MAX];
    uint8_t *frame = malloc(bytes > 0 ? bytes : 1);
    hg_assert(frame != NULL);
    memcpy(frame, data, bytes);
    if (fix)
        checksum_set(frame, bytes);
    uint32_t answer_bytes = hg_neighbours_receive(neighbours, frame, bytes, now_ns, answer);
    hg_assert(answer_bytes <= sizeof(answer) && neighbours->count <= 2);
    if (answer_bytes > 0) {
        hg_assert(memcmp(answer + 6, neighbours->mac, 6) == 0);
        hg_assert(hg_neighbours_receive(neighbours, answer, answer_bytes, now_ns, again) == 0);
    }
    free(frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
    struct hg_network network = {.prefix_bits = 24};
    struct hg_address peer, far;
    struct hg_neighbours neighbours;
    uint8_t frame[HG_NEIGHBOUR_FRAME_BYTES_MAX];
    uint64_t now_ns = HG_NS_PER_S;
    if (bytes < 1)
        return 0;
    bool six = (data[0] & 2) != 0;
    hg_assert(hg_address_parse(six ? "fd00::1" : "10.0.0.1", &network.address));
    hg_assert(hg_address_parse(six ? "fd00::2" : "10.0.0.2", &peer));
    hg_assert(hg_address_parse(six ? "fe80::9" : "10.0.0.9", &network.gateway));
    hg_assert(hg_address_parse(six ? "2001:db8::1" : "192.0.2.1", &far));
    hg_neighbours_init(&neighbours);
    hg_neighbours_start(&neighbours, mac, &network, now_ns);
    for (size_t at = 1; at + 2 <= bytes;) {
        uint32_t frame_bytes = (uint32_t)data[at] | (uint32_t)data[at + 1] << 8;
        at += 2;
        frame_bytes = (uint32_t)hg_min_u64(frame_bytes, bytes - at);
        (void)hg_neighbours_mac(&neighbours, &peer, now_ns);
        (void)hg_neighbours_mac(&neighbours, &far, now_ns);
        while (hg_neighbours_build(&neighbours, now_ns, frame) > 0)
            continue;
        hg_assert(hg_neighbours_deadline_ns(&neighbours) > now_ns);
        frame_in(&neighbours, data + at, frame_bytes, (data[0] & 1) != 0, now_ns);
        at += frame_bytes;
        now_ns += 700 * HG_NS_PER_MS;
    }
    return 0;
}
