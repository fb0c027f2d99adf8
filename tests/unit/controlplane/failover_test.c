/* SPDX-License-Identifier: Apache-2.0
 *
 * The driver of a fail-over by hand: whom it waits for and whom not, what it says when it can't go on,
 * members that the record names, and write grants. The model (failover_model_test.c) has the rest.
 */
#include "controlplane/failover.h"
#include "controlplane/grant.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <stdlib.h>

#define OWN    2u
#define OTHER  3u
#define OLD    1u /* writer */
#define FOURTH 4u
#define FIFTH  5u

static struct hg_failover *driver;
static struct hg_metastore_record record;
static uint64_t now_ns;
static uint32_t asked[8], begins, releases, fills, opens, losses, fill_from;
static char blocked[HG_FAILOVER_TEXT_BYTES];

static void begin_of(uint32_t n)
{
    const struct hg_failover_config config = {.key = {.cluster = 7, .region = 1, .group = 3},
                                              .node = OWN,
                                              .n = n,
                                              .w = n / 2 + 1,
                                              .member_count = n,
                                              .members = {OLD, OWN, OTHER, FOURTH, FIFTH}};
    now_ns = 1000 * HG_NS_PER_S;
    memset(&record, 0, sizeof(record));
    record = (struct hg_metastore_record){
        .revision = 1, .epoch = 4, .node = OLD, .state = HG_METASTORE_OPEN, .members = record.members};
    memset(asked, 0, sizeof(asked));
    begins = releases = fills = opens = losses = fill_from = 0;
    blocked[0] = '\0';
    free(driver);
    driver = calloc(1, sizeof(*driver));
    CU_ASSERT_PTR_NOT_NULL_FATAL(driver);
    hg_failover_start(driver, &config, now_ns);
}

static void begin(void)
{
    begin_of(3);
}

static void swap(const struct hg_failover_action *action)
{
    int rc = action->revision == record.revision ? 0 : -ESTALE;
    if (rc == 0) {
        uint64_t revision = record.revision + 1;
        record = action->wanted;
        record.revision = revision;
        opens += record.state == HG_METASTORE_OPEN;
    }
    hg_failover_record(driver, rc, &record, now_ns);
}

static void act(void)
{
    struct hg_failover_action action;
    for (uint32_t i = 0; i < 64 && hg_failover_next(driver, now_ns, &action); i++)
        switch (action.what) {
        case HG_FAILOVER_DO_READ:
            hg_failover_record(driver, 0, &record, now_ns);
            break;
        case HG_FAILOVER_DO_SWAP:
            swap(&action);
            break;
        case HG_FAILOVER_DO_ASK:
            asked[action.node]++;
            break;
        case HG_FAILOVER_DO_FILL:
            fills++;
            fill_from = (uint32_t)action.node;
            break;
        case HG_FAILOVER_DO_BEGIN:
            begins++;
            break;
        case HG_FAILOVER_DO_RELEASE:
            releases++;
            break;
        default:
            losses += strcmp(action.name, "group_failover_lost") == 0;
            if (strcmp(action.name, "recovery_blocked") == 0)
                memcpy(blocked, action.text, sizeof(blocked));
        }
}

static void pass(uint64_t ns)
{
    for (uint64_t end_ns = now_ns + ns; now_ns < end_ns; now_ns += 100 * HG_NS_PER_MS)
        act();
}

/* That copy has entries up to `end`; its chain is its content. Its newest epoch began at `start`. */
static void answer(uint64_t node, uint64_t epoch_last, uint64_t start, uint64_t end)
{
    struct hg_failover_answer said = {
        .node = node, .epoch = driver->epoch, .logs = 1, .streams = 1, .stream = 11, .name = "orders"};
    said.log_uuid[0] = (uint8_t)node;
    said.tail.lsn_end = end;
    said.tail.chain[0] = (uint8_t)end;
    said.tail.epochs[said.tail.epoch_count++] = (struct hg_epoch_start){.epoch = 1, .lsn = 1};
    if (epoch_last > 1)
        said.tail.epochs[said.tail.epoch_count++] =
            (struct hg_epoch_start){.epoch = epoch_last, .lsn = start};
    hg_failover_answer(driver, &said, now_ns);
}

static void test_whole_way(void)
{
    begin();
    act();
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_SEAL);
    CU_ASSERT_EQUAL(record.epoch, 5);
    CU_ASSERT_EQUAL(record.state, HG_METASTORE_SEALING);
    CU_ASSERT_EQUAL(asked[OLD] + asked[OWN] + asked[OTHER], 3);
    pass(HG_NS_PER_S);
    CU_ASSERT(asked[OLD] > 2 && asked[OTHER] > 2); /* again and again */
    answer(OWN, 1, 1, 50);
    act();
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_SEAL); /* one of two */
    answer(OTHER, 1, 1, 60);
    act();
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_FILL); /* the old writer hangs: nobody waits for it */
    CU_ASSERT_EQUAL(fill_from, OTHER);
    CU_ASSERT_EQUAL(begins, 0);
    answer(OWN, 1, 1, 60);
    act();
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_BEGIN);
    CU_ASSERT_EQUAL(begins, 1);
    answer(OWN, 5, 60, 60);
    act();
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_ADOPT);
    answer(OTHER, 5, 60, 60);
    act();
    CU_ASSERT_EQUAL(opens, 1);
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_RELEASE);
    CU_ASSERT_EQUAL(releases, 1);
    hg_failover_released(driver, 4, now_ns); /* of another epoch */
    CU_ASSERT_TRUE(hg_failover_is_under_way(driver));
    hg_failover_released(driver, 5, now_ns);
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_DONE);
}

/* Two processes live under a member's identity: which of them said what is not known. */
static void test_member_of_which_two_live(void)
{
    begin();
    act();
    answer(OWN, 1, 1, 50);
    answer(OTHER, 1, 1, 60);
    act();
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_FILL);
    const struct hg_failover_answer ghost = {
        .node = OTHER, .epoch = 5, .logs = 1, .streams = 2, .stream = 99, .name = "ghost"};
    hg_failover_answer(driver, &ghost, now_ns);
    CU_ASSERT_EQUAL(driver->stream_count, 2);
    hg_failover_forget(driver, OTHER);
    CU_ASSERT_EQUAL(driver->stream_count, 1); /* nobody else ever heard of it */
    hg_failover_forget(driver, OWN);          /* this node knows what it is */
    hg_failover_forget(driver, 77);
    act();
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_SEAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(driver->reason, "1 of 2 copies answered, this node's among them: yes"));
    answer(OLD, 1, 1, 50);
    act();
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_BEGIN); /* what the forgotten one had is nobody's tail */
    answer(OWN, 5, 50, 50);
    answer(OLD, 5, 50, 50);
    hg_failover_forget(driver, OLD);
    pass(HG_NS_PER_S);
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_ADOPT); /* it stands for nothing any more */
    CU_ASSERT_EQUAL(opens, 0);
    answer(OTHER, 5, 50, 50);
    pass(HG_NS_PER_S);
    CU_ASSERT_EQUAL(opens, 1);
}

/* Of five three acknowledge: three have to answer, and three to stand at the beginning. */
static void test_five(void)
{
    begin_of(5);
    act();
    CU_ASSERT_EQUAL(asked[OLD] + asked[OWN] + asked[OTHER] + asked[FOURTH] + asked[FIFTH], 5);
    answer(OWN, 1, 1, 50);
    answer(FOURTH, 1, 1, 40);
    pass(3 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_SEAL); /* the other three may have acknowledged more */
    CU_ASSERT_PTR_NOT_NULL(strstr(blocked, "group 3 stays sealed: 2 of 3 copies answered"));
    answer(FIFTH, 1, 1, 60);
    act();
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_FILL); /* two hang, and nobody waits for them */
    CU_ASSERT_EQUAL(fill_from, FIFTH);
    answer(OWN, 1, 1, 60);
    act();
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_BEGIN);
    answer(OWN, 5, 60, 60);
    answer(FIFTH, 5, 60, 60);
    pass(HG_NS_PER_S);
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_ADOPT); /* two stand there */
    CU_ASSERT_EQUAL(opens, 0);
    answer(FOURTH, 5, 60, 60);
    act();
    CU_ASSERT_EQUAL(opens, 1);
    hg_failover_released(driver, 5, now_ns);
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_DONE);
}

static void test_blocked_by_name(void)
{
    begin();
    act();
    answer(OWN, 1, 1, 50);
    pass(3 * HG_NS_PER_S);
    CU_ASSERT_PTR_NOT_NULL(strstr(blocked, "group 3 stays sealed: 1 of 2 copies answered"));
    struct hg_failover_answer torn = {
        .node = OTHER, .epoch = 5, .logs = 1, .streams = 1, .stream = 11, .name = "orders"};
    torn.tail.is_unknown = true;
    hg_failover_answer(driver, &torn, now_ns);
    pass(3 * HG_NS_PER_S);
    CU_ASSERT_PTR_NOT_NULL(strstr(blocked, "stream orders: too few copies can say"));
    answer(OLD, 1, 1, 50); /* the third one answers: it goes on by itself */
    act();
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_BEGIN);
}

/* The copy that has the tail dies before it sent it: the others decide, if they can without it. */
static void test_source_dies(void)
{
    begin();
    act();
    answer(OWN, 1, 1, 50);
    answer(OTHER, 1, 1, 60);
    act();
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_FILL);
    now_ns += HG_FAILOVER_HUNG_NS;
    answer(OWN, 1, 1, 50);
    pass(3 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_FILL);
    CU_ASSERT_PTR_NOT_NULL(strstr(blocked, "the copies that have its tail answer no more"));
    answer(OLD, 1, 1, 50); /* with this one two of three know that they had nothing more */
    answer(OWN, 1, 1, 50);
    act();
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_BEGIN);
}

/* As answer(), and it knows that all below `floor` was committed. */
static void answer_knows(uint64_t node, uint64_t end, uint64_t floor)
{
    struct hg_control_tail tail = {.node = node,
                                   .epoch = driver->epoch,
                                   .logs = 1,
                                   .streams = 1,
                                   .stream = 11,
                                   .lsn_end = end,
                                   .chain = {(uint8_t)end},
                                   .log_uuid = {(uint8_t)node},
                                   .epoch_count = 1,
                                   .epochs = {{.epoch = 1, .lsn = 1}},
                                   .lsn_floor = floor};
    struct hg_failover_answer said;
    hg_failover_answer_of(&tail, &said);
    snprintf(said.name, sizeof(said.name), "orders");
    hg_failover_answer(driver, &said, now_ns);
}

/* A copy knows that more was committed than those that answered have: nothing begins until one has it. */
static void test_floor(void)
{
    begin();
    act();
    answer_knows(OWN, 50, 50);
    answer_knows(OTHER, 55, 61);
    pass(3 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_SEAL);
    CU_ASSERT_PTR_NOT_NULL(
        strstr(blocked, "node 3 knows that it was committed to 61, those that answered end at 55"));
    CU_ASSERT_EQUAL(fills + begins, 0);
    answer_knows(OLD, 61, 61);
    act();
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_FILL);
    CU_ASSERT_EQUAL(fill_from, OLD);
    answer_knows(OWN, 61, 61);
    act();
    CU_ASSERT_EQUAL(begins, 1);
}

/* The copy that has the tail answers no more: what it knew to be committed is not gone on without. */
static void test_floor_of_the_dead(void)
{
    for (uint32_t knows = 0; knows < 2; knows++) {
        begin();
        act();
        answer_knows(OWN, 50, 50);
        answer_knows(OTHER, 61, knows ? 61 : 50);
        act();
        now_ns += HG_FAILOVER_HUNG_NS;
        answer_knows(OWN, 50, 50);
        answer_knows(OLD, 50, 50);
        pass(2 * HG_NS_PER_S);
        CU_ASSERT_EQUAL(begins != 0, !knows);
        CU_ASSERT_EQUAL(driver->step, knows ? HG_FAILOVER_FILL : HG_FAILOVER_BEGIN);
    }
}

static void test_log_made_anew(void)
{
    begin();
    act();
    answer(OWN, 1, 1, 50);
    answer(OTHER, 1, 1, 60);
    struct hg_failover_answer blank = {.node = OTHER, .epoch = 5, .logs = 1, .log_uuid = {9}};
    hg_failover_answer(driver, &blank, now_ns); /* another copy: what the former said counts no more */
    act();
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_SEAL);
}

/* A member that says it promised the highest epoch, or what is none, is not believed: there is none to take
 * instead, and the others decide. */
static void test_refused_for_ever(void)
{
    static const uint64_t promised[] = {HG_FAILOVER_EPOCH_MAX, (uint64_t)HG_FAILOVER_EPOCH_MAX + 1,
                                        UINT64_MAX};
    begin();
    act();
    for (uint32_t i = 0; i < HG_COUNT(promised); i++) {
        hg_failover_refused(driver, OTHER, 5, promised[i], now_ns);
        pass(HG_NS_PER_S);
        CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_SEAL);
        CU_ASSERT_EQUAL(driver->epoch, 5);
        CU_ASSERT_EQUAL(record.epoch, 5);
        CU_ASSERT_EQUAL(record.revision, 2);
    }
    answer(OWN, 1, 1, 50);
    answer(OLD, 1, 1, 50);
    act();
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_BEGIN);
}

static void test_refused_and_lost(void)
{
    begin();
    act();
    hg_failover_refused(driver, OTHER, 5, 9, now_ns); /* sealed by hand, and not in the metastore */
    pass(HG_NS_PER_S);
    CU_ASSERT_EQUAL(record.epoch, 10);
    CU_ASSERT_EQUAL(driver->epoch, 10);
    hg_failover_refused(driver, 77, 10, 99, now_ns); /* nobody */
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_SEAL);
    record.epoch = 11;
    record.node = OTHER;
    record.revision++;
    hg_failover_refused(driver, OTHER, 10, 11, now_ns);
    pass(HG_NS_PER_S);
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_LOST);
    CU_ASSERT_FALSE(hg_failover_is_under_way(driver));
}

/* A stream came to this node behind the beginning, which its log refuses to repeat: all begin a higher epoch
 * together. */
static void test_stream_after_beginning(void)
{
    struct hg_failover_answer late = {
        .node = OWN, .epoch = 5, .logs = 1, .streams = 2, .log_uuid = {OWN}, .stream = 12, .name = "late"};
    begin();
    act();
    answer(OWN, 1, 1, 50);
    answer(OTHER, 1, 1, 50);
    act();
    CU_ASSERT_EQUAL(begins, 1);
    answer(OWN, 5, 50, 50);
    hg_failover_answer(driver, &late, now_ns);
    late.node = OTHER;
    late.log_uuid[0] = OTHER;
    hg_failover_answer(driver, &late, now_ns);
    pass(HG_NS_PER_S);
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_BEGIN);
    CU_ASSERT(begins > 1);
    hg_failover_refused(driver, OWN, 5, 0, now_ns);
    pass(HG_NS_PER_S);
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_SEAL);
    CU_ASSERT_EQUAL(record.epoch, 6);
    CU_ASSERT_EQUAL(record.state, HG_METASTORE_SEALING);
}

/* What `group seal` sealed here waits for `group open`, which may be ordered at another node: a fail-over
 * shares no epoch with that. */
static void test_sealed_by_an_order(void)
{
    begin();
    record = (struct hg_metastore_record){
        .revision = 2, .epoch = 5, .node = OWN, .state = HG_METASTORE_SEALING, .failover = 0};
    act();
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_SEAL);
    CU_ASSERT_EQUAL(record.epoch, 6);
    CU_ASSERT_EQUAL(record.failover, 1);
    CU_ASSERT_EQUAL(driver->epoch, 6);
    begin(); /* a control plane before this one took it for a fail-over: this one goes on with it */
    record = (struct hg_metastore_record){
        .revision = 2, .epoch = 5, .node = OWN, .state = HG_METASTORE_SEALING, .failover = 1};
    act();
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_SEAL);
    CU_ASSERT_EQUAL(record.revision, 2);
    CU_ASSERT_EQUAL(driver->epoch, 5);
}

/* A fail-over that waits for copies which are gone for good is ended by `group seal` on its own node, and
 * what that sealed is left to `group open`, also one that came first. */
static void test_ended_by_an_order(void)
{
    for (uint32_t is_open = 0; is_open < 2; is_open++) {
        begin();
        pass(3 * HG_NS_PER_S);
        CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_SEAL);
        CU_ASSERT_NOT_EQUAL(blocked[0], '\0');
        record.epoch = 9;
        record.state = is_open ? HG_METASTORE_OPEN : HG_METASTORE_SEALING;
        record.failover = 0;
        record.revision = 9;
        hg_failover_refused(driver, OWN, 5, 9, now_ns);
        pass(HG_NS_PER_S);
        CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_LOST);
        CU_ASSERT_FALSE(hg_failover_is_under_way(driver));
        CU_ASSERT_EQUAL(losses, 1);
        CU_ASSERT(record.revision == 9 && record.epoch == 9 && record.failover == 0 && releases == 0);
        CU_ASSERT_FALSE(hg_failover_is_left(&record, OWN, 9, is_open)); /* nor by the next control plane */
    }
}

/* Another record is there when the driver writes the one that takes its epoch. */
static void taking_meets(const struct hg_metastore_record *before, const struct hg_metastore_record *met)
{
    struct hg_failover_action action;
    begin();
    record = *before;
    while (hg_failover_next(driver, now_ns, &action) && action.what != HG_FAILOVER_DO_SWAP)
        if (action.what == HG_FAILOVER_DO_READ)
            hg_failover_record(driver, 0, &record, now_ns);
    CU_ASSERT_EQUAL(action.what, HG_FAILOVER_DO_SWAP);
    record = *met;
    swap(&action);
    pass(HG_NS_PER_S);
}

static void test_order_while_taking(void)
{
    const struct hg_metastore_record
        none = {0},
        open = {.revision = 1, .epoch = 1, .node = OWN, .state = HG_METASTORE_OPEN},
        sealed = {.revision = 2, .epoch = 5, .node = OWN, .state = HG_METASTORE_SEALING};
    taking_meets(&open, &sealed);
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_LOST);
    CU_ASSERT_EQUAL(record.revision, 2);
    taking_meets(&none, &open); /* the first one, which a write grant made: nobody ordered it */
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_SEAL);
    CU_ASSERT_EQUAL(record.epoch, 2);
}

static void test_members_of_the_record(void)
{
    begin();
    record.members = (struct hg_members){.generation = 3, .set = {.count = 3, .w = 2, .nodes = {OWN, 5, 6}}};
    act();
    CU_ASSERT_EQUAL(driver->config.members[1], 5);
    CU_ASSERT_EQUAL(asked[5] + asked[6], 2);
    CU_ASSERT_EQUAL(asked[OLD], 0);
    CU_ASSERT_EQUAL(record.members.generation, 3); /* its own write kept them */
    answer(OWN, 1, 1, 50);
    answer(OTHER, 1, 1, 50); /* no member */
    act();
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_SEAL);
    answer(6, 1, 1, 50);
    act();
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_BEGIN);
    begin();
    record.members = (struct hg_members){.generation = 3, .set = {.count = 2, .w = 2, .nodes = {OTHER, 5}}};
    pass(3 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_READ);
    CU_ASSERT_PTR_NOT_NULL(strstr(driver->reason, "this node is not a member"));
    CU_ASSERT_EQUAL(record.epoch, 4);
}

/* The copy that is to fill this one brings nothing, its log has forgotten what is lacking here: another one
 * that has the tail is asked. Not while it brings something. */
static void test_source_has_a_gap(void)
{
    begin();
    act();
    answer(OWN, 1, 1, 50);
    answer(OLD, 1, 1, 60);
    answer(OTHER, 1, 1, 60);
    act();
    uint32_t first = fill_from, second = first == OLD ? OTHER : OLD;
    for (uint64_t waited_ns = 0; waited_ns < HG_FAILOVER_HUNG_NS - HG_NS_PER_S; waited_ns += HG_NS_PER_S) {
        answer(OWN, 1, 1, 50);
        answer(OLD, 1, 1, 60);
        answer(OTHER, 1, 1, 60);
        pass(HG_NS_PER_S);
        CU_ASSERT_EQUAL(fill_from, first);
    }
    for (uint32_t end = 51; end < 56; end++) { /* it does bring something */
        answer(OWN, 1, 1, end);
        answer(OLD, 1, 1, 60);
        answer(OTHER, 1, 1, 60);
        pass(HG_FAILOVER_HUNG_NS - HG_NS_PER_S);
        CU_ASSERT_EQUAL(fill_from, first);
    }
    for (uint32_t i = 0; i < 4; i++) {
        answer(OWN, 1, 1, 55);
        answer(OLD, 1, 1, 60);
        answer(OTHER, 1, 1, 60);
        pass(HG_NS_PER_S);
    }
    CU_ASSERT_EQUAL(fill_from, second);
    CU_ASSERT_PTR_NOT_NULL(strstr(blocked, "brings nothing"));
    for (uint32_t i = 0; i < 5; i++) { /* nor does that one: the first is asked again, with more patience */
        answer(OWN, 1, 1, 55);
        answer(OLD, 1, 1, 60);
        answer(OTHER, 1, 1, 60);
        pass(HG_NS_PER_S);
    }
    CU_ASSERT_EQUAL(fill_from, first);
    answer(OWN, 1, 1, 60);
    act();
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_BEGIN);
}

/* The writer dies while it is replaced by node 5: both sets have to agree to everything. */
static void test_members_joint(void)
{
    begin();
    record.members = (struct hg_members){.generation = 4,
                                         .phase = HG_MEMBERS_JOINT,
                                         .set = {.count = 3, .w = 2, .nodes = {5, OWN, OTHER}},
                                         .other = {.count = 3, .w = 2, .nodes = {OLD, OWN, OTHER}}};
    act();
    CU_ASSERT_EQUAL(asked[5] + asked[OLD] + asked[OWN] + asked[OTHER], 4);
    answer(OWN, 1, 1, 50);
    answer(5, 1, 1, 40);
    pass(3 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_SEAL); /* two of the set that is to be, one of the former */
    CU_ASSERT_PTR_NOT_NULL(strstr(blocked, "1 of 2 copies of the former members"));
    answer(OLD, 1, 1, 60); /* of the former set alone, and its tail is the latest */
    act();
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_FILL);
    CU_ASSERT_EQUAL(fill_from, OLD);
    answer(OWN, 1, 1, 60);
    act();
    CU_ASSERT_EQUAL(begins, 1);
    answer(OWN, 5, 60, 60);
    answer(5, 5, 60, 60);
    pass(HG_NS_PER_S);
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_ADOPT);
    answer(OTHER, 5, 60, 60); /* of both */
    act();
    CU_ASSERT_EQUAL(opens, 1);
    CU_ASSERT_EQUAL(record.members.phase, HG_MEMBERS_JOINT); /* whoever writes now goes on with the change */
}

/* A torn end in one set is no proof, however many of the other know that they had nothing. */
static void test_members_joint_unknown(void)
{
    begin();
    record.members = (struct hg_members){.generation = 4,
                                         .phase = HG_MEMBERS_JOINT,
                                         .set = {.count = 3, .w = 2, .nodes = {5, OWN, OTHER}},
                                         .other = {.count = 3, .w = 2, .nodes = {OLD, OWN, OTHER}}};
    act();
    answer(OWN, 1, 1, 50);
    answer(5, 1, 1, 50);
    struct hg_failover_answer torn = {
        .node = OLD, .epoch = 5, .logs = 1, .streams = 1, .stream = 11, .name = "orders"};
    torn.tail.is_unknown = true;
    hg_failover_answer(driver, &torn, now_ns);
    act();
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_SEAL);
    CU_ASSERT_EQUAL(driver->streams[0].verdict, HG_TAIL_UNKNOWN);
    answer(OTHER, 1, 1, 50);
    act();
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_BEGIN);
}

/* A writer that did not answer may believe in its grant for a while; one that promised may not. */
static void test_write_grant(void)
{
    for (uint32_t heard = 0; heard < 2; heard++) {
        begin();
        record.grant_ms = 2000;
        act();
        uint64_t sealed_ns = now_ns;
        CU_ASSERT_EQUAL(record.grant_ms, 2000);
        answer(OWN, 5, 50, 50);
        answer(OTHER, 5, 50, 50);
        if (heard)
            answer(OLD, 1, 1, 50);
        act();
        CU_ASSERT_EQUAL(opens, heard);
        pass(HG_NS_PER_S);
        CU_ASSERT_EQUAL(opens, heard);
        CU_ASSERT(heard || strstr(driver->reason, "write grant") != NULL);
        pass(sealed_ns + hg_grant_wait_ns(2000) - now_ns + HG_NS_PER_S);
        CU_ASSERT_EQUAL(opens, 1);
    }
}

/* The metastore does not answer, and meanwhile another node wrote and was sealed: whose grant runs is not
 * known, so that the one which wrote before that has promised says nothing. */
static void test_write_grant_of_a_stranger(void)
{
    struct hg_failover_action action;
    begin();
    record.grant_ms = 2000;
    while (hg_failover_next(driver, now_ns, &action) && action.what != HG_FAILOVER_DO_SWAP)
        if (action.what == HG_FAILOVER_DO_READ)
            hg_failover_record(driver, 0, &record, now_ns);
    CU_ASSERT_EQUAL(action.what, HG_FAILOVER_DO_SWAP);
    hg_failover_record(driver, -EIO, &record, now_ns);
    record.revision = 5; /* OTHER opened 7, and OLD takes 8 */
    record.epoch = 8;
    record.state = HG_METASTORE_SEALING;
    record.failover = 1;
    for (uint32_t i = 0; i < 100 && driver->step != HG_FAILOVER_SEAL; i++)
        pass(100 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL_FATAL(driver->step, HG_FAILOVER_SEAL);
    CU_ASSERT(record.epoch == 9 && record.node == OWN);
    answer(OWN, 9, 50, 50);
    answer(OLD, 9, 50, 50);
    act();
    CU_ASSERT_EQUAL(opens, 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(driver->reason, "write grant"));
    pass(hg_grant_wait_ns(2000) + HG_NS_PER_S);
    CU_ASSERT_EQUAL(opens, 1);
}

/* What a control plane that starts finds in the metastore, and whether it is to go on. */
static void test_left(void)
{
    struct hg_metastore_record left = {
        .revision = 9, .epoch = 5, .node = OWN, .state = HG_METASTORE_SEALING, .failover = 1};
    CU_ASSERT_TRUE(hg_failover_is_left(&left, OWN, 0, false)); /* before any seal was heard, too */
    CU_ASSERT_TRUE(hg_failover_is_left(&left, OWN, 5, false));
    CU_ASSERT_FALSE(hg_failover_is_left(&left, OTHER, 5, false)); /* it is another node's */
    left.state = HG_METASTORE_OPEN;
    CU_ASSERT_TRUE(hg_failover_is_left(&left, OWN, 5, false));  /* producers were not let in */
    CU_ASSERT_FALSE(hg_failover_is_left(&left, OWN, 5, true));  /* done */
    CU_ASSERT_FALSE(hg_failover_is_left(&left, OWN, 0, false)); /* another log than the one that promised */
    CU_ASSERT_FALSE(hg_failover_is_left(&left, OWN, 6, false)); /* somebody newer sealed it */
    left.failover = 0;                                          /* by `group seal` and `group open` */
    CU_ASSERT_FALSE(hg_failover_is_left(&left, OWN, 5, false));
    left.state = HG_METASTORE_SEALING;
    CU_ASSERT_FALSE(hg_failover_is_left(&left, OWN, 5, false));
    left = (struct hg_metastore_record){0};
    CU_ASSERT_FALSE(hg_failover_is_left(&left, OWN, 0, true));
    begin();
    act();
    CU_ASSERT_EQUAL(driver->step, HG_FAILOVER_SEAL);
    CU_ASSERT_EQUAL(record.failover, 1);
    CU_ASSERT_TRUE(hg_failover_is_left(&record, OWN, 0, false));
}

/* The writer's disk was replaced after a fail-over: the command file does not say that it writes. */
static void test_log_made_anew_of_writer(void)
{
    struct hg_metastore_record open = {
        .revision = 9, .epoch = 5, .node = OWN, .state = HG_METASTORE_OPEN, .failover = 1};
    CU_ASSERT_TRUE(hg_failover_log_is_anew(&open, OWN, 0));
    CU_ASSERT_TRUE(hg_failover_log_is_anew(&open, OWN, 4));
    CU_ASSERT_FALSE(hg_failover_log_is_anew(&open, OWN, 5));
    CU_ASSERT_FALSE(hg_failover_log_is_anew(&open, OWN, 6)); /* sealed by a newer one */
    CU_ASSERT_FALSE(hg_failover_log_is_anew(&open, OTHER, 0));
    open.state = HG_METASTORE_SEALING;
    CU_ASSERT_FALSE(hg_failover_log_is_anew(&open, OWN, 0));
    open = (struct hg_metastore_record){
        .revision = 1, .epoch = HG_FAILOVER_EPOCH_FIRST, .node = OWN, .state = HG_METASTORE_OPEN};
    CU_ASSERT_FALSE(hg_failover_log_is_anew(&open, OWN, 0)); /* by the command file: group_unnamed says it */
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("failover", NULL, NULL);
    CU_add_test(suite, "the whole way", test_whole_way);
    CU_add_test(suite, "five members", test_five);
    CU_add_test(suite, "a member of which two live", test_member_of_which_two_live);
    CU_add_test(suite, "blocked by name", test_blocked_by_name);
    CU_add_test(suite, "the copy with the tail dies", test_source_dies);
    CU_add_test(suite, "a source has a gap", test_source_has_a_gap);
    CU_add_test(suite, "a copy knows of more", test_floor);
    CU_add_test(suite, "what a dead copy knew", test_floor_of_the_dead);
    CU_add_test(suite, "a log that was made anew", test_log_made_anew);
    CU_add_test(suite, "refused, and lost", test_refused_and_lost);
    CU_add_test(suite, "a stream that comes after the beginning", test_stream_after_beginning);
    CU_add_test(suite, "sealed by an order", test_sealed_by_an_order);
    CU_add_test(suite, "ended by an order", test_ended_by_an_order);
    CU_add_test(suite, "an order while an epoch is taken", test_order_while_taking);
    CU_add_test(suite, "refused for ever", test_refused_for_ever);
    CU_add_test(suite, "members of the record", test_members_of_the_record);
    CU_add_test(suite, "members that are being changed", test_members_joint);
    CU_add_test(suite, "a torn end of one set", test_members_joint_unknown);
    CU_add_test(suite, "the former writer's grant", test_write_grant);
    CU_add_test(suite, "a stranger's grant", test_write_grant_of_a_stranger);
    CU_add_test(suite, "left in the middle", test_left);
    CU_add_test(suite, "a writer whose log was made anew", test_log_made_anew_of_writer);
    CU_basic_run_tests();
    free(driver);
    return CU_get_number_of_failures() != 0 || CU_get_number_of_tests_run() != 22;
}
