/* SPDX-License-Identifier: Apache-2.0
 *
 * Repairing a durable write that is corrupt with what other nodes' logs have of it. Batches are the same
 * bytes everywhere, so what is lost here is taken from there, proved against what must be here (the checksums
 * of the write where its header or the ring's copy is whole; the chains of its streams on both sides else)
 * and written to a new place, at the end of the log. The superblock's table of holes then says where it is.
 * Nothing is changed in place. Blocks; for tools, while nobody has the log open.
 */
#ifndef HG_WAL_LOG_REPAIR_H
#define HG_WAL_LOG_REPAIR_H

#include "dataplane/wal/log_loss.h"

struct hg_log_repair;

struct hg_log_repair_facts {
    struct hg_log_finding damage;
    uint32_t batches_left;  /* of the copy: that are whole in the damaged write */
    uint32_t batches_taken; /* of the copy: from other logs */
    bool is_proved;         /* byte for byte, local records too; else its streams' batches by their chains */
    uint64_t copy_sequence; /* the write that has, or would have, the copy */
};

/* Audits the log and looks at the damage that write `sequence` is in (0 = the first there is). NULL: *why
 * says what is against it; freed with hg_log_repair_free. */
struct hg_log_repair *hg_log_repair_begin(const struct hg_log_loss_ops *ops, void *ctx, uint64_t size_bytes,
                                          uint64_t sequence, const char **why);
/* Takes what is missing from another log, which is read and nothing else; as often as there are logs. */
void hg_log_repair_take(struct hg_log_repair *repair,
                        int (*read)(void *ctx, void *data, uint32_t bytes, uint64_t offset), void *ctx,
                        uint64_t size_bytes);
/* Puts it together and proves it. NULL: it can be written; else what is missing, good until the next call. */
const char *hg_log_repair_problem(struct hg_log_repair *repair, struct hg_log_repair_facts *facts);
/* After a NULL of hg_log_repair_problem: what nothing says was flushed once more, the same bytes in place,
 * flushed; the copy, flushed; then the superblock. -EIO also when a write reads differently a second time. A
 * crash at any step leaves a log that is refused as before or one that has it back. 0 or -errno. */
int hg_log_repair_write(struct hg_log_repair *repair);
void hg_log_repair_free(struct hg_log_repair *repair);

#endif
