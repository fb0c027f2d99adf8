/* SPDX-License-Identifier: Apache-2.0
 *
 * Ethernet frames from anyone; with the first byte odd, the IPv4 checksum is made right first. What is read
 * lies within the frame, and what can be read can be written and read again.
 */
#include "dataplane/transport/encapsulation.h"
#include <stdlib.h>

static void checksum_set(uint8_t *frame, uint32_t bytes)
{
    uint32_t header = (frame[14] & 15u) * 4, sum = 0;
    if (header < 20 || 14 + header > bytes)
        return;
    frame[24] = frame[25] = 0;
    for (uint32_t i = 0; i < header; i += 2)
        sum += (uint32_t)frame[14 + i] << 8 | frame[15 + i];
    sum = (sum & 0xffff) + (sum >> 16);
    sum = ~((sum & 0xffff) + (sum >> 16));
    frame[24] = (uint8_t)(sum >> 8);
    frame[25] = (uint8_t)sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes < 1 || bytes > 65535)
        return 0;
    uint32_t frame_bytes = (uint32_t)bytes - 1;
    uint8_t *frame = malloc(frame_bytes + 1);
    hg_assert(frame != NULL);
    memcpy(frame, data + 1, frame_bytes);
    if ((data[0] & 1) != 0 && frame_bytes > 34)
        checksum_set(frame, frame_bytes);
    frame = realloc(frame, frame_bytes > 0 ? frame_bytes : 1);

    struct hg_encapsulation outer, again;
    const uint8_t *payload = NULL;
    uint32_t payload_bytes = 0;
    enum hg_encapsulation_reason reason =
        hg_encapsulation_read(frame, frame_bytes, &outer, &payload, &payload_bytes);
    hg_assert(reason < HG_ENCAPSULATION_REASON_COUNT);
    if (reason == HG_ENCAPSULATION_OK) {
        hg_assert(payload >= frame + HG_WIRE_OUTER_BYTES && payload + payload_bytes <= frame + frame_bytes);
        uint32_t header_bytes = hg_encapsulation_bytes(&outer);
        uint8_t *back = malloc(header_bytes + payload_bytes);
        hg_assert(back != NULL);
        uint32_t back_bytes = hg_encapsulation_write(&outer, payload_bytes, back);
        memcpy(back + header_bytes, payload, payload_bytes);
        outer.ttl = outer.ttl == 0 ? 64 : outer.ttl;
        hg_assert(hg_encapsulation_read(back, back_bytes, &again, &payload, &payload_bytes) ==
                  HG_ENCAPSULATION_OK);
        hg_assert(memcmp(&outer, &again, sizeof(outer)) == 0);
        free(back);
    }
    free(frame);
    return 0;
}
