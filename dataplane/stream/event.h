/* SPDX-License-Identifier: Apache-2.0
 *
 * What the dataplane tells the operator: one row an event, so that none is unnamed. Cores record {type,
 * subject, two numbers}; text is made off the hot path by hg_event_format.
 */
#ifndef HG_STREAM_EVENT_H
#define HG_STREAM_EVENT_H

#include "dataplane/wal/format.h"

/* severity: enum hg_control_severity without its prefix. In the text $s is the subject, $a $b are decimal, $A
 * $B are LSNs in PostgreSQL's form, $M $N are MACs (a and b, first byte lowest), $W is a in
 * words, as a status of the wire. With a name as long as they get, the longest is not cut (test `event`). */
#define HG_EVENTS(X)                                                                                         \
    X(log_ready, INFO, "log $s is recovered: $a writes kept, $b of a torn tail discarded")                   \
    X(log_failed, CRITICAL, "log $s failed; the dataplane stops, the next event says why")                   \
    X(log_pressure, WARNING,                                                                                 \
      "log $s pushes producers back: $a segments free; a peer or a consumer holds the rest")                 \
    X(log_pressure_over, INFO, "log $s takes appends again: $a segments free")                               \
    X(disk_stuck, ERROR,                                                                                     \
      "log $s: its device has not answered a write or a flush for $a ms: nothing more becomes durable, and " \
      "nothing is acknowledged, until it does")                                                              \
    X(disk_stuck_over, WARNING, "log $s: its device answers again, after $a ms: look at it")                 \
    X(log_held, WARNING,                                                                                     \
      "$s holds $a % of what producers may fill; at the present rate they are pushed back within $b s (0: "  \
      "it "                                                                                                  \
      "does not grow): see 'show retention'")                                                                \
    X(log_held_over, INFO, "no alarm for the log any more ($s holds most): $a % of it are held")             \
    X(log_refuses_peers, WARNING,                                                                            \
      "$s holds the log, $a segments are free: batches of peers are refused, and stay at their origins "     \
      "until it moves: see 'show retention'")                                                                \
    X(log_takes_peers, INFO, "batches of peers find room again ($s holds most of the log)")                  \
    X(holder_let_go, ERROR,                                                                                  \
      "$s is $a MB behind, more than its drop-behind allows: the log may forget what it lacks beyond that; " \
      "if it comes too late, its streams have a gap by name")                                                \
    X(holder_back, INFO, "$s is within its drop-behind again, $a MB behind: the log keeps what it lacks")    \
    X(peer_up, INFO, "peer $s is up under key generation $a")                                                \
    X(peer_down, WARNING, "peer $s has been silent for $a ms; its WAL is kept here until it returns")        \
    X(path_narrow, WARNING,                                                                                  \
      "the path to peer $s carries packets of $a bytes, not of the $b that its port allows")                 \
    X(path_wide, INFO, "the path to peer $s carries packets of $a bytes again")                              \
    X(path_overrun, WARNING,                                                                                 \
      "the path to peer $s does not carry its fixed rate, it loses a tenth or queues: $a of $b bytes/s are " \
      "sent; give it a lower rate, or congestion bbr")                                                       \
    X(path_overrun_over, INFO, "peer $s is sent to at its fixed rate again, $a bytes/s")                     \
    X(path_ecn_over, WARNING,                                                                                \
      "the path to peer $s clears, sets or drops marks of ECN ('show lanes'): after $a packets none is "     \
      "marked; once mended: 'set peer ... ecn off', then 'on'")                                              \
    X(neighbour_unreachable, WARNING,                                                                        \
      "nobody on the port's link answers for $s: is it on, is the cable in, are address, prefix and VLAN "   \
      "right? It is asked on")                                                                               \
    X(neighbour_found, INFO, "$s is on the port's link again, at $M")                                        \
    X(neighbour_changed, WARNING, "$s is at $M now, it was at $N: another device, or somebody who lies")     \
    X(address_duplicate, ERROR,                                                                              \
      "another station, $M, has our address $s too: give one of the two another one")                        \
    X(peer_keys, INFO, "peer $s agreed on new keys, generation $a")                                          \
    X(peer_removed, WARNING, "peer $s is not configured any more: its session is ended, its keys are wiped") \
    X(peer_key_changed, INFO,                                                                                \
      "the shared key of peer $s is another one: both sides agree under it; the present session lasts $a s " \
      "more at most, so give the other side the same key")                                                   \
    X(peer_key_over, WARNING,                                                                                \
      "the session of peer $s under its former shared key is ended: the other side has not yet the same "    \
      "key")                                                                                                 \
    X(peer_cloned, CRITICAL,                                                                                 \
      "two living processes are peer $s: a copied run directory or image? Neither counts for anything; "     \
      "stop "                                                                                                \
      "one for good, then restart the other")                                                                \
    X(peer_key_used_up, CRITICAL,                                                                            \
      "the keys of peer $s, generation $a, are at a hard limit and new ones are not agreed on: nothing is "  \
      "sent; is the path open both ways to UDP port 47000?")                                                 \
    X(lane_refused, ERROR,                                                                                   \
      "peer $s gets no lane: it takes $a MB of receive memory and $b MB are left for all peers; give "       \
      "it or others less `credit`")                                                                          \
    X(stream_new, INFO, "stream $s is configured, id $a")                                                    \
    X(stream_gone, WARNING,                                                                                  \
      "stream $s, id $a, is not configured any more: it is not sent or taken, and the log may forget it")    \
    X(stream_left, ERROR,                                                                                    \
      "stream $s, id $a, moved to another log of this node, and no log that is here has it: bring that log " \
      "back; it is not begun anew")                                                                          \
    X(group_sealed, WARNING,                                                                                 \
      "group $s is sealed: epoch $a is promised, and nothing of an older one is taken any more")             \
    X(grant_lapsed, ERROR,                                                                                   \
      "the write grant of group $s, epoch $a, is over: appends are refused, nothing is acknowledged; does "  \
      "the control plane run, and reach its metastore?")                                                     \
    X(grant_back, INFO, "group $s, epoch $a, has its write grant again: its producers may write")            \
    X(group_begun, INFO,                                                                                     \
      "group $s began epoch $a here: members are brought to where it began; producers wait")                 \
    X(group_open, INFO, "group $s is open under epoch $a: its producers may write")                          \
    X(stream_moved, INFO, "stream $s moved to the log of worker $a: its clients attach again there")         \
    X(stream_refused_config, ERROR, "stream $s contradicts what the log has of it; id $a stays as it was")   \
    X(stream_streaming, INFO, "stream $s resumes at $A on a peer")                                           \
    X(stream_refused, ERROR, "stream $s is refused by a peer: $W")                                           \
    X(stream_diverged, CRITICAL,                                                                             \
      "stream $s has other bytes on a peer at $A than here at $B: nothing is sent there until an operator "  \
      "decides")                                                                                             \
    X(stream_gap, CRITICAL, "stream $s: a peer needs $A but the log begins at $B: it needs a snapshot")      \
    X(stream_lost, CRITICAL,                                                                                 \
      "stream $s lost [$A, $B) with a write whose loss was accepted: it begins anew at $B, and who needs "   \
      "what is before is told a gap")                                                                        \
    X(consumer_lost, CRITICAL,                                                                               \
      "consumer $s stands at $A, before a loss that was accepted; its stream goes on at $B: it holds the "   \
      "log until it is removed or reads on there")                                                           \
    X(stream_behind, ERROR,                                                                                  \
      "stream $s ends at $A here, its origin's log begins at $B: take what is between from a backup, and "   \
      "begin it anew there ('helioctl stream adopt')")                                                       \
    X(stream_anew, WARNING,                                                                                  \
      "stream $s ended at $A and begins anew at $B: who reads it from before that has a gap")                \
    X(stream_quorum_lost, ERROR,                                                                             \
      "stream $s waits for its region's quorum: committed $A, durable here $B; nothing behind is "           \
      "acknowledged or leaves the region: see 'show streams'")                                               \
    X(stream_quorum_back, INFO, "stream $s has its region's quorum again: committed at $A")                  \
    X(group_unnamed, ERROR,                                                                                  \
      "this log has nothing of group $s, and the metastore can't be read or has other logs count: no "       \
      "producer is taken; see 'group fail-over'")                                                            \
    X(stream_tail_unknown, ERROR,                                                                            \
      "stream $s: the log's last write was torn, it may have been acknowledged: nothing is appended at $A "  \
      "until enough members say they have no more: 'show peers'")                                            \
    X(stream_tail_known, INFO,                                                                               \
      "stream $s: the log's last write was torn, and no member has any of it: goes on at $A")                \
    X(stream_tail_lost, CRITICAL,                                                                            \
      "stream $s: a member has it to $A, this log lost what is behind $B: nothing is written here until "    \
      "another epoch begins: see 'group fail-over'")                                                         \
    X(stream_not_here, WARNING, "a peer offers stream $s, id $a, which is not configured here")              \
    X(stream_system, ERROR,                                                                                  \
      "stream $s belongs to another PostgreSQL cluster (system identifier $a, offered $b)")                  \
    X(stream_incarnation, ERROR,                                                                             \
      "stream $s is at timeline $a, offered $b: a timeline switch keeps what is here")                       \
    X(stream_closed, WARNING, "the origin of stream $s sends no more of it here: $W")                        \
    X(stream_cut, WARNING,                                                                                   \
      "stream $s is cut at $A, as the writer of a newer epoch goes on there; what was behind, to $B, was "   \
      "never committed: see 'helioctl orphan list'")                                                         \
    X(orphan_failed, ERROR,                                                                                  \
      "stream $s is to be cut at $B, but its orphan file can't be written, error $a: nothing is cut and "    \
      "nothing taken until it can be")                                                                       \
    X(stream_not_cut, CRITICAL,                                                                              \
      "stream $s ends at $A, its writer's history has only what is below $B of that: it can't be cut there " \
      "and takes nothing; compare the copies first")                                                         \
    X(stream_refused_batch, ERROR,                                                                           \
      "a batch of stream $s at $A fails its checks (reason $b) and is not appended")                         \
    X(consumer_new, INFO, "consumer $s is registered at $A: the log keeps what it has not passed")           \
    X(consumer_removed, INFO, "consumer $s is removed")                                                      \
    X(read_corrupt, CRITICAL,                                                                                \
      "write $a of the log fails its checks on reading; it is not sent and not delivered")                   \
    X(scrub_corrupt, CRITICAL,                                                                               \
      "log $s: write $a of a sealed segment is not as it was written; scrub found it before a reader did: "  \
      "see helio-log verify")                                                                                \
    X(log_marked, CRITICAL,                                                                                  \
      "log $s: write $a was durable and is corrupt; it is marked, not served, and peers are asked for what " \
      "it had ($b in all)")                                                                                  \
    X(repaired, WARNING,                                                                                     \
      "the log of worker $s: write $a is as it was written again, in a new place, with what peers and the "  \
      "header had of it; $b are left: look at the device")                                                   \
    X(not_repaired, CRITICAL,                                                                                \
      "the log of worker $s: write $a is corrupt and could not be repaired, 'show log' says why (reason "    \
      "$b); it is tried again, and until then not served")                                                   \
    X(client_poisoned, ERROR, "client $s broke the rules of its ring and is disconnected")                   \
    X(client_stamp, WARNING, "client $s sent a time stamp too far ahead: the append is refused")

enum hg_event_type {
#define HG_X(name, severity, text) HG_EVENT_##name,
    HG_EVENTS(HG_X)
#undef HG_X
        HG_EVENT_COUNT
};

#define HG_EVENT_SUBJECT_BYTES 48 /* a name or an address */
struct hg_event {
    uint32_t type;       /* enum hg_event_type */
    uint32_t suppressed; /* of its kind, since the one before: said too often */
    uint64_t a;
    uint64_t b;
    char subject[HG_EVENT_SUBJECT_BYTES];
};

/* Where cores put events; bounded, never blocks (a full sink counts what it drops). */
struct hg_event_sink {
    void (*put)(struct hg_event_sink *sink, const struct hg_event *event);
};

/* How often one kind of event may be said, so that nobody, with or without valid keys, pushes the others out
 * of the ring of events: a burst, then one each HG_EVENT_GAP_NS. What is too many is counted. */
#define HG_EVENT_BURST  32u
#define HG_EVENT_GAP_NS (5 * HG_NS_PER_S)
struct hg_event_limit {
    uint64_t bucket_ns;  /* when the next one is due in the long run */
    uint32_t suppressed; /* since one was last said */
};
/* Whether one may be said now. */
static inline bool hg_event_limit_allows(const struct hg_event_limit *limit, uint64_t now_ns)
{
    return limit->bucket_ns <= now_ns + (HG_EVENT_BURST - 1) * HG_EVENT_GAP_NS;
}
/* True: say it, with *suppressed before it. False: it is counted. */
bool hg_event_limit_take(struct hg_event_limit *limit, uint64_t now_ns, uint32_t *suppressed);

/* Records an event; `subject` is cut to its field. */
void hg_event_put(struct hg_event_sink *sink, enum hg_event_type type, const char *subject, uint64_t a,
                  uint64_t b);

const char *hg_event_name(uint32_t type);  /* "peer_up"; "unknown" beyond the table */
uint32_t hg_event_severity(uint32_t type); /* enum hg_control_severity */
/* The sentence. Always terminated. */
void hg_event_format(const struct hg_event *event, char *text, size_t text_bytes);

#endif
