/* SPDX-License-Identifier: Apache-2.0 */
#include "controlplane/failover.h"
#include "controlplane/grant.h"

#include <errno.h>
#include <stdio.h>

const char *hg_failover_step_name(enum hg_failover_step step)
{
    static const char *const names[] = {"idle",  "read", "take",    "seal", "fill", "begin",
                                        "adopt", "open", "release", "done", "lost"};
    static_assert(HG_COUNT(names) == HG_FAILOVER_STEP_COUNT, "every step has a name");
    return step < HG_FAILOVER_STEP_COUNT ? names[step] : "unknown";
}

const char *hg_failover_step_text(enum hg_failover_step step)
{
    static const char *const texts[] = {
#define HG_X(name, text) text,
        HG_FAILOVER_STEPS(HG_X)
#undef HG_X
    };
    return step < HG_FAILOVER_STEP_COUNT ? texts[step] : "unknown";
}

static_assert(HG_CONTROL_LOGS_MAX <= HG_COPIES_LOGS_MAX && HG_TAIL_COPIES_MAX <= HG_COPIES_NODES_MAX,
              "the record has room for each log of each member");

static int32_t member_of(const struct hg_failover_config *config, uint64_t node)
{
    for (uint32_t i = 0; i < config->member_count; i++)
        if (config->members[i] == node)
            return (int32_t)i;
    return -1;
}

static uint32_t own(const struct hg_failover *failover)
{
    return (uint32_t)member_of(&failover->config, failover->config.node);
}

struct quorum {
    uint32_t voters; /* bits of the configuration's members */
    uint32_t n, w;
};

/* Those that have to agree to everything; returns how many. */
static uint32_t quorums_of(const struct hg_failover_config *config, struct quorum quorums[2])
{
    bool is_joint = config->former_n != 0;
    quorums[0] = (struct quorum){is_joint ? config->voters : UINT32_MAX, config->n, config->w};
    quorums[1] = (struct quorum){config->former, config->former_n, config->former_w};
    return is_joint ? 2 : 1;
}

const char *hg_failover_config_check(const struct hg_failover_config *config)
{
    if (config->n < 1 || config->n > HG_TAIL_COPIES_MAX || config->w < 1 || config->w > config->n)
        return "the quorum is out of limits: see 'quorum set'";
    if (config->member_count > config->n)
        return "there are more members than the quorum has: see 'quorum set'";
    if (config->member_count < config->n - config->w + 1)
        return "too few members are known here to seal the group: name the nodes of the region as peers";
    for (uint32_t i = 0; i < config->member_count; i++)
        if (config->members[i] == 0 || member_of(config, config->members[i]) != (int32_t)i)
            return "a member is named twice, or has no node";
    return member_of(config, config->node) < 0 ? "this node is not a member of the quorum" : NULL;
}

static void step_set(struct hg_failover *failover, enum hg_failover_step step, uint64_t now_ns)
{
    if (failover->step == step)
        return;
    failover->step = step;
    failover->step_ns = now_ns;
    failover->due_ns = now_ns;
    failover->say_step = true;
    failover->reason[0] = '\0';
}

void hg_failover_start(struct hg_failover *failover, const struct hg_failover_config *config, uint64_t now_ns)
{
    hg_assert(hg_failover_config_check(config) == NULL);
    memset(failover, 0, sizeof(*failover));
    failover->config = *config;
    step_set(failover, HG_FAILOVER_READ, now_ns);
}

bool hg_failover_is_under_way(const struct hg_failover *failover)
{
    return failover->step > HG_FAILOVER_IDLE && failover->step < HG_FAILOVER_DONE;
}

static bool asks_copies(const struct hg_failover *failover)
{
    return failover->step >= HG_FAILOVER_SEAL && failover->step <= HG_FAILOVER_ADOPT;
}

/* ---- the metastore ---- */

static void copies_clear(struct hg_failover *failover)
{
    memset(failover->members, 0, sizeof(failover->members));
    memset(failover->streams, 0, sizeof(failover->streams));
    failover->stream_count = 0;
    failover->is_full = false;
    failover->blocked[0] = '\0';
}

static void epoch_set(struct hg_failover *failover, uint64_t epoch, uint64_t now_ns)
{
    if (failover->epoch == epoch)
        return;
    failover->epoch = epoch;
    failover->sealed_ns = now_ns;
    copies_clear(failover);
}

static uint64_t epoch_next(const struct hg_failover *failover)
{
    uint64_t newest = hg_max_u64(hg_max_u64(failover->record.epoch, failover->epoch), failover->epoch_over);
    return hg_max_u64(newest, HG_FAILOVER_EPOCH_FIRST) + 1;
}

static_assert(HG_MEMBERS_MAX + 1 <= HG_TAIL_COPIES_MAX, "two sets that differ in one node have room");

static uint32_t voters_add(struct hg_failover_config *config, const struct hg_members_set *set)
{
    uint32_t voters = 0;
    for (uint32_t i = 0; i < set->count; i++) {
        int32_t m = member_of(config, set->nodes[i]);
        if (m < 0) {
            hg_assert(config->member_count < HG_TAIL_COPIES_MAX);
            m = (int32_t)config->member_count;
            config->members[config->member_count++] = set->nodes[i];
        }
        voters |= 1u << m;
    }
    return voters;
}

const char *hg_failover_config_members(struct hg_failover_config *config, const struct hg_members *members)
{
    struct hg_failover_config next = *config;
    if (members->generation == 0)
        return NULL;
    next.n = members->set.count;
    next.w = members->set.w;
    next.member_count = 0;
    next.former = next.former_n = next.former_w = 0;
    memset(next.members, 0, sizeof(next.members));
    next.voters = voters_add(&next, &members->set);
    const char *why = hg_failover_config_check(&next);
    if (why != NULL)
        return why;
    if (members->phase == HG_MEMBERS_JOINT) {
        next.former = voters_add(&next, &members->other);
        next.former_n = members->other.count;
        next.former_w = members->other.w;
    }
    *config = next;
    return NULL;
}

/* False: that can't be driven now. */
static bool members_take(struct hg_failover *failover, const struct hg_members *members)
{
    struct hg_failover_config config = failover->config;
    const char *why = hg_failover_config_members(&config, members);
    if (why != NULL) {
        snprintf(failover->reason, sizeof(failover->reason), "%s: see 'group members %u show'", why,
                 config.key.group);
        return false;
    }
    if (memcmp(&config, &failover->config, sizeof(config)) != 0)
        copies_clear(failover);
    failover->config = config;
    return true;
}

void hg_failover_record(struct hg_failover *failover, int rc, const struct hg_metastore_record *found,
                        uint64_t now_ns)
{
    bool taking = failover->step == HG_FAILOVER_TAKE;
    bool is_other = found->node != failover->config.node && found->state != HG_METASTORE_NONE;
    if (failover->step != HG_FAILOVER_READ && !taking && failover->step != HG_FAILOVER_OPEN)
        return;
    if (rc != 0 && rc != -ESTALE) { /* a write may have happened */
        step_set(failover, HG_FAILOVER_READ, now_ns);
        failover->due_ns = now_ns + HG_FAILOVER_ASK_NS;
        snprintf(failover->reason, sizeof(failover->reason), "the metastore does not answer");
        return;
    }
    if (!members_take(failover, &found->members)) {
        char reason[HG_FAILOVER_TEXT_BYTES];
        memcpy(reason, failover->reason, sizeof(reason));
        step_set(failover, HG_FAILOVER_READ, now_ns);
        memcpy(failover->reason, reason, sizeof(reason));
        failover->due_ns = now_ns + HG_FAILOVER_FILL_NS;
        return;
    }
    /* By `group seal`, or `group seal` and `group open`, here: somebody decides instead of this driver. */
    bool is_order = !is_other && found->epoch > HG_FAILOVER_EPOCH_FIRST && found->failover == 0;
    bool deposed =
        (is_other || is_order) && found->epoch > failover->record.epoch; /* while we were taking ours */
    if (found->state == HG_METASTORE_OPEN)
        failover->writer_before = found->node;
    else if (found->epoch != failover->record.epoch && !(taking && rc == 0)) /* others may have written */
        failover->writer_before = 0;
    failover->record = *found;
    failover->reason[0] = '\0';
#ifdef HG_SEEDED_BUG_LOST_SWAP_GOES_ON
    if (rc == -ESTALE && taking) {
        epoch_set(failover, epoch_next(failover) - 1, now_ns);
        step_set(failover, HG_FAILOVER_SEAL, now_ns);
        return;
    }
#endif
    if ((taking && deposed) || (is_other && failover->epoch != 0 && found->epoch >= failover->epoch) ||
        (is_order && failover->epoch != 0 && found->epoch > failover->epoch)) {
        step_set(failover, HG_FAILOVER_LOST, now_ns);
    } else if (!is_other && found->state == HG_METASTORE_OPEN && found->epoch > HG_FAILOVER_EPOCH_FIRST &&
               found->epoch > failover->epoch_over) { /* an empty log would take the first one for its own */
        epoch_set(failover, found->epoch, now_ns);
        step_set(failover, HG_FAILOVER_RELEASE, now_ns);
    } else if (!is_other && found->state == HG_METASTORE_SEALING && found->failover != 0 &&
               found->epoch > failover->epoch_over) { /* one of an order is opened by an order, anywhere */
        failover->is_taken = failover->epoch == found->epoch ? failover->is_taken : taking && rc == 0;
        epoch_set(failover, found->epoch, now_ns);
        step_set(failover, HG_FAILOVER_SEAL, now_ns);
    } else {
        step_set(failover, HG_FAILOVER_TAKE, now_ns);
    }
}

bool hg_failover_is_left(const struct hg_metastore_record *record, uint64_t node, uint64_t epoch_promised,
                         bool is_open)
{
    if (record->failover == 0 || record->node != node)
        return false;
    if (record->state == HG_METASTORE_SEALING)
        return true;
    /* Not where the log is another one by now, which promised nothing: that is for people to look at. */
    return record->state == HG_METASTORE_OPEN && epoch_promised == record->epoch && !is_open;
}

bool hg_failover_log_is_anew(const struct hg_metastore_record *record, uint64_t node, uint64_t epoch_promised)
{
    return record->state == HG_METASTORE_OPEN && record->node == node &&
           record->epoch > HG_FAILOVER_EPOCH_FIRST && epoch_promised < record->epoch;
}

/* ---- what copies say ---- */

static uint64_t epoch_last(const struct hg_tail_answer *tail)
{
    return tail->epoch_count == 0 ? 0 : tail->epochs[tail->epoch_count - 1].epoch;
}

static struct hg_failover_stream *stream_of(struct hg_failover *failover,
                                            const struct hg_failover_answer *answer)
{
    for (uint32_t i = 0; i < failover->stream_count; i++)
        if (failover->streams[i].stream == answer->stream)
            return &failover->streams[i];
    if (failover->stream_count == HG_FAILOVER_STREAMS_MAX) {
        failover->is_full = true;
        return NULL;
    }
    struct hg_failover_stream *stream = &failover->streams[failover->stream_count++];
    stream->stream = answer->stream;
    snprintf(stream->name, sizeof(stream->name), "%.*s", HG_CONTROL_NAME_BYTES - 1, answer->name);
    stream->source = -1;
    return stream;
}

/* What was said of a log that is another one now counts no more. */
static void copies_forget(struct hg_failover *failover, uint32_t m, uint32_t log)
{
    for (uint32_t i = 0; i < failover->stream_count; i++)
        if (failover->streams[i].copies[m].log == log)
            failover->streams[i].copies[m].has = false;
}

void hg_failover_answer_of(const struct hg_control_tail *tail, struct hg_failover_answer *answer)
{
    memset(answer, 0, sizeof(*answer));
    answer->node = tail->node;
    answer->epoch = tail->epoch;
    answer->log = tail->log;
    answer->logs = tail->logs;
    answer->streams = tail->streams;
    answer->stream = tail->stream;
    memcpy(answer->log_uuid, tail->log_uuid, sizeof(answer->log_uuid));
    answer->tail.is_unknown = tail->unknown != 0;
    answer->tail.lsn_end = tail->lsn_end;
    answer->tail.lsn_floor = tail->lsn_floor;
    memcpy(answer->tail.chain, tail->chain, sizeof(answer->tail.chain));
    answer->tail.epoch_count = tail->epoch_count;
    memcpy(answer->tail.epochs, tail->epochs, sizeof(answer->tail.epochs));
    answer->tail.corrupt_count = tail->corrupt != 0;
    answer->tail.corrupt[0].lsn_first = tail->corrupt_first;
    answer->tail.corrupt[0].lsn_end = tail->corrupt_end;
}

void hg_failover_answer(struct hg_failover *failover, const struct hg_failover_answer *answer,
                        uint64_t now_ns)
{
    int32_t m = member_of(&failover->config, answer->node);
    if (m < 0 || !asks_copies(failover) || answer->epoch != failover->epoch || answer->logs == 0 ||
        answer->logs > HG_CONTROL_LOGS_MAX || answer->log >= answer->logs ||
        answer->tail.epoch_count > HG_EPOCH_STARTS_MAX || answer->tail.corrupt_count > HG_TAIL_CORRUPT_MAX)
        return;
    struct hg_failover_member *member = &failover->members[m];
    if (member->logs != answer->logs) {
        for (uint32_t log = 0; log < HG_CONTROL_LOGS_MAX; log++)
            copies_forget(failover, (uint32_t)m, log);
        failover->is_taken &= (uint32_t)m != own(failover) || member->logs == 0;
        memset(member->log, 0, sizeof(member->log));
        member->logs = answer->logs;
    }
    if (memcmp(member->log[answer->log].uuid, answer->log_uuid, sizeof(answer->log_uuid)) != 0) {
        copies_forget(failover, (uint32_t)m, answer->log);
        if (member->log[answer->log].known && (uint32_t)m == own(failover))
            failover->is_taken = false;
    }
    member->log[answer->log].known = true;
    member->log[answer->log].streams = answer->streams;
    memcpy(member->log[answer->log].uuid, answer->log_uuid, sizeof(answer->log_uuid));
    member->heard_ns = now_ns;
    struct hg_failover_stream *stream = answer->stream == 0 ? NULL : stream_of(failover, answer);
    if (stream == NULL)
        return;
    struct hg_failover_copy *copy = &stream->copies[m];
    copy->has = true;
    copy->log = answer->log;
    copy->heard_ns = now_ns;
    copy->tail = answer->tail;
    copy->tail.copy = (uint64_t)m + 1;
    copy->tail.is_member = true;
}

static bool is_told(const struct hg_failover *failover, const struct hg_failover_stream *stream)
{
    for (uint32_t m = 0; m < failover->config.member_count; m++)
        if (stream->copies[m].has)
            return true;
    return false;
}

void hg_failover_forget(struct hg_failover *failover, uint64_t node)
{
    int32_t m = member_of(&failover->config, node);
    if (m < 0 || (uint32_t)m == own(failover))
        return;
    struct hg_failover_member *member = &failover->members[m];
    *member = (struct hg_failover_member){.ask_ns = member->ask_ns};
    for (uint32_t i = failover->stream_count; i-- > 0;) {
        struct hg_failover_stream *stream = &failover->streams[i];
        stream->copies[m] = (struct hg_failover_copy){0};
        if (is_told(failover, stream))
            continue;
        /* None but it ever spoke of this one: perhaps there is no such stream. */
        *stream = failover->streams[--failover->stream_count];
        failover->streams[failover->stream_count] = (struct hg_failover_stream){0};
        failover->is_full = false;
    }
}

void hg_failover_refused(struct hg_failover *failover, uint64_t node, uint64_t epoch, uint64_t epoch_promised,
                         uint64_t now_ns)
{
    bool is_own = node == failover->config.node;
    bool waits = asks_copies(failover) || failover->step == HG_FAILOVER_RELEASE;
    if (member_of(&failover->config, node) < 0 || !waits || epoch != failover->epoch ||
        (!is_own && epoch_promised <= epoch) || epoch_promised >= HG_FAILOVER_EPOCH_MAX)
        return; /* behind the highest there is none to take: it is one that says nothing */
    failover->epoch_over = hg_max_u64(failover->epoch_over, hg_max_u64(epoch, epoch_promised));
    step_set(failover, HG_FAILOVER_READ, now_ns);
    failover->due_ns = now_ns + HG_FAILOVER_ASK_NS;
    snprintf(failover->reason, sizeof(failover->reason), "node %llu refuses epoch %llu: it promised %llu",
             (unsigned long long)node, (unsigned long long)epoch, (unsigned long long)epoch_promised);
}

void hg_failover_released(struct hg_failover *failover, uint64_t epoch, uint64_t now_ns)
{
    if (failover->step == HG_FAILOVER_RELEASE && epoch == failover->epoch)
        step_set(failover, HG_FAILOVER_DONE, now_ns);
}

/* ---- deciding ---- */

/* Whether each stream that this member has of the group has been told. */
static bool is_whole(const struct hg_failover *failover, uint32_t m)
{
    const struct hg_failover_member *member = &failover->members[m];
    uint32_t told[HG_CONTROL_LOGS_MAX] = {0};
    for (uint32_t i = 0; i < failover->stream_count; i++)
        if (failover->streams[i].copies[m].has)
            told[failover->streams[i].copies[m].log]++;
    for (uint32_t log = 0; log < member->logs; log++)
        if (!member->log[log].known || told[log] != member->log[log].streams)
            return false;
    return member->logs != 0;
}

/* Whether this member still has all the logs that counted: one that was made anew has promised nothing and
 * knows of nothing, whatever its former one did. */
static bool is_counted(const struct hg_failover *failover, uint32_t m)
{
    const struct hg_failover_member *member = &failover->members[m];
    uint64_t logs[HG_CONTROL_LOGS_MAX];
    uint32_t count = 0;
    for (uint32_t log = 0; log < member->logs; log++)
        if (member->log[log].known)
            logs[count++] = hg_copies_id(member->log[log].uuid);
    return hg_copies_are_there(&failover->record.copies, failover->config.members[m], logs, count);
}

static bool is_fresh(const struct hg_failover_copy *copy, uint64_t now_ns)
{
    return copy->has && now_ns - copy->heard_ns < HG_FAILOVER_HUNG_NS;
}

static bool same_tail(const struct hg_tail_answer *a, const struct hg_tail_answer *b)
{
    return a->lsn_end == b->lsn_end && memcmp(a->chain, b->chain, sizeof(a->chain)) == 0;
}

static bool is_at_tail(const struct hg_failover *failover, const struct hg_failover_stream *stream)
{
    return same_tail(&stream->copies[own(failover)].tail, &stream->copies[stream->winner].tail);
}

/* Who can send what the winner has: it, or another copy with the same end and newest epoch: an empty one
 * that knows of no epoch can't say what has to be cut. One that reads all of it, if there
 * is one. Not one that brought nothing: its log may have forgotten what this node lacks. */
static int32_t source_of(const struct hg_failover *failover, const struct hg_failover_stream *stream,
                         uint64_t now_ns)
{
    int32_t found = -1;
    for (uint32_t m = 0; m < failover->config.member_count; m++) {
        const struct hg_failover_copy *copy = &stream->copies[m];
        if (m == own(failover) || !is_fresh(copy, now_ns) || (stream->passed >> m & 1) != 0 ||
            epoch_last(&copy->tail) != epoch_last(&stream->copies[stream->winner].tail) ||
            !same_tail(&copy->tail, &stream->copies[stream->winner].tail))
            continue;
        if (copy->tail.corrupt_count == 0)
            return (int32_t)m;
        found = (int32_t)m;
    }
    return found;
}

/* The tail is the latest of all that answered, whichever quorum they are of: what was acknowledged is on one
 * of them. `counted` are those, by bits, whose logs are the ones that counted. Whether enough of them
 * answered, and know that they had nothing behind it, is asked of each quorum. */
static enum hg_tail_verdict verdict_of(const struct hg_failover_config *config,
                                       const struct hg_tail_answer *answers, const uint32_t *from,
                                       uint32_t count, uint32_t counted, struct hg_tail *tail)
{
    struct quorum quorums[2];
    uint32_t quorum_count = quorums_of(config, quorums);
    enum hg_tail_verdict verdict =
        hg_tail_choose(config->member_count, config->member_count, answers, count, tail);
    for (uint32_t q = 0; q < quorum_count; q++) {
        uint32_t said = 0, nacks = 0, seals = quorums[q].n - quorums[q].w + 1;
        for (uint32_t i = 0; i < count; i++) {
            uint32_t counts = answers[i].is_member && ((quorums[q].voters & counted) >> from[i] & 1) != 0;
            said += counts;
#ifdef HG_SEEDED_BUG_CORRUPT_IS_NACK
            nacks += counts;
#else
            nacks += counts && !answers[i].is_unknown;
#endif
        }
        if (said < seals)
            return HG_TAIL_FEW;
        if (nacks < seals && verdict != HG_TAIL_DIVERGED)
            verdict = HG_TAIL_UNKNOWN;
    }
    return verdict;
}

static void choose_of(const struct hg_failover *failover, struct hg_failover_stream *stream, bool only_fresh,
                      uint64_t now_ns)
{
    struct hg_tail_answer answers[HG_TAIL_COPIES_MAX] = {0};
    uint32_t from[HG_TAIL_COPIES_MAX], count = 0, counted = 0;
    for (uint32_t m = 0; m < failover->config.member_count; m++) {
        const struct hg_failover_copy *copy = &stream->copies[m];
        if (!copy->has)
            continue;
        from[count] = m;
        answers[count] = copy->tail; /* what one knows that is left out is true still */
        answers[count++].is_member = !only_fresh || m == own(failover) || is_fresh(copy, now_ns);
        counted |= (uint32_t)is_counted(failover, m) << m;
    }
    stream->verdict = verdict_of(&failover->config, answers, from, count, counted, &stream->tail);
    stream->winner = stream->tail.answers == 0 ? own(failover) : from[stream->tail.winner];
    stream->knows = count == 0 ? own(failover) : from[stream->tail.knows];
    stream->source = source_of(failover, stream, now_ns);
    if (stream->source >= 0 || stream->passed == 0)
        return;
    stream->passed = 0; /* all brought nothing: once more, with more patience */
    stream->rounds += stream->rounds < HG_FAILOVER_ROUNDS_MAX;
    stream->source = source_of(failover, stream, now_ns);
}

/* A source that brings nothing for long is passed over. */
static void fill_look(const struct hg_failover *failover, struct hg_failover_stream *stream, uint64_t now_ns)
{
    const struct hg_tail_answer *mine = &stream->copies[own(failover)].tail;
    if (is_at_tail(failover, stream) || stream->source < 0)
        return;
    if (stream->fill_since_ns == 0 || stream->fill_source != stream->source ||
        !same_tail(mine, &stream->fill_tail)) {
        stream->fill_source = stream->source;
        stream->fill_since_ns = now_ns;
        stream->fill_tail = *mine;
    } else if (now_ns - stream->fill_since_ns >= HG_FAILOVER_HUNG_NS << stream->rounds) {
#ifndef HG_SEEDED_BUG_KEEPS_SOURCE
        stream->passed |= 1u << stream->source;
#endif
        stream->fill_since_ns = 0;
        stream->fill_ns = now_ns; /* the next one is asked at once */
    }
}

/* A copy that has the tail and answers no more is left out where the others suffice without it, as if it had
 * never answered. */
static void choose(const struct hg_failover *failover, struct hg_failover_stream *stream, uint64_t now_ns)
{
    choose_of(failover, stream, false, now_ns);
    if (stream->verdict != HG_TAIL_CHOSEN || is_at_tail(failover, stream) || stream->source >= 0)
        return;
    struct hg_failover_stream other = *stream;
    choose_of(failover, &other, true, now_ns);
    if (other.verdict == HG_TAIL_CHOSEN)
        *stream = other;
}

static void waits(struct hg_failover *failover, const struct hg_failover_stream *stream, const char *why)
{
    snprintf(failover->reason, sizeof(failover->reason), "stream %.*s: %s", HG_CONTROL_NAME_BYTES,
             stream->name, why);
}

static void undecided_say(struct hg_failover *failover, const struct hg_failover_stream *stream)
{
    char why[144];
    if (stream->verdict != HG_TAIL_FLOOR) {
        waits(failover, stream, hg_tail_verdict_text(stream->verdict));
        return;
    }
    snprintf(why, sizeof(why),
             "node %llu knows that it was committed to %llu, those that answered end at %llu: start others",
             (unsigned long long)failover->config.members[stream->knows],
             (unsigned long long)stream->tail.lsn_floor, (unsigned long long)stream->tail.lsn_end);
    waits(failover, stream, why);
}

/* Whether a member is lacking that did answer, but from a log that does not count. */
static bool replaced_say(struct hg_failover *failover, uint32_t whole, uint32_t seals)
{
    for (uint32_t m = 0; m < failover->config.member_count; m++) {
        if (!is_whole(failover, m) || is_counted(failover, m))
            continue;
        snprintf(failover->reason, sizeof(failover->reason),
                 "%u of %u copies answered: node %llu's log is none of those that count, or was made anew; "
                 "start others",
                 whole, seals, (unsigned long long)failover->config.members[m]);
        return true;
    }
    return false;
}

/* Whether enough of each quorum have answered, this node among them. */
static bool is_sealed(struct hg_failover *failover)
{
    struct quorum quorums[2];
    uint32_t quorum_count = quorums_of(&failover->config, quorums);
    bool is_own = is_whole(failover, own(failover));
    for (uint32_t q = 0; q < quorum_count; q++) {
        uint32_t whole = 0, seals = quorums[q].n - quorums[q].w + 1;
        for (uint32_t m = 0; m < failover->config.member_count; m++)
            whole += (quorums[q].voters >> m & 1) != 0 && is_whole(failover, m) && is_counted(failover, m);
        if (is_own && whole >= seals)
            continue;
        if (replaced_say(failover, whole, seals))
            return false;
        snprintf(failover->reason, sizeof(failover->reason),
                 "%u of %u copies%s answered, this node's among them: %s; start more of them", whole, seals,
                 q == 1 ? " of the former members" : "", is_own ? "yes" : "no");
        return false;
    }
    return true;
}

/* Whether enough have answered, about streams that this node has. */
static bool is_heard(struct hg_failover *failover)
{
    if (!is_sealed(failover))
        return false;
    if (failover->is_full || failover->stream_count == 0) {
        snprintf(failover->reason, sizeof(failover->reason), "the group has %s",
                 failover->is_full ? "more streams than can be failed over at once" : "no streams");
        return false;
    }
    for (uint32_t i = 0; i < failover->stream_count; i++)
        if (!failover->streams[i].copies[own(failover)].has) {
            waits(failover, &failover->streams[i],
                  "is not configured on this node: add it to its command file");
            return false;
        }
    return true;
}

static bool is_begun(const struct hg_failover *failover)
{
    if (!is_whole(failover, own(failover)) || failover->stream_count == 0)
        return false;
    for (uint32_t i = 0; i < failover->stream_count; i++) {
        const struct hg_failover_copy *copy = &failover->streams[i].copies[own(failover)];
        if (!copy->has || epoch_last(&copy->tail) != failover->epoch)
            return false;
    }
    return true;
}

/* Whoever wrote before may still believe in its write grant, and tell producers what its own disk has. Not
 * once it has promised the new epoch. */
static bool grant_runs(const struct hg_failover *failover, uint64_t now_ns)
{
#ifdef HG_SEEDED_BUG_GRANT_NOT_AWAITED
    return false;
#endif
    int32_t m = member_of(&failover->config, failover->writer_before);
    if (failover->record.grant_ms == 0 || (m >= 0 && is_whole(failover, (uint32_t)m)))
        return false;
    return now_ns - failover->sealed_ns < hg_grant_wait_ns(failover->record.grant_ms);
}

/* Whether these members, by bits, are w of each quorum. */
static bool are_enough(const struct hg_failover_config *config, uint32_t members)
{
#ifdef HG_SEEDED_BUG_OPEN_WITHOUT_COPIES
    return true;
#endif
    struct quorum quorums[2];
    uint32_t quorum_count = quorums_of(config, quorums);
    for (uint32_t q = 0; q < quorum_count; q++)
        if ((uint32_t)__builtin_popcount(members & quorums[q].voters) < quorums[q].w)
            return false;
    return true;
}

/* The members, by bits, that stand under the epoch where it began in this node's copy: that is the tail. */
static uint32_t standing(const struct hg_failover *failover, const struct hg_failover_stream *stream)
{
    const struct hg_tail_answer *mine = &stream->copies[own(failover)].tail;
    uint64_t start = mine->epoch_count == 0 ? 0 : mine->epochs[mine->epoch_count - 1].lsn;
    uint32_t there = 0;
    if (start == 0) /* nobody ever had anything of it */
        return UINT32_MAX;
    for (uint32_t m = 0; m < failover->config.member_count; m++)
        there |= (uint32_t)(stream->copies[m].has && epoch_last(&stream->copies[m].tail) == failover->epoch &&
                            stream->copies[m].tail.lsn_end >= start)
                 << m;
    return there;
}

/* w copies must stand at the tail. */
static void adopt(struct hg_failover *failover, uint64_t now_ns)
{
    if (failover->step != HG_FAILOVER_ADOPT) { /* it is said before it is looked at */
        step_set(failover, HG_FAILOVER_ADOPT, now_ns);
        return;
    }
    failover->reason[0] = '\0';
    for (uint32_t i = 0; i < failover->stream_count; i++) {
        const struct hg_failover_stream *stream = &failover->streams[i];
        if (are_enough(&failover->config, standing(failover, stream)))
            continue;
        waits(failover, stream, "too few members stand at the tail under the new epoch: start more of them");
        return;
    }
    if (grant_runs(failover, now_ns))
        snprintf(failover->reason, sizeof(failover->reason),
                 "the write grant of the writer before may run for %llu s since the seal",
                 (unsigned long long)(hg_grant_wait_ns(failover->record.grant_ms) / HG_NS_PER_S + 1));
    else
        step_set(failover, HG_FAILOVER_OPEN, now_ns);
}

/* Whether this node's log may have begun the epoch, and somebody have adopted that, before it was made anew:
 * then it must not begin it once more, elsewhere. */
static bool is_spent(const struct hg_failover *failover)
{
    return is_whole(failover, own(failover)) && !is_counted(failover, own(failover)) && !failover->is_taken;
}

/* Every stream has a tail. False: one has none, or its copy here is not the one to go on with. */
static bool is_chosen(struct hg_failover *failover, uint64_t now_ns)
{
    const struct hg_failover_stream *open = NULL;
    for (uint32_t i = 0; i < failover->stream_count; i++) {
        struct hg_failover_stream *stream = &failover->streams[i];
        choose(failover, stream, now_ns);
        if (stream->verdict != HG_TAIL_CHOSEN)
            open = stream;
        /* This node wrote under the epoch and lost its log: the epoch is spent. */
        if (stream->tail.epoch == failover->epoch &&
            epoch_last(&stream->copies[own(failover)].tail) != failover->epoch) {
            failover->epoch_over = failover->epoch;
            step_set(failover, HG_FAILOVER_READ, now_ns);
            return false;
        }
    }
    if (open != NULL) {
        step_set(failover, HG_FAILOVER_SEAL, now_ns);
        undecided_say(failover, open);
    }
    return open == NULL;
}

static void decide(struct hg_failover *failover, uint64_t now_ns)
{
    const struct hg_failover_stream *behind = NULL;
    if (!asks_copies(failover))
        return;
    if (is_begun(failover)) {
        adopt(failover, now_ns);
        return;
    }
    failover->reason[0] = '\0';
    if (is_spent(failover)) {
        failover->epoch_over = failover->epoch;
        step_set(failover, HG_FAILOVER_READ, now_ns);
        return;
    }
    if (!is_heard(failover) || !is_chosen(failover, now_ns)) {
        if (asks_copies(failover) && failover->step != HG_FAILOVER_SEAL) {
            char reason[HG_FAILOVER_TEXT_BYTES];
            memcpy(reason, failover->reason, sizeof(reason));
            step_set(failover, HG_FAILOVER_SEAL, now_ns);
            memcpy(failover->reason, reason, sizeof(reason));
        }
        return;
    }
    for (uint32_t i = 0; i < failover->stream_count; i++)
        if (!is_at_tail(failover, &failover->streams[i]) ||
            failover->streams[i].copies[own(failover)].tail.corrupt_count != 0)
            behind = &failover->streams[i];
#ifdef HG_SEEDED_BUG_BEGIN_BEFORE_FILL
    behind = NULL;
#endif
    step_set(failover, behind == NULL ? HG_FAILOVER_BEGIN : HG_FAILOVER_FILL, now_ns);
    for (uint32_t i = 0; i < failover->stream_count && behind != NULL; i++)
        fill_look(failover, &failover->streams[i], now_ns);
    if (behind != NULL && is_at_tail(failover, behind))
        waits(failover, behind,
              "this node's copy has what can't be read: repair it, or let another node write");
    else if (behind != NULL && behind->source < 0)
        waits(failover, behind, "the copies that have its tail answer no more: start one of them");
    else if (behind != NULL && (behind->passed != 0 || behind->rounds != 0))
        waits(failover, behind,
              "a copy that has its tail brings nothing, its log may have forgotten what is lacking here: "
              "another one is asked");
}

/* ---- doing ---- */

/* The logs of those that stand at the tail under our epoch are the ones that count from now on; those of
 * others are as they were. */
static void copies_wanted(const struct hg_failover *failover, struct hg_copies *copies)
{
    uint32_t there = UINT32_MAX;
    for (uint32_t i = 0; i < failover->stream_count; i++)
        there &= standing(failover, &failover->streams[i]);
    uint32_t all = (1u << failover->config.member_count) - 1;
    if (failover->stream_count == 0 || (copies->count == 0 && (there & all) != all))
        return; /* the first ones are named together */
    for (uint32_t m = 0; m < failover->config.member_count; m++) {
        const struct hg_failover_member *member = &failover->members[m];
        uint64_t logs[HG_CONTROL_LOGS_MAX];
        uint32_t count = 0;
        for (uint32_t log = 0; log < member->logs && (there >> m & 1) != 0; log++)
            if (member->log[log].streams != 0)
                logs[count++] = hg_copies_id(member->log[log].uuid);
        if (is_whole(failover, m))
            (void)hg_copies_put(copies, failover->config.members[m], logs, count);
    }
}

static void swap_wanted(const struct hg_failover *failover, struct hg_failover_action *action)
{
    bool opens = failover->step == HG_FAILOVER_OPEN;
    action->what = HG_FAILOVER_DO_SWAP;
    action->epoch = opens ? failover->epoch : epoch_next(failover);
    action->revision = failover->record.revision;
    action->wanted = failover->record; /* what else it says stays */
    action->wanted.epoch = action->epoch;
    action->wanted.node = failover->config.node;
    action->wanted.state = opens ? HG_METASTORE_OPEN : HG_METASTORE_SEALING;
    action->wanted.failover = 1;
    if (opens)
        copies_wanted(failover, &action->wanted.copies);
}

static bool say(struct hg_failover *failover, uint64_t now_ns, struct hg_failover_action *action)
{
    const struct hg_failover_config *config = &failover->config;
    if (failover->say_step) {
        failover->say_step = false;
        action->what = HG_FAILOVER_DO_SAY;
        action->name = failover->step == HG_FAILOVER_DONE   ? "group_failed_over"
                       : failover->step == HG_FAILOVER_LOST ? "group_failover_lost"
                                                            : "group_failover";
        action->severity = failover->step == HG_FAILOVER_LOST ? HG_SEVERITY_WARNING : HG_SEVERITY_INFO;
        snprintf(action->text, sizeof(action->text), "group %u, epoch %llu: %s", config->key.group,
                 (unsigned long long)failover->epoch, hg_failover_step_text(failover->step));
        return true;
    }
    if (!asks_copies(failover) || failover->reason[0] == '\0' ||
        now_ns - failover->step_ns < HG_FAILOVER_BLOCKED_NS ||
        strcmp(failover->blocked, failover->reason) == 0)
        return false;
    memcpy(failover->blocked, failover->reason, sizeof(failover->blocked));
    action->what = HG_FAILOVER_DO_SAY;
    action->name = "recovery_blocked";
    action->severity = HG_SEVERITY_ERROR;
    snprintf(action->text, sizeof(action->text), "group %u stays sealed: %.150s", config->key.group,
             failover->reason);
    return true;
}

static bool copies_ask(struct hg_failover *failover, uint64_t now_ns, struct hg_failover_action *action)
{
    for (uint32_t m = 0; m < failover->config.member_count; m++) {
        if (now_ns < failover->members[m].ask_ns)
            continue;
        failover->members[m].ask_ns = now_ns + HG_FAILOVER_ASK_NS;
        action->what = HG_FAILOVER_DO_ASK;
        action->node = failover->config.members[m];
        return true;
    }
    return false;
}

static bool fill_ask(struct hg_failover *failover, uint64_t now_ns, struct hg_failover_action *action)
{
    for (uint32_t i = 0; i < failover->stream_count && failover->step == HG_FAILOVER_FILL; i++) {
        struct hg_failover_stream *stream = &failover->streams[i];
        if (is_at_tail(failover, stream) || stream->source < 0 || now_ns < stream->fill_ns)
            continue;
        stream->fill_ns = now_ns + HG_FAILOVER_FILL_NS;
        action->what = HG_FAILOVER_DO_FILL;
        action->node = failover->config.members[stream->source];
        action->stream = stream->stream;
        return true;
    }
    return false;
}

bool hg_failover_next(struct hg_failover *failover, uint64_t now_ns, struct hg_failover_action *action)
{
    memset(action, 0, sizeof(*action));
    decide(failover, now_ns);
    action->epoch = failover->epoch;
    if (say(failover, now_ns, action))
        return true;
    if (asks_copies(failover) && (copies_ask(failover, now_ns, action) || fill_ask(failover, now_ns, action)))
        return true;
    if (now_ns < failover->due_ns)
        return false;
    failover->due_ns = now_ns + HG_FAILOVER_ASK_NS;
    switch (failover->step) {
    case HG_FAILOVER_READ:
        action->what = HG_FAILOVER_DO_READ;
        return true;
    case HG_FAILOVER_TAKE:
    case HG_FAILOVER_OPEN:
        swap_wanted(failover, action);
        return true;
    case HG_FAILOVER_BEGIN:
        action->what = HG_FAILOVER_DO_BEGIN;
        return true;
    case HG_FAILOVER_RELEASE:
        action->what = HG_FAILOVER_DO_RELEASE;
        return true;
    default:
        return false;
    }
}
