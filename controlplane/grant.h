/* SPDX-License-Identifier: Apache-2.0
 *
 * Write grants, the control plane's side: when the grant of a group is renewed, and until when the dataplane
 * may believe in it. A grant is renewed by a write that the metastore committed and by nothing else, so a
 * control plane that has lost its metastore, its disk or a race can't keep its node writable.
 *
 * The order of clock reads: the control plane reads CLOCK_BOOTTIME, then asks the metastore to write that
 * this node has `grant_ms` from that write on, and when it is told that this is committed, its dataplane may
 * believe in the grant until what was read before plus grant_ms, less what a clock may be slow by. The write
 * came after that read: so the grant ends here no later than it does for whoever waits grant_ms after seeing
 * the write.
 *
 * Pure: (event, now) in, what to do out. One grant a group.
 */
#ifndef HG_CONTROLPLANE_GRANT_H
#define HG_CONTROLPLANE_GRANT_H

#include "drivers/ipc/control_state.h"

enum hg_granting_state {
    HG_GRANTING_NONE, /* never had, or given up: somebody else may write */
    HG_GRANTING_HELD,
    HG_GRANTING_LAPSED, /* it was not renewed in time; it is asked for on and on */
};

struct hg_granting {
    uint32_t grant_ms; /* of each renewal; 0 = no grants */
    uint64_t epoch;    /* that the last one was for */
    uint64_t deadline_ns;
    uint64_t ask_ns;   /* when the metastore is to be asked next */
    uint64_t asked_ns; /* before the question under way; 0 = none is */
    uint64_t since_ns; /* before the first question by this process with this grant_ms; 0 = none was */
    enum hg_granting_state state;
};

void hg_granting_init(struct hg_granting *granting, uint32_t grant_ms);
/* The configuration may say another length at any time. */
void hg_granting_length(struct hg_granting *granting, uint32_t grant_ms);
/* True: ask the metastore now, after hg_granting_ask. */
bool hg_granting_due(const struct hg_granting *granting, uint64_t boottime_ns);
void hg_granting_ask(struct hg_granting *granting, uint64_t boottime_ns);
/* It was committed, for this epoch: the deadline that the dataplane gets is in *granting. */
void hg_granting_committed(struct hg_granting *granting, uint64_t epoch);
/* It failed, or nobody knows: what there is goes on until it ends. */
void hg_granting_failed(struct hg_granting *granting, uint64_t boottime_ns);
/* The record says that this node does not write the group: what there is goes on until it ends. */
void hg_granting_refused(struct hg_granting *granting, uint64_t boottime_ns);

/* One of these, by what hg_metastore_grant said. */
void hg_granting_answered(struct hg_granting *granting, int rc, uint64_t epoch, uint64_t boottime_ns);

enum hg_granting_turn { HG_GRANTING_SAME, HG_GRANTING_GOT, HG_GRANTING_LOST };
/* Whether it was got, or has ended, since the last look. */
enum hg_granting_turn hg_granting_turn(struct hg_granting *granting, uint64_t boottime_ns);

/* How long the record is to say that a grant lasts, where it says `found_ms` now: not less before the last of
 * those has ended, which the dataplane may have from an earlier process. `held_ns`: since `since_ns`. */
uint32_t hg_grant_written_ms(uint32_t grant_ms, uint32_t found_ms, uint64_t held_ns);
/* Believed in for so long from before the write. */
uint64_t hg_grant_believed_ns(uint32_t grant_ms);
/* For so long after it saw the record with this grant_ms replaced by SEALING, a new writer must wait before
 * nobody can be told of anything by the old one. A new writer that has the old one's answer to its seal need
 * not. */
uint64_t hg_grant_wait_ns(uint32_t grant_ms);

#endif
