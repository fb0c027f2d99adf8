/* SPDX-License-Identifier: Apache-2.0
 *
 * What a log is kept for: limits in bytes and time, who holds it, and when it is full at the present rate.
 * docs/architecture.md, Retention. Pure; owning worker only.
 */
#ifndef HG_STREAM_RETENTION_H
#define HG_STREAM_RETENTION_H

#include "dataplane/wal/format.h"
#include "dataplane/wal/index.h"

#define HG_RETENTION_HOLDERS_MAX 8u
#define HG_RETENTION_PEERS_MAX   64u
#define HG_RETENTION_REFUSED_NS  HG_NS_PER_S /* peers' batches are refused for so long before it is told */
#define HG_BUDGET_SAMPLES        16u
#define HG_BUDGET_SAMPLE_NS      HG_NS_PER_S

/* Of a log: what it keeps at least, or lets somebody hold at most. 0 = says nothing. With both, the one that
 * keeps more counts for what is kept, the one that holds less for what is held. */
struct hg_retention_limit {
    uint64_t bytes;
    uint64_t ns; /* on the monotonic clock: what a process found in its log counts from its start */
};

enum hg_holder_kind {
    HG_HOLDER_PEER = 1,
    HG_HOLDER_CONSUMER = 2,
    HG_HOLDER_UNCONFIGURED = 3, /* a stream, while no configuration has come */
};
/* "peer", "consumer", "unconfigured stream" */
const char *hg_holder_text(uint32_t kind);

/* Somebody who needs what is in the log. */
struct hg_holder {
    uint32_t kind;     /* enum hg_holder_kind */
    uint32_t index;    /* of the peer or the consumer */
    uint32_t slot;     /* the stream that it lacks the oldest of */
    bool let_go;       /* behind its limit: what it lacks beyond that may be forgotten */
    uint64_t sequence; /* oldest write that it needs */
    uint64_t bytes;    /* of the log from there on */
    uint64_t age_ns;   /* that this write has been there for, at least */
};

/* How fast the log fills: what was appended in the last seconds. */
struct hg_budget {
    struct {
        uint64_t ns;
        uint64_t bytes;
    } samples[HG_BUDGET_SAMPLES];
    uint64_t count; /* ever taken; the newest is at (count - 1) mod HG_BUDGET_SAMPLES */
};

/* `appended_bytes` only rises. A sample is taken once HG_BUDGET_SAMPLE_NS has gone by. */
void hg_budget_sample(struct hg_budget *budget, uint64_t now_ns, uint64_t appended_bytes);
/* 0 before there are two samples. */
uint64_t hg_budget_bytes_per_s(const struct hg_budget *budget);
/* When what is held is all there is, if nobody moves; HG_TIME_NEVER = not at this rate. */
uint64_t hg_budget_full_ns(const struct hg_budget *budget, uint64_t held_bytes, uint64_t capacity_bytes);
/* The alarm level in percent: 0, 50, 75 or 90. It falls when five percent less are held than it rose at. */
uint32_t hg_budget_level(uint32_t level, uint64_t held_bytes, uint64_t capacity_bytes);

struct hg_retention_peer {
    char name[HG_NAME_BYTES];
    struct hg_retention_limit limit;
    bool let_go;
    uint64_t offered; /* the write with the oldest horizon that it was told and that still counts; 0 = none */
};

struct hg_retention {
    struct hg_index times;          /* when which write was the next: monotonic ns -> sequence */
    struct hg_retention_limit keep; /* of the log */
    struct hg_retention_peer peers[HG_RETENTION_PEERS_MAX];
    struct hg_budget budget;
    uint64_t released; /* to the log, as of the last look */
    /* As of the last look: who holds most comes first. */
    struct hg_holder holders[HG_RETENTION_HOLDERS_MAX];
    uint32_t holder_count;
    uint64_t capacity_bytes; /* that producers may fill */
    uint64_t held_bytes;     /* of these, needed by somebody who was not let go of */
    uint64_t full_ns;        /* HG_TIME_NEVER: not at the present rate */
    uint32_t level;          /* percent; 0 = no alarm */
    uint64_t alarm_count;    /* times that the level rose */
    uint64_t let_go_count;   /* times that somebody was let go of */
    uint64_t refused_seen;
    uint64_t refused_ns; /* when a peer's batch was last seen to be refused */
    uint64_t refused_since_ns;
    bool refused_told;
};

#endif
