/* SPDX-License-Identifier: Apache-2.0
 *
 * The fuzzer's bytes as a script: numbers taken from its front, zero when it has come to its end.
 */
#ifndef HG_FUZZ_INPUT_H
#define HG_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct input {
    const uint8_t *at;
    size_t bytes_left;
};

/* The next `bytes` (8 at most), little-endian; fewer when fewer are left. */
static inline uint64_t take(struct input *input, size_t bytes)
{
    uint64_t value = 0;
    bytes = bytes < input->bytes_left ? bytes : input->bytes_left;
    memcpy(&value, input->at, bytes);
    input->at += bytes;
    input->bytes_left -= bytes;
    return value;
}

#endif
