/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/stream/cursor.h"

#include <errno.h>

int hg_cursor_peek(struct hg_cursor *cursor, struct hg_log *log, const struct hg_batch_header **header)
{
    hg_assert(cursor->sequence > 0);
    for (;;) {
        const uint8_t *payload;
        uint32_t payload_bytes;
        int rc = hg_log_at(log, cursor->sequence, &payload, &payload_bytes);
        if (rc == -ERANGE)
            return 0;
        if (rc == 0)
            hg_log_prefetch(log, cursor->sequence, &cursor->walker);
        if (rc <= 0)
            return rc;
        hg_assert(cursor->offset <= payload_bytes);
        if (cursor->offset == payload_bytes) {
            hg_log_walked(log, cursor->sequence, &cursor->walker);
            cursor->sequence++;
            cursor->offset = 0;
            continue;
        }
        /* The block CRCs vouch for the bytes; the header's own check catches a write that was built wrong. */
        if (hg_batch_check_header(payload + cursor->offset, payload_bytes - cursor->offset) !=
            HG_BATCH_REASON_OK)
            return -EBADMSG;
        *header = (const struct hg_batch_header *)(payload + cursor->offset);
        return 1;
    }
}

void hg_cursor_advance(struct hg_cursor *cursor, const struct hg_batch_header *header)
{
    cursor->offset += hg_batch_bytes(header);
}
