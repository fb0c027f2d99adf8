/* SPDX-License-Identifier: Apache-2.0
 *
 * Packets from anyone on the client socket: checked as they come, and once more through a real socket with 0
 * to 5 descriptors, none of which may be lost.
 */
#include "drivers/ipc/client_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t bytes);

/* What passed has no unterminated text and no index out of range. */
static void sound(const union hg_client_message *message)
{
    switch (message->head.type) {
    case HG_CLIENT_HELLO:
        hg_assert(strnlen(message->hello.name, HG_CLIENT_NAME_BYTES) < HG_CLIENT_NAME_BYTES);
        break;
    case HG_CLIENT_REFUSED:
        hg_assert(strnlen(message->refused.text, HG_CLIENT_TEXT_BYTES) < HG_CLIENT_TEXT_BYTES);
        break;
    case HG_CLIENT_ATTACH:
        hg_assert(strnlen(message->attach.name, HG_CLIENT_NAME_BYTES) < HG_CLIENT_NAME_BYTES);
        hg_assert(strnlen(message->attach.consumer, HG_CLIENT_NAME_BYTES) < HG_CLIENT_NAME_BYTES);
        hg_assert(message->attach.flags != 0);
        break;
    case HG_CLIENT_ANSWER:
        hg_assert(strnlen(message->answer.text, HG_CLIENT_TEXT_BYTES) < HG_CLIENT_TEXT_BYTES);
        hg_assert(message->answer.code != 0 ||
                  (message->answer.slot < HG_CLIENT_SLOTS && message->answer.worker < HG_CLIENT_WORKERS_MAX));
        break;
    case HG_CLIENT_DETACH:
        hg_assert(message->detach.slot < HG_CLIENT_SLOTS && message->detach.worker < HG_CLIENT_WORKERS_MAX);
        break;
    default:
        hg_assert(message->head.type == HG_CLIENT_WELCOME);
        break;
    }
}

static void send_raw(int socket, const void *packet, size_t bytes, uint32_t descriptor_count)
{
    int descriptors[5] = {socket, socket, socket, socket, socket};
    struct iovec part = {.iov_base = (void *)(uintptr_t)packet, .iov_len = bytes};
    union {
        struct cmsghdr head;
        uint8_t bytes[CMSG_SPACE(sizeof(descriptors))];
    } control;
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    memset(&control, 0, sizeof(control));
    if (descriptor_count > 0) {
        header.msg_control = control.bytes;
        header.msg_controllen = CMSG_SPACE(descriptor_count * sizeof(int));
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(descriptor_count * sizeof(int));
        memcpy(CMSG_DATA(rights), descriptors, descriptor_count * sizeof(int));
    }
    hg_assert(sendmsg(socket, &header, MSG_NOSIGNAL) == (ssize_t)bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t bytes)
{
    union hg_client_message message;
    if (bytes < 3)
        return 0;
    uint32_t descriptor_count = input[0] % 6;
    bool shaped = (input[1] & 1) != 0;
    uint32_t type = input[1] / 2 % 8;
    input += 2;
    bytes -= 2;
    bytes = bytes < sizeof(message) ? bytes : sizeof(message);
    memset(&message, 0, sizeof(message));
    memcpy(&message, input, bytes);
    if (shaped && hg_client_message_bytes(type) > 0) { /* a right head before any content */
        message.head.magic = HG_CLIENT_MESSAGE_MAGIC;
        message.head.type = (uint16_t)type;
        message.head.bytes = (uint16_t)hg_client_message_bytes(type);
        bytes = message.head.bytes;
    }
    bool passes = hg_client_message_check(&message, bytes) == 0;
    if (passes)
        sound(&message);

    static int pair[2] = {-1, -1};
    if (pair[0] < 0)
        hg_assert(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    int probe = dup(pair[0]); /* the lowest free number: the same again at the end, when nothing leaked */
    close(probe);
    send_raw(pair[0], &message, bytes, descriptor_count);
    union hg_client_message got;
    int descriptors[HG_CLIENT_DESCRIPTORS];
    int rc = hg_client_message_receive(pair[1], &got, descriptors);
    hg_assert(rc != 1 || passes);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < HG_CLIENT_DESCRIPTORS; i++) {
        if (descriptors[i] >= 0) {
            kept++;
            close(descriptors[i]);
        }
    }
    hg_assert(kept == 0 || (rc == 1 && kept == HG_CLIENT_DESCRIPTORS && descriptor_count == kept));
    int again = dup(pair[0]);
    hg_assert(again == probe);
    close(again);
    return 0;
}
