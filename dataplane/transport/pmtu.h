/* SPDX-License-Identifier: Apache-2.0
 *
 * How large a packet the path carries: RFC 8899 (DPLPMTUD) for one lane, driven by what happens to its
 * packets. All sizes are of IP packets.
 *
 * It starts at the link's configured MTU, which on a leased line is right, and not at the base size: a path
 * that carries less shows itself as a black hole, large packets lost while none as large arrives. Then data
 * goes out at the base size at once, a probe of the old size is sent, and when probes of it are lost too the
 * path's size is looked for by halving a table of the sizes that links have. A probe carries no data and its
 * loss means nothing to congestion control. Larger sizes are tried again, soon at first: heavy loss can look
 * like a black hole.
 */
#ifndef HG_TRANSPORT_PMTU_H
#define HG_TRANSPORT_PMTU_H

#include "drivers/platform/platform.h"

#define HG_PMTU_BASE_BYTES   1200u               /* BASE_PLPMTU, RFC 8899 5.1.2 */
#define HG_PMTU_PROBES_MAX   3u                  /* MAX_PROBES, RFC 8899 5.1.2 */
#define HG_PMTU_RAISE_NS_MIN (10 * HG_NS_PER_S)  /* doubles with every search in vain, up to: */
#define HG_PMTU_RAISE_NS_MAX (600 * HG_NS_PER_S) /* PMTU_RAISE_TIMER, RFC 8899 5.1.1 */
#define HG_PMTU_LARGE_LOST   3u                  /* larger than the base, lost in a row: a suspect path */
#define HG_PMTU_TIMEOUTS     2u                  /* probe timeouts in a row that do */
#define HG_PMTU_FULL_LESS_BYTES                                                                              \
    512u /* a packet that is full may be smaller by this: fragments have units                               \
          */

enum hg_pmtu_state {
    HG_PMTU_SETTLED,   /* bytes is what the path carries, as far as is known */
    HG_PMTU_VERIFYING, /* suspect: does the path still carry it? */
    HG_PMTU_SEARCHING, /* for the largest size that passes */
};

struct hg_pmtu {
    uint32_t bytes_max;  /* of the link: never more */
    uint32_t bytes_base; /* believed to pass always */
    uint32_t bytes;      /* known to pass, or believed until shown otherwise */
    uint32_t bytes_bad;  /* while searching: the smallest that did not pass */
    enum hg_pmtu_state state;
    uint32_t probe_bytes;  /* of the probe that is due or in flight; 0: none */
    uint64_t probe_number; /* of the probe in flight; 0: it isn't sent yet */
    uint32_t probe_losses; /* of this size, in a row */
    /* Packets larger than the base size. They need not be full: short batches make packets of any size, and a
     * path may swallow those alone that are in between. */
    uint32_t large_losses;  /* since one that clears the path of them arrived */
    uint32_t large_bytes;   /* the smallest of them */
    uint64_t large_arrived; /* largest packet number that cleared the path */
    uint64_t raise_wait_ns;
    uint64_t raise_ns; /* when to look for a larger size; HG_TIME_NEVER: it is the largest */
};

/* `bytes_max` is the link's MTU; `bytes_known` what an earlier lane found, 0: nothing. */
void hg_pmtu_init(struct hg_pmtu *pmtu, uint32_t bytes_max, uint32_t bytes_known, uint64_t now_ns);

/* The largest IP packet for data now. */
static inline uint32_t hg_pmtu_bytes(const struct hg_pmtu *pmtu)
{
    return pmtu->state == HG_PMTU_SETTLED ? pmtu->bytes : hg_min_u64(pmtu->bytes, pmtu->bytes_base);
}

/* Size of the probe to send now; 0: none is due. */
uint32_t hg_pmtu_probe_due(struct hg_pmtu *pmtu, uint64_t now_ns);
/* It was sent as packet `number`. */
void hg_pmtu_probe_sent(struct hg_pmtu *pmtu, uint64_t number);
/* When hg_pmtu_probe_due may change its mind without any event; HG_TIME_NEVER: not. */
uint64_t hg_pmtu_deadline_ns(const struct hg_pmtu *pmtu);

/* A packet of that size arrived, or was declared lost. Returns true when it was the probe: then its loss is
 * not a sign of congestion. */
bool hg_pmtu_arrived(struct hg_pmtu *pmtu, uint64_t number, uint32_t bytes, uint64_t now_ns);
bool hg_pmtu_lost(struct hg_pmtu *pmtu, uint64_t number, uint32_t bytes, uint64_t now_ns);
/* Nothing at all was acknowledged for `timeouts` probe timeouts in a row; the oldest packet in flight has
 * `bytes`. A lane that sends full packets only hears nothing of a black hole but this. */
void hg_pmtu_timeout(struct hg_pmtu *pmtu, uint32_t timeouts, uint32_t bytes);

#endif
