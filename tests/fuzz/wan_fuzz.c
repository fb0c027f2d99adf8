/* SPDX-License-Identifier: Apache-2.0
 *
 * What helio-wan reads of others: frames of any length and content, and lines of its language. The first byte
 * chooses. A damaged frame is never the same, an answer fits its buffer and bears valid checksums, a command
 * that parses has impairments that make sense, and an error points into its line.
 */
#include "tools/wan/command.h"
#include "tools/wan/frame.h"
#include "tools/wan/steer.h"

#include <stdlib.h>

/* The one's complement sum, RFC 1071; 0xffff over anything that holds its own checksum. */
static uint32_t sum(uint32_t from, const uint8_t *data, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++)
        from += i % 2 == 0 ? (uint32_t)data[i] << 8 : data[i];
    while (from > 0xffff)
        from = (from & 0xffff) + (from >> 16);
    return from;
}

static void answer_check(const uint8_t *frame, const uint8_t *answer, uint32_t bytes)
{
    uint32_t at = hg_wan_frame_payload_at(answer, bytes);
    uint32_t ip_bytes = bytes - at;
    const uint8_t *ip = answer + at;
    hg_assert(memcmp(answer, frame + 6, 6) == 0 && memcmp(answer + 6, frame, 6) == 0);
    if (ip[0] >> 4 == 4) {
        hg_assert(ip_bytes <= 576 && sum(0, ip, 20) == 0xffff && sum(0, ip + 20, ip_bytes - 20) == 0xffff);
        return;
    }
    hg_assert(ip_bytes <= 1280);
    hg_assert(sum(sum(ip_bytes - 40 + 58, ip + 8, 32), ip + 40, ip_bytes - 40) == 0xffff);
}

static void frame_read(const uint8_t *data, uint32_t bytes, uint64_t random)
{
    uint8_t answer[HG_WAN_FRAME_ANSWER_BYTES_MAX];
    uint8_t *frame = malloc(bytes); /* of that length exactly: the sanitizer sees a byte too far */
    hg_assert(frame != NULL);
    memcpy(frame, data, bytes);
    uint32_t at = hg_wan_frame_payload_at(frame, bytes);
    hg_assert(at >= HG_WAN_FRAME_HEADER_BYTES && at <= bytes);
    hg_assert(hg_wan_frame_flow(frame, bytes) == hg_wan_frame_flow(data, bytes));
    hg_assert(hg_wan_steer_queue(frame, bytes, 4) < 4 && hg_wan_steer_queue(frame, bytes, 1) == 0);
    uint32_t said = hg_wan_frame_too_big(frame, bytes, 1280, answer);
    hg_assert(said <= sizeof(answer) && memcmp(frame, data, bytes) == 0);
    if (said != 0)
        answer_check(frame, answer, said);
    uint32_t before = sum(0, frame + at, (bytes - at) / 2 * 2);
    if (hg_wan_frame_mark(frame, bytes)) {
        uint32_t after = sum(0, frame + at, (bytes - at) / 2 * 2);
        hg_assert(frame[at] >> 4 == 6 || after % 0xffff == before % 0xffff);
        memcpy(frame, data, bytes);
    }
    hg_assert(memcmp(frame, data, bytes) == 0);
    bool damaged = hg_wan_frame_corrupt(frame, bytes, false, random);
    hg_assert(memcmp(frame, data, at) == 0 && damaged == (memcmp(frame, data, bytes) != 0));
    free(frame);
}

static void line_read(const uint8_t *data, size_t bytes)
{
    char line[HG_WAN_LINE_BYTES_MAX];
    struct hg_wan_command command;
    struct hg_wan_error error;
    bytes = bytes < sizeof(line) - 1 ? bytes : sizeof(line) - 1;
    memcpy(line, data, bytes);
    line[bytes] = '\0';
    if (hg_wan_command_parse(line, &command, &error) != 0) {
        hg_assert(error.column <= strlen(line) + 1 && error.text[0] != '\0');
        return;
    }
    if (command.verb == HG_WAN_VERB_LINK_SET)
        hg_assert(hg_wan_impairment_problem(&command.impairment) == NULL);
    hg_assert(strlen(command.name) < sizeof(command.name) && strlen(command.iface) < sizeof(command.iface));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint64_t random;
    if (bytes < 1)
        return 0;
    if ((data[0] & 1) != 0) {
        line_read(data + 1, bytes - 1);
        return 0;
    }
    if (bytes < 1 + sizeof(random) + HG_WAN_FRAME_HEADER_BYTES || bytes > 10000)
        return 0;
    memcpy(&random, data + 1, sizeof(random));
    frame_read(data + 1 + sizeof(random), (uint32_t)(bytes - 1 - sizeof(random)), random);
    return 0;
}
