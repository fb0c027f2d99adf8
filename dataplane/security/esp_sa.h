/* SPDX-License-Identifier: Apache-2.0
 *
 * What is in an SA. For esp.c, and for tests that put an SA near its limits.
 */
#ifndef HG_SECURITY_ESP_SA_H
#define HG_SECURITY_ESP_SA_H

#include "dataplane/security/replay.h"
#include <intel-ipsec-mb.h>

struct hg_esp_sa {
    struct gcm_key_data key;
    struct gcm_context_data context; /* here and not on the stack, so that one wipe gets its key stream too */
    uint8_t salt[HG_ESP_SALT_BYTES];
    uint32_t spi;
    uint64_t number_next;    /* sending */
    uint64_t packets;        /* sending: numbers used up */
    uint64_t bytes;          /* sending: plaintext sealed, padding included */
    uint64_t failures;       /* receiving: packets that failed authentication */
    struct hg_replay replay; /* receiving */
};

#endif
