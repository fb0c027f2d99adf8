/* SPDX-License-Identifier: Apache-2.0
 *
 * A lane: one (sending worker, peer, receiving worker) connection, both directions of it, as a pure state
 * machine over plaintext packets. It fragments sealed batches, acknowledges packets, detects loss (RFC 9002),
 * sends lost data again under new packet numbers, paces, keeps credit, reassembles, and carries control
 * frames reliably. It knows nothing of sockets, keys, disks or the meaning of streams: the owner seals and
 * opens packets (dataplane/security), and answers through hg_lane_ops. Made anew for every SA pair. Only the
 * owning worker calls it; nothing is allocated after init.
 *
 * One turn of the owner:  receive each packet -> ... -> while ((n = hg_lane_build(...)) > 0) seal and
 * transmit.
 */
#ifndef HG_TRANSPORT_LANE_H
#define HG_TRANSPORT_LANE_H

#include "dataplane/transport/ecn.h"
#include "dataplane/transport/wire.h"
#include <sys/uio.h>

struct hg_lane;
struct hg_cc_share_view;
struct hg_cc_told;

/* A sealed batch to be sent, named so that its bytes can be found again for as long as the log has them. */
struct hg_lane_batch {
    uint32_t alias;
    uint32_t bytes; /* whole sealed batch, padding included */
    uint64_t lsn_first;
    uint64_t lsn_end;
    uint64_t sequence; /* of its log write */
    uint32_t offset;   /* in that write's payload */
};

struct hg_lane_ops {
    /* The next batch to send, in LSN order for each alias. False: nothing (now). Called only while some
     * credit is left; a batch that is larger than what is left waits in the lane. */
    bool (*batch_next)(void *ctx, struct hg_lane_batch *batch);
    /* The bytes of a batch that batch_next gave before. NULL: being read from disk; asked again at the next
     * build. The pointer is used at once (the packet is sealed before the owner's next log turn). */
    const uint8_t *(*batch_bytes)(void *ctx, const struct hg_lane_batch *batch);
    /* Every byte of it was acknowledged as received (which is not durable). In no particular order. */
    void (*batch_acked)(void *ctx, const struct hg_lane_batch *batch);
    /* Receiving side: the next batch of `alias` in LSN order, reassembled. 0 = taken; -EAGAIN = no room in
     * the log, offered again by hg_lane_offer; other negative = refused: the lane stops taking the alias. */
    int (*batch_received)(void *ctx, uint32_t alias, const uint8_t *batch, uint32_t bytes);
    /* A control frame (struct hg_wire_control at its start), complete, in any order, possibly twice. */
    void (*control_received)(void *ctx, const struct hg_wire_control *frame);
    /* May be NULL. True: nobody needs its bytes any more, whatever was acknowledged (the peer says it is
     * durable there; our log may have released it). Asked before bytes are sent again. */
    bool (*batch_gone)(void *ctx, const struct hg_lane_batch *batch);
};

#define HG_LANE_LIMIT_PACKETS_IN_FLIGHT (1u << 19) /* 20 Gbit/s over 200 ms */
#define HG_LANE_CONTROL_PACKETS         8u         /* of the ring of sent packets are never data's */
#define HG_LANE_PACKETS_IN_FLIGHT_MIN   64u
#define HG_LANE_MTU_BYTES_MIN           576u
#define HG_LANE_MTU_BYTES_MAX           9216u
#define HG_LANE_CREDIT_BYTES_MIN        (UINT64_C(32) << 20) /* given at first, where the memory is larger */
#define HG_LANE_RECEIVE_BYTES_MIN       hg_align_up(2 * HG_BATCH_BYTES_MAX, HG_WIRE_BLOCK_BYTES)

struct hg_lane_config {
    const struct hg_lane_ops *ops;
    void *ctx;
    uint32_t mtu_bytes;        /* of the IP link; the path may carry less: dataplane/transport/pmtu.h */
    uint8_t family;            /* enum hg_family of its IP packets; 0 counts as IPv4 */
    uint32_t path_mtu_bytes;   /* what an earlier lane found out about the path; 0: nothing */
    uint64_t rate_bytes_per_s; /* of this side, counted in IP packet bytes: what `fixed` sends at (0: unpaced)
                                  and the others stay below (0: no limit) */
    uint8_t congestion;        /* enum hg_cc_kind */
    uint8_t fec;               /* enum hg_fec_mode, of this side; what the peer sends is always understood */
    bool ecn;                  /* packets are marked; what the peer marks is always counted */
    uint64_t receive_bytes_max; /* reassembly memory = the most credit given; less than the least is the
                                   least. Only what is used is touched: dataplane/transport/credit.h */
    uint32_t
        packets_in_flight_max; /* power of two, <= HG_LANE_LIMIT_PACKETS_IN_FLIGHT; the sent ring's size */
};

/* One counter a reason; `show drops` prints the texts. */
#define HG_LANE_COUNTERS(X)                                                                                  \
    X(packets_sent, "packets sent")                                                                          \
    X(packets_received, "packets received")                                                                  \
    X(packets_lost, "packets declared lost")                                                                 \
    X(packets_spurious, "packets declared lost that were acknowledged later")                                \
    X(data_bytes_sent, "batch bytes sent for the first time")                                                \
    X(data_bytes_resent, "batch bytes sent again")                                                           \
    X(data_bytes_received, "batch bytes received")                                                           \
    X(data_bytes_duplicate, "batch bytes received that were there already")                                  \
    X(batches_sent, "batches sent whole")                                                                    \
    X(batches_received, "batches reassembled")                                                               \
    X(acks_sent, "acks sent")                                                                                \
    X(acks_received, "acks received")                                                                        \
    X(probes_sent, "probe timeouts fired")                                                                   \
    X(congestion_persistent, "times all packets of a long time were lost")                                   \
    X(congestion_alarms, "times the circuit breaker of a fixed rate opened")                                 \
    X(ecn_sent, "packets sent marked as ECN-capable")                                                        \
    X(ecn_marked_there, "packets that the peer says arrived marked by a full queue")                         \
    X(ecn_marked, "packets received that a full queue marked")                                               \
    X(ecn_remarked, "packets received with a codepoint of ECN that nobody sends")                            \
    X(ecn_failed, "times marking ended because the counts of ECN could not be true")                         \
    X(pmtu_probes_sent, "probes of the path MTU sent")                                                       \
    X(pmtu_probes_lost, "probes of the path MTU lost")                                                       \
    X(fec_groups, "groups of packets that parity was sent for")                                              \
    X(fec_parity_sent, "parity packets sent")                                                                \
    X(fec_parity_received, "parity packets received")                                                        \
    X(fec_recovered, "lost packets that parity gave")                                                        \
    X(fec_recovered_there, "packets that parity gave the peer")                                              \
    X(fec_unrecoverable, "groups received that lost more than their parity")                                 \
    X(fec_crowded, "groups received that were forgotten because others needed the memory")                   \
    X(credit_stalls, "times sending waited for credit")                                                      \
    X(read_stalls, "times sending waited for a read from the log")                                           \
    X(drop_version, "packets of an unknown transport version")                                               \
    X(drop_malformed, "packets with a frame that does not parse")                                            \
    X(drop_duplicate, "packets received twice")                                                              \
    X(drop_alias, "data of an alias that is not open")                                                       \
    X(drop_credit, "data beyond the credit given")                                                           \
    X(drop_mismatch, "data that contradicts what is known of its batch")                                     \
    X(drop_ack, "acks of packets never sent")                                                                \
    X(drop_fec, "packets that contradict their group of packets and parity")                                 \
    X(drop_fec_old, "parity of groups that newer ones replaced")                                             \
    X(drop_control, "control frames of an unknown type or size")                                             \
    X(drop_control_state, "control frames of a stream that is not, or no longer, where they apply")          \
    X(refused, "aliases closed because the owner refused a batch")

struct hg_lane_stats {
#define HG_X(name, text) uint64_t name;
    HG_LANE_COUNTERS(HG_X)
#undef HG_X
    uint64_t bytes_in_flight;
    uint64_t srtt_ns;
    uint64_t rttvar_ns;
    uint64_t rtt_min_ns;
    uint64_t cwnd_bytes;           /* UINT64_MAX: no limit */
    uint64_t pacing_bytes_per_s;   /* 0: unpaced */
    uint64_t delivery_bytes_per_s; /* the newest sample */
    uint32_t share_per_mille;      /* of what one flow would have: the lane's part */
    bool rate_reduced;             /* the circuit breaker of a fixed rate is open */
    const char *congestion;        /* the controller's name, static; NULL: no session */
    const char *congestion_state;  /* what it is doing, static */
    uint64_t path_mtu_bytes;       /* as last found; while it is looked for packets are smaller */
    uint64_t credit_bytes_left;    /* that we may still send */
    uint64_t credit_bytes_given;   /* to the peer, whether it uses it or not */
    const char *ecn;               /* what is known of it on this path; static */
    bool ecn_over;                 /* marking ended by itself */
    const char *fec;               /* what the rule says: on, or why not; static */
    uint64_t loss_ppb;             /* of about the last second, as the rule sees it; 0 with FEC off */
};

/* A packet to seal: pieces in order make the inner packet. Pieces live until the next hg_lane_build or
 * _receive. */
#define HG_LANE_PIECES_MAX 32
struct hg_lane_packet {
    struct iovec pieces[HG_LANE_PIECES_MAX];
    uint32_t piece_count;
    uint32_t bytes;
    uint8_t ecn; /* enum hg_ecn_codepoint: for its outer header */
};

/* Memory for a lane of this configuration, 64-byte aligned; the caller gives it to init. */
uint64_t hg_lane_bytes(const struct hg_lane_config *config);
struct hg_lane *hg_lane_init(void *memory, const struct hg_lane_config *config, uint64_t now_ns);

/* A plaintext inner packet that authenticated under this lane's SA and passed its replay window. `ecn`: the
 * codepoint that its outer header arrived with. */
void hg_lane_receive(struct hg_lane *lane, const uint8_t *inner, uint32_t bytes, uint64_t packet_number,
                     enum hg_ecn_codepoint ecn, uint64_t now_ns);

/* Builds the next packet under `packet_number` (strictly rising over calls that return > 0). Returns its
 * inner bytes, or 0: nothing to send, paced, out of credit, or waiting for a read. */
uint32_t hg_lane_build(struct hg_lane *lane, uint64_t packet_number, uint64_t now_ns,
                       struct hg_lane_packet *packet);

/* A packet of this number with nothing in it: it shows the other side that its key is in use here. Nobody
 * waits for its arrival. Returns its inner bytes, or 0: there is no room for its number now. */
uint32_t hg_lane_build_empty(struct hg_lane *lane, uint64_t packet_number, uint64_t now_ns,
                             struct hg_lane_packet *packet);

/* As hg_lane_build, but of control frames alone: 0 when none waits. They are sent past window and rate and
 * before the lane's own data in any case; the owner of several lanes calls this for all of them before it
 * builds any data, so that no lane's bulk is before another's control. */
uint32_t hg_lane_build_control(struct hg_lane *lane, uint64_t packet_number, uint64_t now_ns,
                               struct hg_lane_packet *packet);
/* True when a control frame could be sent now. */
bool hg_lane_control_waits(const struct hg_lane *lane);

/* Next time hg_lane_build may have something without any event in between. */
uint64_t hg_lane_deadline_ns(const struct hg_lane *lane);

/* Queues a control frame for reliable delivery; it is copied. One of the same type and alias that is still
 * waiting or in flight is replaced (the newest wins). Returns 0, -ENOSPC when the table is full, -EINVAL for
 * its size. */
int hg_lane_control_send(struct hg_lane *lane, const struct hg_wire_control *frame);

/* Receiving side: data of `alias` is taken from lsn_next on (the exclusive end of what the log has). Open
 * already: goes on from lsn_next, keeping what of it is there. Returns 0, or -ENOSPC when HG_WIRE_ALIASES_MAX
 * are open. Safe to call from the ops, as is every function here but receive, build and offer. */
int hg_lane_alias_open(struct hg_lane *lane, uint32_t alias, uint64_t lsn_next);
void hg_lane_alias_close(struct hg_lane *lane, uint32_t alias);

/* Sending side: stops sending the batches of `alias` that batch_next gave: their bytes are asked for no more
 * and batch_acked isn't called for them. Send a STREAM_CLOSE too, so that the other side frees what it has of
 * them. */
void hg_lane_alias_forget(struct hg_lane *lane, uint32_t alias);

/* For batch_next: whether a batch of these bytes fits into the credit and leaves the reserve. When not, the
 * lane asks for more credit from time to time, and batch_next is called again. */
bool hg_lane_credit_has(struct hg_lane *lane, uint32_t bytes, uint64_t reserve_bytes);

/* For control_received: the frame applied to nothing and was dropped. */
void hg_lane_control_refused(struct hg_lane *lane);

/* Offers batches again that batch_received had answered with -EAGAIN. */
void hg_lane_offer(struct hg_lane *lane);

/* Another rate or controller (enum hg_cc_kind), which begins anew; the same ones change nothing. */
void hg_lane_rate_set(struct hg_lane *lane, uint8_t congestion, uint64_t rate_bytes_per_s);
/* Another enum hg_fec_mode; the same one changes nothing. */
void hg_lane_fec_set(struct hg_lane *lane, uint8_t fec);
/* Marks packets from the next one on, or none; the same changes nothing, so what failed stays off. */
void hg_lane_ecn_set(struct hg_lane *lane, bool ecn);
/* For dataplane/transport/cc_share.h: the lane as it is, but for whether it sent data of late, which the
 * owner fills in. */
void hg_lane_share_view(const struct hg_lane *lane, uint64_t now_ns, struct hg_cc_share_view *view);
/* What the other lanes to the peer mean for the lane; its own pointers are filled in. */
void hg_lane_share_tell(struct hg_lane *lane, const struct hg_cc_told *told);
/* What of a `fixed` rate is this lane's now, others to the same peer having the rest. Nothing for the other
 * controllers: see above. */
void hg_lane_share_set(struct hg_lane *lane, uint64_t rate_bytes_per_s);
/* How long nearly all that the owner takes needs of late until it is durable: the credit given covers it. */
void hg_lane_durable_set(struct hg_lane *lane, uint64_t durable_ns);
const struct hg_lane_stats *hg_lane_stats(struct hg_lane *lane);
/* Time of the last packet received. */
uint64_t hg_lane_heard_ns(const struct hg_lane *lane);
/* The largest packet number received; 0 = none. */
uint64_t hg_lane_number_received(const struct hg_lane *lane);
/* How long packets that are under way may still come: three probe timeouts. */
uint64_t hg_lane_linger_ns(const struct hg_lane *lane);
/* Makes the next build send an ack-eliciting PING when nothing else is due: keeps liveness known. */
void hg_lane_ping(struct hg_lane *lane);

#endif
