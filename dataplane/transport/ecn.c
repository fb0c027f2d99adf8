/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/ecn.h"

#define SHRUNK_FROM (UINT32_C(1) << 31)

const char *hg_ecn_state_text(enum hg_ecn_state state)
{
    static const char *const texts[] = {
#define HG_X(name, text) text,
        HG_ECN_STATES(HG_X)
#undef HG_X
    };
    return (unsigned)state < HG_COUNT(texts) ? texts[state] : "unknown";
}

void hg_ecn_set(struct hg_ecn *ecn, bool on, uint64_t number_last)
{
    ecn->stray_count += ecn->sent_count - hg_min_u64(ecn->acked_count, ecn->sent_count);
    ecn->sent_count = 0;
    ecn->acked_count = 0;
    ecn->ce_count = 0;
    ecn->ect_count = 0;
    ecn->number_from = number_last;
    ecn->round_end = number_last;
    ecn->rounds = 0;
    ecn->suspect = false;
    ecn->trials = 0;
    ecn->marked_count = 0;
    ecn->state = on ? HG_ECN_TESTING : HG_ECN_OFF;
}

static bool ecn_marks(const struct hg_ecn *ecn)
{
    return ecn->state == HG_ECN_TESTING || ecn->state == HG_ECN_ON;
}

enum hg_ecn_codepoint hg_ecn_mark(const struct hg_ecn *ecn)
{
    return ecn_marks(ecn) && !ecn->suspect ? HG_ECN_ECT0 : HG_ECN_NOT_ECT;
}

void hg_ecn_sent(struct hg_ecn *ecn)
{
    ecn->sent_count++;
}

void hg_ecn_acked(struct hg_ecn *ecn, uint64_t number, bool marked)
{
    if (number <= ecn->number_from || !ecn_marks(ecn)) {
        return;
    }
    if (marked) {
        ecn->acked_count++;
        ecn->suspect = false;
        ecn->trials = 0;
    } else if (ecn->suspect && number > ecn->number_suspect) {
        ecn->suspect = false;
        if (++ecn->trials >= HG_ECN_TRIALS_MAX) {
            ecn->state = HG_ECN_BLACK_HOLE;
        }
    }
}

/* What the newest counts say of the path and the peer. */
static enum hg_ecn_state ecn_verdict(const struct hg_ecn *ecn, bool shrunk)
{
    uint64_t sum = ecn->ce_count + ecn->ect_count;
    if (shrunk) {
        return HG_ECN_SHRUNK;
    }
    if (sum > ecn->sent_count + ecn->stray_count) {
        return HG_ECN_INVENTED;
    }
    if (sum < ecn->acked_count) {
        return HG_ECN_BLEACHED;
    }
    if (ecn->ect_count == 0 && ecn->ce_count >= HG_ECN_ALL_CE_PACKETS &&
        ecn->rounds >= HG_ECN_ALL_CE_ROUNDS) {
        return HG_ECN_ALL_CE;
    }
    return ecn->acked_count > 0 ? HG_ECN_ON : HG_ECN_TESTING;
}

void hg_ecn_counts(struct hg_ecn *ecn, const struct hg_ecn_told *told)
{
    if (told->packet_number <= ecn->number_told) {
        return;
    }
    uint32_t ce = told->ce - ecn->ce_told;
    uint32_t ect = told->ect - ecn->ect_told;
    ecn->number_told = told->packet_number;
    ecn->ce_told = told->ce;
    ecn->ect_told = told->ect;
    if (!ecn_marks(ecn)) {
        return;
    }
    ecn->ce_count += ce;
    ecn->ect_count += ect;
    if (told->largest >= ecn->round_end) {
        ecn->round_end = told->number_last + 1;
        ecn->rounds++;
    }
    ecn->state = (uint8_t)ecn_verdict(ecn, ce >= SHRUNK_FROM || ect >= SHRUNK_FROM);
    ecn->marked_count = hg_ecn_failed(ecn) ? 0 : ecn->marked_count + ce;
}

void hg_ecn_timeout(struct hg_ecn *ecn, uint32_t probe_count, uint64_t number_last)
{
    if (probe_count >= HG_ECN_PROBES && ecn_marks(ecn) && !ecn->suspect) {
        ecn->suspect = true;
        ecn->number_suspect = number_last;
    }
}

void hg_ecn_seen(struct hg_ecn_seen *seen, enum hg_ecn_codepoint codepoint)
{
    seen->ce += codepoint == HG_ECN_CE;
    seen->ect += codepoint == HG_ECN_ECT0;
}
