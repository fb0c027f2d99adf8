/* SPDX-License-Identifier: Apache-2.0
 *
 * Connections of clients as housekeeping sees them: the memory lent to the worker lives until the worker says
 * that it let go, whatever happens meanwhile. The test is the worker and, at the other end of a socket pair,
 * the client.
 */
#include "dataplane/housekeeping.h"

#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* What housekeeping.c gives to its other files. */
static struct hg_letter letters[64];
static uint32_t letter_count, letter_worker;
static bool box_full;
static uint32_t said_count;
static const char *said;

bool hg_housekeeping_put(struct hg_housekeeping *unused, uint32_t worker, const struct hg_letter *letter)
{
    (void)unused;
    letter_worker = worker;
    if (box_full || letter_count == HG_COUNT(letters))
        return false;
    letters[letter_count++] = *letter;
    return true;
}

void hg_housekeeping_say(struct hg_housekeeping *hk, uint32_t severity, const char *name, const char *text)
{
    (void)hk;
    (void)severity;
    (void)text;
    said_count++;
    said = name;
}

static struct hg_node node;
static struct hg_housekeeping *hk;
static int client_socket;

static void setup(void)
{
    int pair[2];
    memset(&node, 0, sizeof(node));
    node.boot = 5;
    node.lcore_count = 1;
    node.lcores[0].eventfd = eventfd(0, EFD_NONBLOCK);
    hk = calloc(1, sizeof(*hk));
    hk->node = &node;
    hk->control_socket = -1;
    for (uint32_t i = 0; i < HG_HOUSEKEEPING_CONNECTIONS_MAX; i++)
        hk->connections[i].socket = -1;
    hk->applied = calloc(1, sizeof(*hk->applied));
    hg_placement_init(&hk->placement, 2);
    hk->placed = true;
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
    hk->connections[0].socket = pair[0];
    client_socket = pair[1];
    letter_count = 0;
    box_full = false;
}

static void teardown(void)
{
    if (client_socket >= 0)
        close(client_socket);
    close(node.lcores[0].eventfd);
    free(hk->applied);
    free(hk);
}

static void say(enum hg_client_message_type type)
{
    union hg_client_message message;
    hg_client_message_init(&message, type);
    if (type == HG_CLIENT_HELLO) {
        message.hello.abi = HG_CLIENT_ABI;
        message.hello.name[0] = 'c';
    } else {
        message.attach.name[0] = 's';
        message.attach.flags = HG_CLIENT_ATTACH_SUBSCRIBE;
    }
    CU_ASSERT_EQUAL(hg_client_message_send(client_socket, &message, NULL, 0), 0);
    hg_housekeeping_connection(hk, 0);
}

static void attached(void)
{
    say(HG_CLIENT_HELLO);
    say(HG_CLIENT_ATTACH);
    CU_ASSERT_EQUAL_FATAL(letter_count, 2);
    CU_ASSERT_EQUAL(letters[0].type, HG_LETTER_CLIENT_OPEN);
    CU_ASSERT_PTR_EQUAL(letters[0].pointer, &hk->connections[0].links[0]->ring);
    CU_ASSERT_EQUAL(letters[1].type, HG_LETTER_CLIENT_ATTACH);
}

static void hang_up(void)
{
    close(client_socket);
    client_socket = -1;
    hg_housekeeping_connection(hk, 0);
}

static void worker_says(uint32_t type)
{
    struct hg_letter letter = {.type = type, .client = 0};
    hg_housekeeping_client_letter(hk, 0, &letter);
}

static uint32_t closes(void)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < letter_count; i++)
        count += letters[i].type == HG_LETTER_CLIENT_CLOSE;
    return count;
}

/* The ring as the worker uses it, and the place, are still there. */
static void expect_lent(void)
{
    CU_ASSERT_PTR_NOT_NULL_FATAL(hk->connections[0].links[0]);
    CU_ASSERT_PTR_NOT_NULL(hk->connections[0].links[0]->ring.head);
    CU_ASSERT(hk->connections[0].socket >= 0);
}

static void expect_free(void)
{
    CU_ASSERT_PTR_NULL(hk->connections[0].links[0]);
    CU_ASSERT_EQUAL(hk->connections[0].socket, -1);
}

static void test_hang_up(void)
{
    setup();
    attached();
    hang_up();
    CU_ASSERT_EQUAL(closes(), 1);
    expect_lent();
    worker_says(HG_LETTER_CLIENT_CLOSED);
    expect_free();
    teardown();
}

/* The worker found the client poisoned before it read that it is to be closed. */
static void test_poisoned_while_closing(void)
{
    setup();
    attached();
    hang_up();
    worker_says(HG_LETTER_CLIENT_HANG_UP);
    expect_lent();
    CU_ASSERT_EQUAL(closes(), 1);
    hg_housekeeping_connections_tick(hk);
    CU_ASSERT_EQUAL(closes(), 1);
    worker_says(HG_LETTER_CLIENT_ANSWER); /* to the ATTACH, too late */
    expect_lent();
    worker_says(HG_LETTER_CLIENT_CLOSED);
    expect_free();
    teardown();
}

static void test_box_full_when_closing(void)
{
    setup();
    attached();
    box_full = true;
    hang_up();
    hg_housekeeping_connections_tick(hk);
    CU_ASSERT_EQUAL(closes(), 0);
    expect_lent();
    box_full = false;
    hg_housekeeping_connections_tick(hk);
    hg_housekeeping_connections_tick(hk);
    CU_ASSERT_EQUAL(closes(), 1);
    worker_says(HG_LETTER_CLIENT_CLOSED);
    expect_free();
    teardown();
}

/* No room to tell the worker of the ring: it never heard of it, so nothing waits for it. */
static void test_box_full_when_attaching(void)
{
    setup();
    say(HG_CLIENT_HELLO);
    box_full = true;
    say(HG_CLIENT_ATTACH);
    expect_free();
    CU_ASSERT_EQUAL(letter_count, 0);
    teardown();
}

static void test_out_of_order(void)
{
    setup();
    say(HG_CLIENT_ATTACH); /* before HELLO */
    expect_free();
    teardown();
    setup();
    hk->now_ns = HG_HOUSEKEEPING_HELLO_NS_MAX + 1;
    hg_housekeeping_connections_tick(hk); /* says nothing */
    expect_free();
    teardown();
}

static void attach_to(const char *stream)
{
    union hg_client_message message;
    hg_client_message_init(&message, HG_CLIENT_ATTACH);
    snprintf(message.attach.name, sizeof(message.attach.name), "%s", stream);
    message.attach.flags = HG_CLIENT_ATTACH_SUBSCRIBE;
    CU_ASSERT_EQUAL(hg_client_message_send(client_socket, &message, NULL, 0), 0);
    hg_housekeeping_connection(hk, 0);
}

/* Streams of two workers: a memory at each, and the place is free when both have let go. Before the logs are
 * read back nothing is asked of anyone. */
static void test_two_workers(void)
{
    static struct hg_places places;
    setup();
    hk->placed = false;
    memset(&places, 0, sizeof(places));
    places.worker = 1;
    places.count = 1;
    snprintf(places.table[0].name, sizeof(places.table[0].name), "old");
    say(HG_CLIENT_HELLO);
    CU_ASSERT_TRUE(hg_housekeeping_connection_waits(hk, 0));
    attach_to("new");
    CU_ASSERT_EQUAL(letter_count, 0);
    hg_placement_hold(&hk->placement, &places);
    hk->placed = true;
    hk->applied->stream_count = 1;
    snprintf(hk->applied->streams[0].name, sizeof(hk->applied->streams[0].name), "new");
    hk->applied->streams[0].place = 1;
    CU_ASSERT_FALSE(hg_housekeeping_connection_waits(hk, 0));
    hg_housekeeping_connection(hk, 0);
    CU_ASSERT_EQUAL(letter_count, 2);
    CU_ASSERT_EQUAL(letter_worker, 0);
    attach_to("old");
    CU_ASSERT_EQUAL(letter_count, 4);
    CU_ASSERT_EQUAL(letter_worker, 1);
    CU_ASSERT_PTR_EQUAL(letters[2].pointer, &hk->connections[0].links[1]->ring);
    attach_to("unknown");
    CU_ASSERT_EQUAL(letter_count, 5);
    CU_ASSERT_EQUAL(letter_worker, 0);
    hang_up();
    CU_ASSERT_EQUAL(closes(), 2);
    worker_says(HG_LETTER_CLIENT_CLOSED);
    CU_ASSERT(hk->connections[0].socket >= 0);
    CU_ASSERT_PTR_NOT_NULL(hk->connections[0].links[1]);
    struct hg_letter closed = {.type = HG_LETTER_CLIENT_CLOSED, .client = 0};
    hg_housekeeping_client_letter(hk, 1, &closed);
    expect_free();
    CU_ASSERT_PTR_NULL(hk->connections[0].links[1]);
    teardown();
}

#define DIRECTORY "/tmp/hg-accept-XXXXXX"

static void listen_in(char *directory, char path[64])
{
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(directory));
    snprintf(path, 64, "%s/s", directory);
    CU_ASSERT_EQUAL_FATAL(hg_client_listener_open(&node.listener, path, 0600), 0);
}

static void listen_end(const char *directory, char path[64])
{
    hg_client_listener_close(&node.listener);
    strncat(path, ".lock", 64 - strlen(path) - 1);
    (void)unlink(path);
    CU_ASSERT_EQUAL(rmdir(directory), 0);
}

/* No descriptor left: whoever connects waits, the listener isn't watched for a while, and is again. */
static void test_no_descriptors(void)
{
    char directory[] = DIRECTORY, path[64];
    struct rlimit all, few;
    setup();
    listen_in(directory, path);
    hk->now_ns = HG_NS_PER_S;
    int waiting = hg_client_socket_connect(path);
    CU_ASSERT_FATAL(waiting >= 0);
    CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_NOFILE, &all), 0);
    few = all;
    few.rlim_cur = 0; /* every new descriptor is too many */
    CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_NOFILE, &few), 0);
    said_count = 0;
    CU_ASSERT_EQUAL(hg_housekeeping_accept_socket(hk), node.listener.socket);
    hg_housekeeping_accept(hk);
    CU_ASSERT_EQUAL(hk->accept_failed_count, 1);
    CU_ASSERT_EQUAL(said_count, 1);
    CU_ASSERT_STRING_EQUAL(said, "accept_failed");
    CU_ASSERT_EQUAL(hg_housekeeping_accept_socket(hk), -1);
    hk->now_ns += HG_HOUSEKEEPING_ACCEPT_AGAIN_NS;
    CU_ASSERT_EQUAL(hg_housekeeping_accept_socket(hk), node.listener.socket);
    hg_housekeeping_accept(hk);
    CU_ASSERT_EQUAL(hk->accept_failed_count, 2);
    CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_NOFILE, &all), 0);
    hk->now_ns += HG_HOUSEKEEPING_ACCEPT_AGAIN_NS;
    hg_housekeeping_accept(hk);
    CU_ASSERT_EQUAL(hk->accept_failed_count, 2);
    CU_ASSERT(hk->connections[1].socket >= 0);
    CU_ASSERT_EQUAL(hg_housekeeping_accept_socket(hk), node.listener.socket);
    close(hk->connections[1].socket);
    close(waiting);
    listen_end(directory, path);
    teardown();
}

static int connect_and_greet(const char *path)
{
    union hg_client_message message;
    int descriptor = hg_client_socket_connect(path);
    CU_ASSERT_FATAL(descriptor >= 0);
    hg_client_message_init(&message, HG_CLIENT_HELLO);
    message.hello.abi = HG_CLIENT_ABI;
    message.hello.name[0] = 'c';
    CU_ASSERT_EQUAL(hg_client_message_send(descriptor, &message, NULL, 0), 0);
    return descriptor;
}

/* Places are for the living: who hung up before he was taken in, or while the logs are read back, has none.
 */
static void test_gone_before(void)
{
    char directory[] = DIRECTORY, path[64];
    int waiting[HG_HOUSEKEEPING_CONNECTIONS_MAX - 1];
    setup();
    listen_in(directory, path);
    hk->placed = false;
    said_count = 0;
    for (uint32_t i = 0; i < HG_HOUSEKEEPING_CONNECTIONS_MAX; i++)
        close(connect_and_greet(path));
    int last = connect_and_greet(path);
    hg_housekeeping_accept(hk);
    CU_ASSERT_EQUAL(said_count, 0);
    CU_ASSERT_TRUE(hk->connections[1].socket >= 0 && hk->connections[1].known);
    for (uint32_t i = 2; i < HG_HOUSEKEEPING_CONNECTIONS_MAX; i++)
        CU_ASSERT_EQUAL(hk->connections[i].socket, -1);
    for (uint32_t i = 2; i < HG_HOUSEKEEPING_CONNECTIONS_MAX; i++)
        waiting[i - 2] = connect_and_greet(path);
    hg_housekeeping_accept(hk);
    close(waiting[5]);
    for (uint32_t i = 1; i < HG_HOUSEKEEPING_CONNECTIONS_MAX; i++)
        hg_housekeeping_connection(hk, i);
    CU_ASSERT_EQUAL(hk->connections[7].socket, -1);
    waiting[5] = connect_and_greet(path);
    hg_housekeeping_accept(hk);
    CU_ASSERT_TRUE(hk->connections[7].socket >= 0 && hk->connections[7].known);
    CU_ASSERT_EQUAL(said_count, 0);
    int too_many = connect_and_greet(path); /* all are alive */
    hg_housekeeping_accept(hk);
    CU_ASSERT_EQUAL(said_count, 1);
    CU_ASSERT_STRING_EQUAL(said, "client_refused");
    close(too_many);
    close(last);
    for (uint32_t i = 2; i < HG_HOUSEKEEPING_CONNECTIONS_MAX; i++)
        close(waiting[i - 2]);
    for (uint32_t i = 1; i < HG_HOUSEKEEPING_CONNECTIONS_MAX; i++) {
        hg_housekeeping_connection(hk, i);
        CU_ASSERT_EQUAL(hk->connections[i].socket, -1);
    }
    listen_end(directory, path);
    teardown();
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("housekeeping_clients", NULL, NULL);
    CU_add_test(suite, "hang up", test_hang_up);
    CU_add_test(suite, "poisoned while closing", test_poisoned_while_closing);
    CU_add_test(suite, "the worker's box is full when closing", test_box_full_when_closing);
    CU_add_test(suite, "the worker's box is full when attaching", test_box_full_when_attaching);
    CU_add_test(suite, "out of order", test_out_of_order);
    CU_add_test(suite, "two workers", test_two_workers);
    CU_add_test(suite, "no descriptors", test_no_descriptors);
    CU_add_test(suite, "gone before", test_gone_before);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0;
}
