/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages of the client socket: every check, descriptors, ends of connections.
 */
#include "drivers/ipc/client_socket.h"

#include <CUnit/Basic.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

static uint32_t descriptors_open(void)
{
    uint32_t count = 0;
    DIR *directory = opendir("/proc/self/fd");
    hg_assert(directory != NULL);
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

static union hg_client_message message_good(uint32_t type)
{
    union hg_client_message message;
    hg_client_message_init(&message, (enum hg_client_message_type)type);
    switch (type) {
    case HG_CLIENT_HELLO:
        hg_assert(hg_client_name_copy(message.hello.name, "helio-postgres") == 0);
        break;
    case HG_CLIENT_WELCOME:
        message.welcome.boot = 1;
        break;
    case HG_CLIENT_REFUSED:
        message.refused.code = -2;
        break;
    case HG_CLIENT_ATTACH:
        hg_assert(hg_client_name_copy(message.attach.name, "orders") == 0);
        message.attach.flags = HG_CLIENT_ATTACH_APPEND;
        break;
    case HG_CLIENT_ANSWER:
        message.answer.attachment = 1;
        message.answer.kind = 1;
        break;
    default:
        break;
    }
    return message;
}

static int check(const union hg_client_message *message)
{
    return hg_client_message_check(message, message->head.bytes);
}

static void test_good_and_sizes(void)
{
    for (uint32_t type = HG_CLIENT_HELLO; type <= HG_CLIENT_DETACH; type++) {
        union hg_client_message message = message_good(type);
        size_t bytes = hg_client_message_bytes(type);
        CU_ASSERT_EQUAL(hg_client_message_check(&message, bytes), 0);
        for (size_t i = 0; i < sizeof(message) + 8; i++)
            if (i != bytes)
                CU_ASSERT_EQUAL(hg_client_message_check(&message, i), -EBADMSG);
        message.head.magic ^= 1;
        CU_ASSERT_EQUAL(check(&message), -EBADMSG);
        message = message_good(type);
        message.head.bytes++;
        CU_ASSERT_EQUAL(hg_client_message_check(&message, bytes), -EBADMSG);
    }
    CU_ASSERT_EQUAL(hg_client_message_bytes(0), 0);
    CU_ASSERT_EQUAL(hg_client_message_bytes(7), 0);
}

#define REFUSED(type, edit)                                                                                  \
    do {                                                                                                     \
        union hg_client_message m = message_good(type);                                                      \
        edit;                                                                                                \
        CU_ASSERT_EQUAL(hg_client_message_check(&m, hg_client_message_bytes(type)), -EBADMSG);               \
    } while (0)

static void test_refused(void)
{
    REFUSED(HG_CLIENT_HELLO, m.hello.name[0] = 0);
    REFUSED(HG_CLIENT_HELLO, memset(m.hello.name, 'a', sizeof(m.hello.name)));
    REFUSED(HG_CLIENT_HELLO, m.hello.name[3] = '/');
    REFUSED(HG_CLIENT_HELLO, m.hello.name[3] = '\n');
    REFUSED(HG_CLIENT_HELLO, m.hello.name[3] = (char)0xc3);
    REFUSED(HG_CLIENT_HELLO, m.hello.name[30] = 'x'); /* after the end */
    REFUSED(HG_CLIENT_WELCOME, m.welcome.boot = 0);
    REFUSED(HG_CLIENT_REFUSED, m.refused.code = 0);
    REFUSED(HG_CLIENT_REFUSED, memset(m.refused.text, 'a', sizeof(m.refused.text)));
    REFUSED(HG_CLIENT_ATTACH, m.attach.flags = 0);
    REFUSED(HG_CLIENT_ATTACH, m.attach.flags = 4);
    REFUSED(HG_CLIENT_ATTACH, m.attach.name[0] = 0);
    REFUSED(HG_CLIENT_ATTACH, memset(m.attach.consumer, 'a', sizeof(m.attach.consumer)));
    REFUSED(HG_CLIENT_ATTACH, m.attach.append_ring_bytes = 3 << 20);
    REFUSED(HG_CLIENT_ATTACH, m.attach.append_ring_bytes = 2048);
    REFUSED(HG_CLIENT_ANSWER, m.answer.code = 1);
    REFUSED(HG_CLIENT_ANSWER, m.answer.flags = 2);
    REFUSED(HG_CLIENT_ANSWER, m.answer.slot = HG_CLIENT_SLOTS);
    REFUSED(HG_CLIENT_ANSWER, m.answer.worker = HG_CLIENT_WORKERS_MAX);
    REFUSED(HG_CLIENT_ANSWER, m.answer.attachment = 0);
    REFUSED(HG_CLIENT_ANSWER, m.answer.kind = 0);
    REFUSED(HG_CLIENT_ANSWER, m.answer.kind = 4);
    REFUSED(HG_CLIENT_ANSWER, memset(m.answer.text, 'a', sizeof(m.answer.text)));
    REFUSED(HG_CLIENT_ANSWER, (m.answer.code = -2, m.answer.flags = HG_CLIENT_ANSWER_MEMORY));
    REFUSED(HG_CLIENT_DETACH, m.detach.slot = HG_CLIENT_SLOTS);
    REFUSED(HG_CLIENT_DETACH, m.detach.worker = HG_CLIENT_WORKERS_MAX);
    char name[HG_CLIENT_NAME_BYTES];
    CU_ASSERT_EQUAL(hg_client_name_copy(name, ""), -EINVAL);
    CU_ASSERT_EQUAL(hg_client_name_copy(name, "a b"), -EINVAL);
    CU_ASSERT_EQUAL(hg_client_name_copy(name, "0123456789012345678901234567890"), 0);
    CU_ASSERT_EQUAL(hg_client_name_copy(name, "01234567890123456789012345678901"), -EINVAL);
}

static void test_descriptors(void)
{
    int pair[2], received[HG_CLIENT_DESCRIPTORS];
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    uint32_t open_before = descriptors_open();
    int sent[3] = {eventfd(1, 0), eventfd(2, 0), eventfd(3, 0)};
    union hg_client_message message = message_good(HG_CLIENT_ANSWER), got;
    CU_ASSERT_EQUAL(hg_client_message_receive(pair[1], &got, received), -EAGAIN);
    message.answer.flags = HG_CLIENT_ANSWER_MEMORY;
    CU_ASSERT_EQUAL(hg_client_message_send(pair[0], &message, sent, 3), 0);
    CU_ASSERT_EQUAL(hg_client_message_receive(pair[1], &got, received), 1);
    CU_ASSERT_EQUAL(memcmp(&got, &message, sizeof(message)), 0);
    for (uint64_t i = 0; i < 3; i++) {
        uint64_t count = 0;
        CU_ASSERT_EQUAL(read(received[i], &count, sizeof(count)), sizeof(count));
        CU_ASSERT_EQUAL(count, i + 1);
        CU_ASSERT_EQUAL(fcntl(received[i], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        close(received[i]);
    }
    /* too few, none, or some that nobody asked for: refused and closed */
    CU_ASSERT_EQUAL(hg_client_message_send(pair[0], &message, sent, 2), 0);
    CU_ASSERT_EQUAL(hg_client_message_receive(pair[1], &got, received), -EBADMSG);
    CU_ASSERT_EQUAL(hg_client_message_send(pair[0], &message, NULL, 0), 0);
    CU_ASSERT_EQUAL(hg_client_message_receive(pair[1], &got, received), -EBADMSG);
    message = message_good(HG_CLIENT_HELLO);
    CU_ASSERT_EQUAL(hg_client_message_send(pair[0], &message, sent, 3), 0);
    CU_ASSERT_EQUAL(hg_client_message_receive(pair[1], &got, received), -EBADMSG);
    CU_ASSERT_EQUAL(received[0], -1);
    for (int i = 0; i < 3; i++)
        close(sent[i]);
    CU_ASSERT_EQUAL(descriptors_open(), open_before);
    CU_ASSERT_EQUAL(send(pair[0], &message, 3, 0), 3);
    CU_ASSERT_EQUAL(hg_client_message_receive(pair[1], &got, received), -EBADMSG);
    uint8_t large[1000] = {0};
    CU_ASSERT_EQUAL(send(pair[0], large, sizeof(large), 0), sizeof(large));
    CU_ASSERT_EQUAL(hg_client_message_receive(pair[1], &got, received), -EBADMSG);
    close(pair[0]);
    CU_ASSERT_EQUAL(hg_client_message_receive(pair[1], &got, received), 0);
    CU_ASSERT_EQUAL(hg_client_message_send(pair[1], &message, NULL, 0), -EPIPE);
    close(pair[1]);
}

static void test_full_socket(void)
{
    int pair[2];
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    union hg_client_message message = message_good(HG_CLIENT_DETACH);
    int rc = 0;
    for (int i = 0; i < 100000 && rc == 0; i++)
        rc = hg_client_message_send(pair[0], &message, NULL, 0);
    CU_ASSERT_EQUAL(rc, -EAGAIN); /* never waits */
    close(pair[0]);
    close(pair[1]);
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("client_socket", NULL, NULL);
    CU_add_test(suite, "good messages and sizes", test_good_and_sizes);
    CU_add_test(suite, "refused messages", test_refused);
    CU_add_test(suite, "descriptors", test_descriptors);
    CU_add_test(suite, "a peer that does not read", test_full_socket);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures == 0 ? 0 : 1;
}
