/* SPDX-License-Identifier: Apache-2.0
 *
 * Moving a stream from one worker of a node to another: who tells whom what, in which order. The records that
 * make it safe are in dataplane/stream/move.h. Pure; owned by housekeeping (in the simulator by the node),
 * which puts the letters and gives the configuration when it is told to. One stream at a time.
 *
 *     from                    housekeeping                     to
 *      | <-- STREAM_LEAVE ------- |                             |   takes no more of it; waits for its disk,
 *      |                          |                             |   peers, consumers, readers
 *      | --- STREAM_LEFT -------> |                             |   what it knows of it; or why it stays
 *      |                          | ------ STREAM_ENTER ------> |   start record: from here on `to` owns it
 *      |                          | <----- STREAM_ENTERED ----- |   durable; or refused
 *      | <-- STREAM_END --------- |                             |   end record; or STREAM_STAY
 *      | <-- CONFIG ------------- | ---------- CONFIG --------> |
 *
 * If the process dies, the logs say whose it is: hg_placement_held. What is left of it elsewhere gets
 * STREAM_END when the logs are read back: hg_placement_stale.
 */
#ifndef HG_MOVE_H
#define HG_MOVE_H

#include "dataplane/mailbox.h"
#include "dataplane/stream/move.h"

/* Appends wait so long for those who lack something of the stream; then it stays. Less than helioctl waits
 * for an answer. */
#define HG_MOVE_LEAVE_NS_MAX (3 * HG_NS_PER_S)

enum hg_move_phase {
    HG_MOVE_IDLE,
    HG_MOVE_LEAVING,
    HG_MOVE_ENTERING,
    HG_MOVE_STAYING, /* refused: the old owner is to be told */
    HG_MOVE_ENDING,  /* it moved: the old owner is to be told */
};

struct hg_move {
    enum hg_move_phase phase;
    uint64_t stream;
    uint32_t from;
    uint32_t to;
    char name[HG_CONTROL_NAME_BYTES];
    struct hg_stream_transfer transfer; /* lent to `from`, then to `to` */
    bool letter_due;                    /* `letter` is to be put to `letter_worker` */
    uint32_t letter_worker;
    struct hg_letter letter;
    int32_t code; /* when it is over: 0, or why the stream stays */
    char text[HG_CONTROL_TEXT_BYTES];
};

/* Begins: a letter is due. Returns 0; or a code with `text` set, and nothing has begun: -ENOENT = no stream
 * of this name is configured; -EINVAL = no such worker; -EALREADY = it is there. `config` has places. */
int hg_move_begin(struct hg_move *move, const struct hg_placement *placement,
                  const struct hg_control_config *config, const char *name, uint32_t to);
/* An answer of a worker (STREAM_LEFT, STREAM_ENTERED). A letter is due, or the phase is IDLE: it is over. */
void hg_move_answer(struct hg_move *move, const struct hg_letter *letter);
/* The letter that was due was put. Returns true when that was the last word: with code 0 the stream is the
 * new worker's, placement and `config` say so now, and every worker is to get the configuration anew; before
 * that, no other letter may be put to the old owner. */
bool hg_move_put(struct hg_move *move, struct hg_placement *placement, struct hg_control_config *config);

#endif
