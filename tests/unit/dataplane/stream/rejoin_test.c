/* SPDX-License-Identifier: Apache-2.0
 *
 * rejoin_test [--first N] [--seeds N]: two nodes of one region, both of which must have what is acknowledged,
 * so that each of them may take over at any time. In turns drawn from the seed they write, are cut off from
 * each other, lose power, are not told of a fail-over until later, can't write orphan files; then all is well
 * again, and both must come to the same.
 *
 * Checked: what was acknowledged is in both logs for ever; each orphan is whole, and has nothing of what the
 * copy knew to be committed; both logs come to the same.
 */
#include "dataplane/stream/seal.h"
#include "drivers/platform/random.h"
#include "orphan_directory.h"

#include <string.h>

#define STEPS    60u
#define LSN_MAX  4096u
#define ACKS_MAX 4096u

static struct hg_random dice;
static struct orphan_directory directories[2];
static struct site *writer;  /* of the newest epoch */
static struct site *unaware; /* has not heard that it no longer writes; NULL = nobody */
static uint64_t epoch;
static const char *violation;

static struct {
    uint64_t lsn;
    uint8_t chain[16];
} acks[ACKS_MAX];
static uint32_t ack_count;

static struct {
    uint64_t fail_overs, cuts, orphans, power_cuts, acknowledged, unaware_appends, orphans_failed;
} sometimes;

static uint32_t draw(uint32_t below)
{
    return (uint32_t)hg_random_below(&dice, below);
}

static void violate(const char *what)
{
    if (violation == NULL)
        violation = what;
}

static struct site *other(const struct site *site)
{
    return site == a ? b : a;
}

static void configure_as(struct site *site, bool here)
{
    struct hg_config_stream config = config_of_one(site, here);
    hg_streams_quorum_set(site->node.streams, 1, 2); /* first: without it one copy would be enough */
    if (hg_streams_configure(site->node.streams, &config) != 0)
        violate("a configuration is refused");
}

static void writer_look(void)
{
    const struct hg_stream_state *s = stream(writer, 0);
    if (s->lsn_committed == 0 || s->lsn_committed != s->lsn_durable || ack_count == ACKS_MAX ||
        (ack_count > 0 && acks[ack_count - 1].lsn >= s->lsn_committed))
        return;
    acks[ack_count].lsn = s->lsn_committed;
    memcpy(acks[ack_count++].chain, s->chain_durable, sizeof(s->chain_durable));
    sometimes.acknowledged++;
}

static void turns(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        site_turn(a);
        site_turn(b);
        orphan_directory_turn(&directories[0], a);
        orphan_directory_turn(&directories[1], b);
        writer_look();
    }
}

static void append_some(struct site *site)
{
    struct hg_stream_state *s = stream(site, 0);
    uint32_t count = 1 + draw(6);
    s->codec = HG_CODEC_NONE;
    for (uint32_t i = 0; i < count && s->lsn_sealed < LSN_MAX; i++)
        if (stream_node_append(&site->node, 0, 1 + draw(30000)) == HG_APPEND_OK && site == unaware)
            sometimes.unaware_appends++;
}

static void power_cut(struct site *site)
{
    hg_peers_free(site->peers);
    hg_disk_sim_crash(site->node.disk);
    stream_node_close(&site->node);
    stream_node_open(&site->node);
    site_peers_make(site, NODE_STREAMS_MAX);
    configure_as(site, site == writer || site == unaware);
    keys();
    sometimes.power_cuts++;
}

static void hear(void)
{
    if (unaware != NULL)
        configure_as(unaware, false);
    unaware = NULL;
}

/* Its own answer is enough: what is acknowledged is on both. */
static void fail_over(struct site *next)
{
    epoch++;
    hg_log_close_write(next->node.log);
    if (hg_streams_group_seal(next->node.streams, 0, epoch) != HG_GROUP_OK)
        violate("a seal is refused");
    for (int i = 0; i < 200 && !hg_streams_group_sealed(next->node.streams, 0, epoch); i++)
        stream_node_turn(&next->node);
    if (next != writer) {
        if (unaware == next)
            unaware = NULL;
        else
            hear();
        unaware = writer;
        writer = next;
    }
    configure_as(next, true);
    hg_log_close_write(next->node.log);
    enum hg_group_reason reason = HG_GROUP_WOULD_BLOCK;
    for (int i = 0; i < 400 && !hg_streams_group_opened(next->node.streams, 0, epoch); i++) {
        if (!hg_streams_group_begun(next->node.streams, 0, epoch))
            reason = hg_streams_group_begin(next->node.streams, 0, epoch);
        else
            reason = hg_streams_group_release(next->node.streams, 0, epoch);
        hg_log_close_write(next->node.log);
        stream_node_turn(&next->node);
    }
    if (reason != HG_GROUP_OK || !hg_streams_group_opened(next->node.streams, 0, epoch))
        violate("an epoch can't begin");
    a->node.now_ns = b->node.now_ns = hg_max_u64(a->node.now_ns, b->node.now_ns);
    hg_peers_stream_epoch(next->peers, 0);
    sometimes.fail_overs++;
}

static void step(void)
{
    uint32_t what = draw(100);
    if (what < 45)
        append_some(writer);
    else if (what < 55 && unaware != NULL)
        append_some(unaware);
    else if (what < 65)
        a->cut = b->cut = !a->cut;
    else if (what < 72)
        power_cut(draw(2) == 0 ? a : b);
    else if (what < 82)
        hear();
    else if (what < 88)
        directories[draw(2)].failures = draw(3);
    else if (what < 94)
        fail_over(draw(3) == 0 ? writer : other(writer));
    turns(draw(120));
}

/* ---- the end ---- */

static uint8_t chains[2][LSN_MAX + 8][16]; /* of the batch that ends there, in each log */

static void read_back(struct site *site, uint8_t found[][16])
{
    struct hg_cursor cursor = {.sequence = 1};
    const struct hg_batch_header *header;
    uint8_t chain[16] = {0};
    uint64_t lsn = 1;
    memset(found, 0, sizeof(chains[0]));
    for (int waits = 0; waits < 100;) {
        if (hg_cursor_peek(&cursor, site->node.log, &header) != 1) {
            waits++;
            stream_node_turn(&site->node);
            continue;
        }
        if ((header->flags & HG_BATCH_LOCAL) == 0 &&
            !hg_streams_batch_is_cut(site->node.streams, 0, cursor.sequence, header)) {
            if (header->lsn_first != lsn || memcmp(header->chain_previous, chain, sizeof(chain)) != 0)
                violate("a log reads back with a gap or another chain");
            lsn = header->lsn_end;
            memcpy(chain, header->chain, sizeof(chain));
            if (lsn <= LSN_MAX)
                memcpy(found[lsn], chain, sizeof(chain));
        }
        hg_cursor_advance(&cursor, header);
    }
}

static void orphan_check(const struct orphan_directory_file *file)
{
    const struct hg_orphan_header *header = (const struct hg_orphan_header *)file->data;
    struct hg_orphan_walk walk;
    if (!file->whole)
        return; /* a part that nobody waits for any more */
    sometimes.orphans++;
    if (hg_orphan_check_header(header, file->bytes) != HG_ORPHAN_OK || header->lsn_floor > header->lsn_first)
        violate("an orphan is damaged, or was cut below the floor");
    hg_orphan_walk_init(&walk, header);
    for (uint64_t at = sizeof(*header); at < file->bytes && violation == NULL;) {
        const struct hg_batch_header *batch = (const struct hg_batch_header *)(file->data + at);
        if (hg_orphan_walk_batch(&walk, batch, file->bytes - at) != HG_ORPHAN_OK) {
            violate("an orphan is not whole");
            return;
        }
        /* A file whose cut did not come to pass may have what both logs have; one that was acknowledged
         * before the file was begun it may not. */
        if (header->lsn_floor > batch->lsn_first)
            violate("an orphan has what was committed");
        at += hg_batch_bytes(batch);
    }
    if (hg_orphan_walk_end(&walk) != HG_ORPHAN_OK)
        violate("an orphan is not whole");
}

static void end_check(void)
{
    if (stream(a, 0)->lsn_durable != stream(b, 0)->lsn_durable ||
        memcmp(stream(a, 0)->chain_durable, stream(b, 0)->chain_durable, 16) != 0 ||
        stream(writer, 0)->lsn_committed != stream(writer, 0)->lsn_durable) {
        violate("the copies do not come together");
        return;
    }
    read_back(a, chains[0]);
    read_back(b, chains[1]);
    for (uint32_t i = 0; i < ack_count; i++)
        for (int copy = 0; copy < 2; copy++)
            if (memcmp(chains[copy][acks[i].lsn], acks[i].chain, 16) != 0)
                violate("what was acknowledged is gone");
    for (int site = 0; site < 2; site++) {
        for (uint32_t i = 0; i < directories[site].count; i++)
            orphan_check(&directories[site].files[i]);
        sometimes.cuts += (site == 0 ? a : b)->node.events[HG_EVENT_stream_cut];
        sometimes.orphans_failed += (site == 0 ? a : b)->node.events[HG_EVENT_orphan_failed];
    }
}

static const char *run_seed(uint64_t seed)
{
    hg_random_init(&dice, seed);
    violation = NULL;
    ack_count = 0;
    epoch = 1;
    one_region = true;
    sites_make();
    keys();
    writer = a;
    unaware = NULL;
    configure_as(a, true);
    configure_as(b, false);
    for (uint32_t i = 0; i < STEPS && violation == NULL; i++)
        step();
    directories[0].failures = directories[1].failures = 0;
    a->cut = b->cut = false;
    hear();
    fail_over(writer); /* opened anew, whatever was given up meanwhile */
    keys();
    append_some(writer);
    for (int i = 0; i < 60 && violation == NULL; i++) {
        turns(200);
        a->node.now_ns += 200 * HG_NS_PER_MS; /* retries of seconds */
        b->node.now_ns += 200 * HG_NS_PER_MS;
    }
    turns(300);
    if (violation == NULL)
        end_check();
    sites_free();
    orphan_directory_empty(&directories[0]);
    orphan_directory_empty(&directories[1]);
    return violation;
}

static uint64_t seeds = 24, first = 1;
static bool is_found;

static void test_seeds(void)
{
    for (uint64_t seed = first; seed < first + seeds && !is_found; seed++) {
        const char *what = run_seed(seed);
        is_found = what != NULL;
        if (is_found)
            printf("seed %llu: %s\n", (unsigned long long)seed, what);
    }
    if (is_found)
        return;
    printf(
        "%llu seeds: %llu fail-overs, %llu acknowledgements, %llu cuts, %llu orphans, %llu power cuts, %llu "
        "appends of a writer that had not heard, %llu orphans that could not be written at first\n",
        (unsigned long long)seeds, (unsigned long long)sometimes.fail_overs,
        (unsigned long long)sometimes.acknowledged, (unsigned long long)sometimes.cuts,
        (unsigned long long)sometimes.orphans, (unsigned long long)sometimes.power_cuts,
        (unsigned long long)sometimes.unaware_appends, (unsigned long long)sometimes.orphans_failed);
    CU_ASSERT(sometimes.fail_overs && sometimes.acknowledged && sometimes.orphans && sometimes.power_cuts &&
              sometimes.unaware_appends);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seeds") == 0 && i + 1 < argc)
            seeds = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--first") == 0 && i + 1 < argc)
            first = strtoull(argv[++i], NULL, 10);
        else
            return 2;
    }
    CU_initialize_registry();
    CU_add_test(CU_add_suite("rejoin", NULL, NULL), "seeds", test_seeds);
    CU_basic_run_tests();
    return is_found || CU_get_number_of_failures() != 0 || CU_get_number_of_tests_run() != 1;
}
