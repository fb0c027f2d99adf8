/* SPDX-License-Identifier: Apache-2.0
 *
 * The three-message pre-shared-key exchange of one peer (architecture 8): HELLO, REPLY, CONFIRM over a clear
 * UDP channel; every message carries HMAC-SHA256 over the transcript so far. Keys and salts are
 * HKDF-SHA256(pre-shared key, both nonces, both boot ids, direction, lane), so no key is ever used by two
 * boots. The receiver of a lane allocates its SPI. Pure state machine; runs on the housekeeping thread (in
 * the simulator, on the node).
 *
 * The initiator is established by a valid REPLY, the responder by a valid CONFIRM, which proves by the echo
 * of its nonce that the HELLO was no replay; until then neither an SA nor an exchange of its own is given up.
 * Both sides may begin at once: the lower node id ignores a HELLO while its own is unanswered, the higher one
 * answers. Of two exchanges that complete all the same, both sides end with the one of the higher generation,
 * and no two have the same. docs/wire-security.md has the state table.
 *
 * An exchange that was challenged and answered proves which life of the peer, which boot id, is there now. A
 * life that answers after another one did, though it had answered before it, lived all the while: two
 * processes have one identity, a copied run directory or a restored image. (A process that was restarted
 * never comes back, and replays, late or reordered messages answer no challenge made since.) Then exchanges
 * yield no keys, and whoever uses those there are is told to drop them, until a life that began after the
 * last of the two was heard has been alone for HG_HANDSHAKE_ALONE_NS. Neither of the two counts again.
 */
#ifndef HG_SECURITY_HANDSHAKE_H
#define HG_SECURITY_HANDSHAKE_H

#include "dataplane/security/esp.h"
#include "dataplane/security/handshake_wire.h"

#define HG_HANDSHAKE_BYTES_MAX        256
#define HG_HANDSHAKE_PSK_BYTES        32
#define HG_HANDSHAKE_RETRY_NS         (250 * HG_NS_PER_MS) /* doubling to */
#define HG_HANDSHAKE_RETRY_NS_MAX     (2 * HG_NS_PER_S)
#define HG_HANDSHAKE_HELLO_GAP_NS     (100 * HG_NS_PER_MS) /* at most one HELLO prompted by an unknown SPI */
#define HG_HANDSHAKE_HELLO_GAP_NS_MAX (5 * HG_NS_PER_S) /* the gap doubles up to this while prompts go on */
#define HG_HANDSHAKE_PENDING_NS       (5 * HG_NS_PER_S) /* a REPLY waits this long for its CONFIRM */
#define HG_HANDSHAKE_YIELD_NS         (1 * HG_NS_PER_S) /* our own HELLO waits for an exchange we answered */
#define HG_HANDSHAKE_OVERTAKE_NS      (500 * HG_NS_PER_MS) /* data may come this long before its CONFIRM */
#define HG_HANDSHAKE_SETTLE_NS        (2 * HG_NS_PER_S)    /* a new pair has this long to come into use */
#define HG_HANDSHAKE_CONFIRM_REPEATS  4                    /* unasked, 250 ms apart and doubling */
#define HG_HANDSHAKE_ANSWER_GAP_NS    (50 * HG_NS_PER_MS)  /* between answers to a peer, after a burst of */
#define HG_HANDSHAKE_ANSWER_BURST     8
#define HG_HANDSHAKE_LIVES_MAX        16u /* of a peer that are remembered, to know one again */
#define HG_HANDSHAKE_ALONE_NS         (60 * HG_NS_PER_S) /* with no other life heard, after two were */
#define HG_HANDSHAKE_ROLL_CALL_NS     (5 * HG_NS_PER_S)  /* meanwhile we ask so often who is there */
#define HG_HANDSHAKE_ROLL_CALL_NS_MAX                                                                        \
    (20 * HG_NS_PER_S) /* unanswered for longer, being alone begins anew                                     \
                        */
#define HG_HANDSHAKE_GENERATION_MAX (UINT32_C(1) << 31)
#define HG_HANDSHAKE_SPI_LANES      4096u /* an exchange names the first of so many SPIs: one a lane */

#define HG_HANDSHAKE_COUNTERS(X)                                                                             \
    X(hellos_sent, "handshakes begun")                                                                       \
    X(established, "handshakes completed")                                                                   \
    X(repeats_sent, "handshake messages sent again")                                                         \
    X(repeats_received, "handshake messages that came again")                                                \
    X(expired, "handshakes we answered that the peer did not confirm")                                       \
    X(drop_malformed, "handshake messages that do not parse")                                                \
    X(drop_cluster, "handshake messages of another cluster")                                                 \
    X(drop_node, "handshake messages of another node than this address should be")                           \
    X(drop_mac,                                                                                              \
      "handshake messages whose MAC does not match: is the pre-shared key the same on both sides?")          \
    X(drop_stale, "handshake messages of an exchange that is over")                                          \
    X(drop_collision, "handshakes the peer began while ours is under way")                                   \
    X(drop_rate, "handshake messages beyond the rate limit")                                                 \
    X(drop_cloned, "handshakes completed in vain: two processes live under the peer's identity")             \
    X(drop_crypto, "handshake messages the crypto library could not process")
struct hg_handshake_counters {
#define HG_X(name, text) uint64_t name;
    HG_HANDSHAKE_COUNTERS(HG_X)
#undef HG_X
};

struct hg_handshake_config {
    uint64_t cluster;
    uint64_t node_local; /* ids from the command file; unequal */
    uint64_t node_remote;
    uint64_t boot_local;   /* random, new at every start of the process */
    uint8_t workers_local; /* 1..HG_WIRE_WORKERS_MAX */
    uint8_t
        spi_top; /* upper 8 bits of every SPI we choose, so that peers' never collide; 0: from all 32 bits */
    uint8_t psk[HG_HANDSHAKE_PSK_BYTES];
};

/* Why a worker asks for new keys. */
enum hg_rekey {
    HG_REKEY_SILENT,    /* nothing comes from the peer */
    HG_REKEY_USED,      /* the keys are nearly used up, or old */
    HG_REKEY_NEW_LANES, /* what the lanes hold can't go on: new ones, please */
};

/* What an exchange yields for one lane: its SA pair. Those of all lanes have one generation. */
struct hg_handshake_keys {
    uint64_t boot_remote;
    uint32_t generation; /* of the SA pair: the same on both sides, > 0, rising */
    /* Of the keys with which the lanes began that go on under these; `generation`: they begin anew. */
    uint32_t lane_generation;
    uint8_t workers_remote;
    uint8_t worker_local; /* the lane is between these two */
    uint8_t worker_remote;
    uint8_t reserved;
    uint32_t spi_tx; /* chosen by the remote side */
    uint32_t spi_rx; /* chosen by us */
    uint8_t key_tx[HG_ESP_KEY_BYTES];
    uint8_t key_rx[HG_ESP_KEY_BYTES];
    uint8_t salt_tx[HG_ESP_SALT_BYTES];
    uint8_t salt_rx[HG_ESP_SALT_BYTES];
};

/* The members below are private to handshake.c, but for `counters`. */
struct hg_handshake {
    struct hg_handshake_config config;
    struct hg_handshake_counters counters;
    uint8_t mac_key[HG_MAC_BYTES];
    uint32_t spi_next;        /* 0: none chosen yet */
    uint32_t generation;      /* of the SA pair in use; 0: none */
    uint32_t lane_generation; /* of the keys with which the lanes in use began; 0: we have none */

    bool hello_pending; /* we are the initiator and wait for REPLY */
    bool hello_yielded; /* since it was last sent */
    uint64_t hello_due_ns;
    uint64_t hello_last_ns;
    uint64_t retry_ns;
    uint64_t restart_last_ns;
    uint64_t restart_gap_ns;
    struct hg_handshake_message hello;

    bool answer_pending; /* we are the responder and wait for CONFIRM */
    uint64_t answer_begun_ns;
    uint64_t answer_deadline_ns;
    struct hg_handshake_message answer_hello;
    struct hg_handshake_message answer_reply;
    bool answer_overtaken; /* another exchange was finished since it was made */

    uint64_t
        lives[HG_HANDSHAKE_LIVES_MAX]; /* boot ids of the peer's that answered a challenge, newest first */
    uint32_t life_count;
    bool life_is_back; /* lives[0] was there before another one: it is one of two, for as long as it lives */
    bool cloned;       /* two were found, and no later one was alone long enough */
    uint64_t alone_since_ns; /* lives[0] is */
    uint64_t proved_ns;      /* when it last was */

    bool done_initiator; /* the SA pair in use began with our HELLO: done_reply and done_confirm are of it */
    bool done_responder; /* or with theirs: done_reply is ours */
    uint32_t confirm_repeats_left;
    uint64_t confirm_due_ns;
    uint64_t confirm_retry_ns;
    uint64_t established_ns;
    struct hg_handshake_message done_hello;
    struct hg_handshake_message done_reply;
    struct hg_handshake_message done_confirm;

    uint64_t reply_bucket_ns; /* rate limits: when the next one is due in the long run */
    uint64_t confirm_bucket_ns;
};

/* `random64` gives unpredictable bits (struct hg_clock's); called per exchange only. */
typedef uint64_t (*hg_handshake_random)(void *ctx);

/* The first tick sends HELLO. */
void hg_handshake_init(struct hg_handshake *hs, const struct hg_handshake_config *config, uint64_t now_ns);
void hg_handshake_wipe(struct hg_handshake *hs);

enum hg_handshake_event {
    HG_HANDSHAKE_NOTHING,
    HG_HANDSHAKE_SEND = 1, /* bit: out/out_bytes hold a message to send */
    HG_HANDSHAKE_ESTABLISHED =
        2, /* bit: keys are set; the old SA pair stays until a packet opens under the new */
    /* bit: two processes live under the peer's identity: drop its keys and what it said */
    HG_HANDSHAKE_CLONED = 4,
};

/* Each returns a set of hg_handshake_event bits. `out` has HG_HANDSHAKE_BYTES_MAX bytes. The caller wipes
 * *keys. */
int hg_handshake_receive(struct hg_handshake *hs, const uint8_t *message, uint32_t bytes, uint64_t now_ns,
                         hg_handshake_random random64, void *random_ctx, uint8_t *out, uint32_t *out_bytes,
                         struct hg_handshake_keys *keys);
/* After ESTABLISHED, which gives those of lane (0, 0): the keys of any lane of the same exchange, for as long
 * as no other is finished. worker_remote < keys->workers_remote. False, counted: the crypto library can't.
 * The caller wipes *keys. */
bool hg_handshake_lane_keys(struct hg_handshake *hs, uint8_t worker_local, uint8_t worker_remote,
                            struct hg_handshake_keys *keys);
/* The SPI of a lane, from the one that its receiver named in the exchange. */
uint32_t hg_handshake_spi(uint32_t spi, uint8_t worker_sending, uint8_t worker_receiving);
/* Timers: begins, retries. Gives one message a call: call it while hg_handshake_deadline_ns is not after
 * now_ns. */
int hg_handshake_tick(struct hg_handshake *hs, uint64_t now_ns, hg_handshake_random random64,
                      void *random_ctx, uint8_t *out, uint32_t *out_bytes);
/* The peer seems to have forgotten us: begin anew, ever more rarely. Call it as often as that happens; it
 * only moves the next deadline. */
void hg_handshake_restart(struct hg_handshake *hs, uint64_t now_ns);
/* Our key is nearly used up: the same, but nobody else can cause this, so it does not get rarer. */
void hg_handshake_rekey(struct hg_handshake *hs, uint64_t now_ns);
/* The lanes in use are not to go on: the next exchange begins new ones. */
void hg_handshake_lanes_end(struct hg_handshake *hs);
/* A packet came from this peer's address under an SPI of no SA that the worker holds: restarts, unless a new
 * SA pair is just coming into use. Then it is data of the pair before, or of the new one while its keys are
 * on their way to the worker, and asking again would only begin the same anew. Whoever sends goes on until it
 * is heard, so an ask that is left out here comes again. */
void hg_handshake_spi_unknown(struct hg_handshake *hs, uint64_t now_ns);
uint64_t hg_handshake_deadline_ns(const struct hg_handshake *hs); /* HG_TIME_NEVER: none */
bool hg_handshake_established(const struct hg_handshake *hs);
bool hg_handshake_cloned(const struct hg_handshake *hs);
const char *hg_handshake_state_text(const struct hg_handshake *hs); /* for people: "waiting for ..." */

#endif
