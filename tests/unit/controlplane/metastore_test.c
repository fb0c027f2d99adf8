/* SPDX-License-Identifier: Apache-2.0
 *
 * Who may seal and open a group, by the metastore: in memory and in a file, two nodes that race, a file that
 * is damaged at every byte, cut short at every length, or held by somebody else.
 */
#include "controlplane/metastore.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct hg_metastore_key key = {.cluster = 7, .region = 1, .group = 3};
static char text[HG_METASTORE_TEXT_BYTES];
static char path[] = "/tmp/metastore_test.XXXXXX";
static char file_path[64];
static uint32_t fsyncs_good = UINT32_MAX; /* those after them fail */

int fsync(int fd)
{
    if (fsyncs_good == 0) {
        errno = EIO;
        return -1;
    }
    fsyncs_good--;
    return (int)syscall(SYS_fsync, fd);
}

/* a seals for 5 and opens; b, who is late, loses each of them; the next epoch is b's. */
static void steps(struct hg_metastore *a, struct hg_metastore *b)
{
    struct hg_metastore_record found;
    CU_ASSERT_EQUAL(hg_metastore_begin(a, &key, 5, 11, text), -ENOENT); /* sealed for nothing yet */
    CU_ASSERT_EQUAL(hg_metastore_seal(a, &key, 5, 11, text), 0);
    CU_ASSERT_EQUAL(hg_metastore_seal(b, &key, 5, 12, text), 0); /* goes on with what a began */
    CU_ASSERT_EQUAL(hg_metastore_seal(b, &key, 4, 12, text), -EEXIST);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "sealed under epoch 5 by node 11"));
    CU_ASSERT_EQUAL(hg_metastore_begin(a, &key, 6, 11, text), -ENOENT);
    CU_ASSERT_EQUAL(hg_metastore_begin(a, &key, 5, 11, text), 0);
    CU_ASSERT_EQUAL(hg_metastore_begin(a, &key, 5, 11, text), 0); /* again */
    CU_ASSERT_EQUAL(hg_metastore_begin(b, &key, 5, 12, text), -EEXIST);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "open under epoch 5 by node 11"));
    CU_ASSERT_EQUAL(hg_metastore_seal(b, &key, 5, 12, text), -EEXIST);
    CU_ASSERT_EQUAL(hg_metastore_seal(b, &key, 9, 12, text), 0);
    CU_ASSERT_EQUAL(hg_metastore_begin(a, &key, 5, 11, text), -EEXIST); /* deposed */
    CU_ASSERT_EQUAL(hg_metastore_begin(b, &key, 9, 12, text), 0);
    CU_ASSERT_EQUAL(a->read(a, &key, &found), 0);
    CU_ASSERT_EQUAL(found.epoch, 9);
    CU_ASSERT_EQUAL(found.node, 12);
    CU_ASSERT_EQUAL(found.state, HG_METASTORE_OPEN);
    CU_ASSERT_EQUAL(found.revision, 4);
    struct hg_metastore_key other = key;
    other.group = 4;
    CU_ASSERT_EQUAL(a->read(a, &other, &found), 0);
    CU_ASSERT_EQUAL(found.revision, 0);
    CU_ASSERT_EQUAL(hg_metastore_seal(a, &other, 2, 11, text), 0);
    CU_ASSERT_EQUAL(b->read(b, &key, &found), 0);
    CU_ASSERT_EQUAL(found.epoch, 9);
}

static void test_memory(void)
{
    struct hg_metastore *store = hg_metastore_memory_open();
    steps(store, store);
    store->close(store);
}

static void test_file(void)
{
    struct hg_metastore *a = hg_metastore_file_open(file_path), *b = hg_metastore_file_open(file_path);
    unlink(file_path);
    steps(a, b);
    a->close(a);
    b->close(b);
}

/* Between its read and its write somebody else wrote. */
static void test_lost_race(void)
{
    struct hg_metastore *store = hg_metastore_memory_open();
    struct hg_metastore_record wanted = {.epoch = 5, .node = 11, .state = HG_METASTORE_SEALING}, found;
    CU_ASSERT_EQUAL(store->swap(store, &key, 0, &wanted, &found), 0);
    CU_ASSERT_EQUAL(found.revision, 1);
    wanted.node = 12;
    CU_ASSERT_EQUAL(store->swap(store, &key, 0, &wanted, &found), -ESTALE);
    CU_ASSERT_EQUAL(found.node, 11);
    CU_ASSERT_EQUAL(store->swap(store, &key, 1, &wanted, &found), 0);
    CU_ASSERT_EQUAL(found.revision, 2);
    store->close(store);
}

static size_t file_get(char *bytes, size_t max)
{
    FILE *in = fopen(file_path, "rb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(in);
    size_t count = fread(bytes, 1, max, in);
    fclose(in);
    return count;
}

static void file_put(const char *bytes, size_t count)
{
    FILE *out = fopen(file_path, "wb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(out);
    CU_ASSERT_EQUAL(fwrite(bytes, 1, count, out), count);
    fclose(out);
}

static void test_damaged(void)
{
    static char good[4096], bad[4096];
    struct hg_metastore *store = hg_metastore_file_open(file_path);
    struct hg_metastore_record found;
    unlink(file_path);
    CU_ASSERT_EQUAL(hg_metastore_seal(store, &key, 5, 11, text), 0);
    size_t count = file_get(good, sizeof(good));
    for (size_t i = 0; i < count; i++) {
        memcpy(bad, good, count);
        bad[i] ^= 1;
        file_put(bad, count);
        CU_ASSERT_EQUAL(store->read(store, &key, &found), -EBADMSG);
        CU_ASSERT_EQUAL(found.revision, 0);
        CU_ASSERT_PTR_NOT_NULL(strstr(store->problem, file_path));
        file_put(good, i);
        CU_ASSERT_EQUAL(store->read(store, &key, &found), -EBADMSG);
    }
    CU_ASSERT_EQUAL(hg_metastore_seal(store, &key, 6, 11, text), -EBADMSG); /* and is not overwritten */
    file_put(good, count);
    CU_ASSERT_EQUAL(store->read(store, &key, &found), 0);
    CU_ASSERT_EQUAL(found.epoch, 5);
    store->close(store);
}

/* Members of a group and their logs stand in its record, and stay there when it is sealed and opened. */
static void members_stay(struct hg_metastore *store)
{
    static const struct hg_members members = {.generation = 7,
                                              .phase = HG_MEMBERS_JOINT,
                                              .learner_count = 2,
                                              .learners = {5, UINT64_MAX},
                                              .set = {.count = 3, .w = 2, .nodes = {1, 2, 4}},
                                              .other = {.count = 3, .w = 3, .nodes = {1, 2, 3}}};
    struct hg_metastore_record record = {.epoch = 1, .node = 11, .state = HG_METASTORE_OPEN}, found;
    static const uint64_t logs[] = {1, UINT64_MAX, 3};
    record.members = members;
    CU_ASSERT_TRUE(hg_copies_put(&record.copies, 1, logs, 3) &&
                   hg_copies_put(&record.copies, UINT64_MAX, logs, 1));
    CU_ASSERT_EQUAL(store->swap(store, &key, 0, &record, &found), 0);
    CU_ASSERT_EQUAL(hg_metastore_seal(store, &key, 5, 12, text), 0);
    CU_ASSERT_EQUAL(hg_metastore_begin(store, &key, 5, 12, text), 0);
    CU_ASSERT_EQUAL(store->read(store, &key, &found), 0);
    CU_ASSERT_EQUAL(found.node, 12);
    CU_ASSERT_EQUAL(memcmp(&found.members, &members, sizeof(members)), 0);
    CU_ASSERT_EQUAL(memcmp(&found.copies, &record.copies, sizeof(found.copies)), 0);
    store->close(store);
}

static void test_members(void)
{
    members_stay(hg_metastore_memory_open());
    unlink(file_path);
    members_stay(hg_metastore_file_open(file_path));
}

static int lines_read(const char *lines, struct hg_metastore_record *found)
{
    char whole[512];
    int bytes = snprintf(whole, sizeof(whole), "%s", lines);
    bytes += snprintf(whole + bytes, sizeof(whole) - (size_t)bytes, "crc32c %08x\n",
                      hg_crc32c(0, whole, (size_t)bytes));
    file_put(whole, (size_t)bytes);
    struct hg_metastore *store = hg_metastore_file_open(file_path);
    int rc = store->read(store, &key, found);
    store->close(store);
    return rc;
}

/* The first version had no pairs; what is read is what can be. */
static void test_lines(void)
{
#define GROUP "group 3 region 1 cluster 7 open epoch 5 node 11 revision 4"
    static const char *const wrong[] = {" generation 2 w 1 members 1,2",
                                        " generation 2 w 2 members 1,2,",
                                        " generation 2 w 2 members 1,,2",
                                        " generation 2 w 2 members",
                                        " generation x w 2 members 1",
                                        " generation 2 w 2 members 1 odd 3",
                                        " generation 2 w 5 members 1,2,3,4,5,6,7,8",
                                        " generation 99999999999 w 1 members 1",
                                        " generation 2 w 1 members 1,2,3 members 1",
                                        " copy 1",
                                        " copy 1:",
                                        " copy 1:0",
                                        " copy 0:1",
                                        " copy 1:1,",
                                        " copy 1:g",
                                        " copy 1:2 copy 1:3",
                                        " copy 1:1,2,3,4,5,6,7,8,9,a,b,c,d,e,f,10,11"};
    struct hg_metastore_record found;
    char lines[256];
    snprintf(lines, sizeof(lines),
             "heliograph-metastore 1 revision 4\ngroup %u region %u cluster %llu open epoch 5 "
             "node 11 revision 4\n",
             key.group, key.region, (unsigned long long)key.cluster);
    CU_ASSERT_EQUAL(lines_read(lines, &found), 0);
    CU_ASSERT_EQUAL(found.epoch, 5);
    CU_ASSERT_EQUAL(found.members.generation, 0);
    for (size_t i = 0; i < HG_COUNT(wrong); i++) {
        snprintf(lines, sizeof(lines), "heliograph-metastore 2 revision 4\n" GROUP "%s\n", wrong[i]);
        CU_ASSERT_EQUAL(lines_read(lines, &found), -EBADMSG);
    }
    snprintf(lines, sizeof(lines),
             "heliograph-metastore 3 revision 4\ngroup %u region %u cluster %llu sealing epoch 5 "
             "node 11 revision 4 failover 1\n",
             key.group, key.region, (unsigned long long)key.cluster);
    CU_ASSERT_EQUAL(lines_read(lines, &found), 0);
    CU_ASSERT_EQUAL(found.failover, 1);
    snprintf(lines, sizeof(lines), "heliograph-metastore 4 revision 4\n" GROUP "\n");
    CU_ASSERT_EQUAL(lines_read(lines, &found), -EBADMSG);
    for (int i = 0; i < 2; i++) {
        snprintf(lines, sizeof(lines),
                 "heliograph-metastore 2 revision 4\ngroup %s region %s cluster 7 open epoch 5 node 11 "
                 "revision 4\n",
                 i == 0 ? "-1" : "3", i == 0 ? "1" : "-1");
        CU_ASSERT_EQUAL(lines_read(lines, &found), -EBADMSG);
    }
    snprintf(lines, sizeof(lines), "heliograph-metastore 3 revision 4\n" GROUP " copy 1:2,f copy 9:3\n");
    CU_ASSERT_EQUAL(lines_read(lines, &found), 0);
    CU_ASSERT_EQUAL(found.copies.count, 2);
    CU_ASSERT_TRUE(hg_copies_counts(&found.copies, 1, 15) && !hg_copies_counts(&found.copies, 9, 2));
    unlink(file_path);
#undef GROUP
}

/* What a fail-over took stays its own until somebody orders a seal of its own. */
static void test_taken_by_a_failover(void)
{
    struct hg_metastore *store = hg_metastore_file_open(file_path);
    struct hg_metastore_record found, wanted = {0};
    unlink(file_path);
    wanted.epoch = 5;
    wanted.node = 11;
    wanted.state = HG_METASTORE_SEALING;
    wanted.failover = 1;
    CU_ASSERT_EQUAL(store->swap(store, &key, 0, &wanted, &found), 0);
    CU_ASSERT_EQUAL(store->read(store, &key, &found), 0);
    CU_ASSERT_EQUAL(found.failover, 1);
    for (uint64_t node = 11; node < 13;
         node++) { /* it has yet to choose tails and to fill: nobody opens it */
        CU_ASSERT_EQUAL(hg_metastore_begin(store, &key, 5, node, text), -EEXIST);
        CU_ASSERT_PTR_NOT_NULL(strstr(text, "a fail-over of node 11 drives epoch 5"));
        CU_ASSERT_EQUAL(store->read(store, &key, &found), 0);
        CU_ASSERT_EQUAL(found.state, HG_METASTORE_SEALING);
        CU_ASSERT_EQUAL(found.failover, 1);
    }
    CU_ASSERT_EQUAL(hg_metastore_seal(store, &key, 6, 11, text), 0);
    CU_ASSERT_EQUAL(store->read(store, &key, &found), 0);
    CU_ASSERT_EQUAL(found.failover, 0);
    CU_ASSERT_EQUAL(hg_metastore_begin(store, &key, 6, 11, text), 0);
    store->close(store);
    unlink(file_path);
}

/* A record is in its place, and may be gone after a power loss: nobody goes by it, neither who wrote it nor
 * another process, until it is known to stay. */
static void test_place_not_synced(void)
{
    struct hg_metastore_record found;
    struct hg_metastore *a = hg_metastore_file_open(file_path), *b = hg_metastore_file_open(file_path);
    (void)unlink(file_path);
    CU_ASSERT_EQUAL(hg_metastore_seal(a, &key, 5, 11, text), 0);
    CU_ASSERT_EQUAL(b->read(b, &key, &found), 0);
    fsyncs_good = 1; /* of the file, and not of its directory */
    CU_ASSERT_EQUAL(hg_metastore_begin(a, &key, 5, 11, text), -EIO);
    CU_ASSERT_EQUAL(a->read(a, &key, &found), -EIO);
    CU_ASSERT_PTR_NOT_NULL(strstr(a->problem, "may not be on the device yet"));
    CU_ASSERT_EQUAL(b->read(b, &key, &found), -EIO);
    fsyncs_good = UINT32_MAX;
    CU_ASSERT_EQUAL(b->read(b, &key, &found), 0);
    CU_ASSERT_EQUAL(found.state, HG_METASTORE_OPEN);
    CU_ASSERT_EQUAL(a->read(a, &key, &found), 0);
    fsyncs_good = 0; /* what is known to stay is not synced again */
    CU_ASSERT_EQUAL(a->read(a, &key, &found), 0);
    CU_ASSERT_EQUAL(b->read(b, &key, &found), 0);
    fsyncs_good = UINT32_MAX;
    a->close(a);
    b->close(b);
}

static void test_held(void)
{
    char lock_path[72];
    struct hg_metastore *store = hg_metastore_file_open(file_path);
    snprintf(lock_path, sizeof(lock_path), "%s.lock", file_path);
    int lock = open(lock_path, O_RDWR | O_CREAT, 0600);
    CU_ASSERT_EQUAL(flock(lock, LOCK_EX), 0);
    CU_ASSERT_EQUAL(hg_metastore_seal(store, &key, 20, 11, text), -EAGAIN);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "try again"));
    close(lock);
    CU_ASSERT_EQUAL(hg_metastore_seal(store, &key, 20, 11, text), 0);
    store->close(store);
}

int main(void)
{
    if (mkdtemp(path) == NULL)
        return 1;
    snprintf(file_path, sizeof(file_path), "%s/metastore", path);
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("metastore", NULL, NULL);
    CU_add_test(suite, "in memory", test_memory);
    CU_add_test(suite, "in a file", test_file);
    CU_add_test(suite, "a lost race", test_lost_race);
    CU_add_test(suite, "damaged", test_damaged);
    CU_add_test(suite, "members of a group", test_members);
    CU_add_test(suite, "lines of all versions", test_lines);
    CU_add_test(suite, "held by another process", test_held);
    CU_add_test(suite, "not known to stay in its place", test_place_not_synced);
    CU_add_test(suite, "what a fail-over took", test_taken_by_a_failover);
    CU_basic_run_tests();
    char lock_path[72];
    snprintf(lock_path, sizeof(lock_path), "%s.lock", file_path);
    unlink(lock_path);
    unlink(file_path);
    rmdir(path);
    return CU_get_number_of_failures() != 0 || CU_get_number_of_tests_run() != 9;
}
