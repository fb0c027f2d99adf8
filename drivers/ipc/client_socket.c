/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages between client and dataplane, and the UNIX socket under them.
 */
#include "drivers/ipc/client_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

uint32_t hg_client_message_bytes(uint32_t type)
{
    switch (type) {
    case HG_CLIENT_HELLO:
        return sizeof(struct hg_client_hello);
    case HG_CLIENT_WELCOME:
        return sizeof(struct hg_client_welcome);
    case HG_CLIENT_REFUSED:
        return sizeof(struct hg_client_refused);
    case HG_CLIENT_ATTACH:
        return sizeof(struct hg_client_attach);
    case HG_CLIENT_ANSWER:
        return sizeof(struct hg_client_answer);
    case HG_CLIENT_DETACH:
        return sizeof(struct hg_client_detach);
    default:
        return 0;
    }
}

void hg_client_message_init(union hg_client_message *message, enum hg_client_message_type type)
{
    memset(message, 0, sizeof(*message));
    message->head.magic = HG_CLIENT_MESSAGE_MAGIC;
    message->head.type = (uint16_t)type;
    message->head.bytes = (uint16_t)hg_client_message_bytes(type);
    hg_assert(message->head.bytes > 0);
}

static bool name_byte_valid(char byte)
{
    return byte > ' ' && byte < 0x7f && byte != '/';
}

/* Terminated inside, zero after the end, printable; empty only when allowed. */
static bool name_valid(const char *name, bool empty_allowed)
{
    size_t length = strnlen(name, HG_CLIENT_NAME_BYTES);
    if (length == HG_CLIENT_NAME_BYTES || (length == 0 && !empty_allowed))
        return false;
    for (size_t i = 0; i < HG_CLIENT_NAME_BYTES; i++)
        if (i < length ? !name_byte_valid(name[i]) : name[i] != '\0')
            return false;
    return true;
}

int hg_client_name_copy(char *target, const char *name)
{
    size_t length = strnlen(name, HG_CLIENT_NAME_BYTES);
    if (length == 0 || length == HG_CLIENT_NAME_BYTES)
        return -EINVAL;
    for (size_t i = 0; i < length; i++)
        if (!name_byte_valid(name[i]))
            return -EINVAL;
    memset(target, 0, HG_CLIENT_NAME_BYTES);
    memcpy(target, name, length);
    return 0;
}

static bool text_valid(const char *text)
{
    return memchr(text, '\0', HG_CLIENT_TEXT_BYTES) != NULL;
}

static bool attach_valid(const struct hg_client_attach *attach)
{
    uint32_t ring_bytes = attach->append_ring_bytes;
    return name_valid(attach->name, false) && name_valid(attach->consumer, true) && attach->flags != 0 &&
           (attach->flags & ~(HG_CLIENT_ATTACH_APPEND | HG_CLIENT_ATTACH_SUBSCRIBE)) == 0 &&
           (ring_bytes == 0 ||
            (ring_bytes >= HG_CLIENT_RING_BYTES_MIN && (ring_bytes & (ring_bytes - 1)) == 0));
}

static bool answer_valid(const struct hg_client_answer *answer)
{
    if (answer->code > 0 || (answer->flags & ~HG_CLIENT_ANSWER_MEMORY) != 0 || !text_valid(answer->text))
        return false;
    if (answer->code != 0)
        return answer->flags == 0;
    return answer->worker < HG_CLIENT_WORKERS_MAX && answer->slot < HG_CLIENT_SLOTS &&
           answer->attachment != 0 && answer->kind >= 1 && answer->kind <= 3;
}

int hg_client_message_check(const union hg_client_message *message, size_t bytes)
{
    if (bytes < sizeof(message->head) || message->head.magic != HG_CLIENT_MESSAGE_MAGIC)
        return -EBADMSG;
    uint32_t expected_bytes = hg_client_message_bytes(message->head.type);
    if (expected_bytes == 0 || bytes != expected_bytes || message->head.bytes != expected_bytes)
        return -EBADMSG;
    bool valid = false;
    switch (message->head.type) {
    case HG_CLIENT_HELLO:
        valid = name_valid(message->hello.name, false);
        break;
    case HG_CLIENT_WELCOME:
        valid = message->welcome.boot != 0;
        break;
    case HG_CLIENT_REFUSED:
        valid = message->refused.code < 0 && text_valid(message->refused.text);
        break;
    case HG_CLIENT_ATTACH:
        valid = attach_valid(&message->attach);
        break;
    case HG_CLIENT_ANSWER:
        valid = answer_valid(&message->answer);
        break;
    case HG_CLIENT_DETACH:
        valid = message->detach.worker < HG_CLIENT_WORKERS_MAX && message->detach.slot < HG_CLIENT_SLOTS;
        break;
    default:
        break;
    }
    return valid ? 0 : -EBADMSG;
}

int hg_client_message_send(int socket, const union hg_client_message *message, const int *descriptors,
                           uint32_t descriptor_count)
{
    hg_assert(descriptor_count <= HG_CLIENT_DESCRIPTORS);
    struct iovec part = {.iov_base = (void *)(uintptr_t)message, .iov_len = message->head.bytes};
    union {
        struct cmsghdr head;
        uint8_t bytes[CMSG_SPACE(HG_CLIENT_DESCRIPTORS * sizeof(int))];
    } control;
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    if (descriptor_count > 0) {
        memset(&control, 0, sizeof(control));
        header.msg_control = control.bytes;
        header.msg_controllen = CMSG_SPACE(descriptor_count * sizeof(int));
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(descriptor_count * sizeof(int));
        memcpy(CMSG_DATA(rights), descriptors, descriptor_count * sizeof(int));
    }
    ssize_t sent;
    do
        sent = sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return -errno;
    return sent == (ssize_t)message->head.bytes ? 0 : -EMSGSIZE;
}

/* Takes descriptors out of the control data; more than fit are closed. Returns how many there were. */
static uint32_t descriptors_take(struct msghdr *header, int *descriptors)
{
    uint32_t count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c != NULL; c = CMSG_NXTHDR(header, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int descriptor;
            memcpy(&descriptor, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (count < HG_CLIENT_DESCRIPTORS)
                descriptors[count] = descriptor;
            else
                close(descriptor);
            count++;
        }
    }
    return count;
}

int hg_client_message_receive(int socket, union hg_client_message *message, int *descriptors)
{
    for (uint32_t i = 0; i < HG_CLIENT_DESCRIPTORS; i++)
        descriptors[i] = -1;
    memset(message, 0, sizeof(*message));
    struct iovec part = {.iov_base = message, .iov_len = sizeof(*message)};
    union {
        struct cmsghdr head;
        uint8_t bytes[CMSG_SPACE(8 * sizeof(int))];
    } control;
    struct msghdr header = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control)};
    ssize_t received;
    do
        received = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (received < 0 && errno == EINTR);
    if (received < 0)
        return errno == ECONNRESET ? 0 : -errno;
    uint32_t count = descriptors_take(&header, descriptors);
    if (received == 0 && count == 0)
        return 0;
    int rc = (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0
                 ? -EBADMSG
                 : hg_client_message_check(message, (size_t)received);
    if (rc == 0) {
        bool wanted =
            message->head.type == HG_CLIENT_ANSWER && (message->answer.flags & HG_CLIENT_ANSWER_MEMORY) != 0;
        if (count != (wanted ? HG_CLIENT_DESCRIPTORS : 0))
            rc = -EBADMSG;
    }
    if (rc == 0)
        return 1;
    for (uint32_t i = 0; i < HG_CLIENT_DESCRIPTORS; i++) {
        if (descriptors[i] >= 0)
            close(descriptors[i]);
        descriptors[i] = -1;
    }
    return rc;
}

int hg_client_peer_get(int socket, struct hg_client_peer *peer)
{
    struct ucred credentials;
    socklen_t bytes = sizeof(credentials);
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &bytes) != 0)
        return -errno;
    *peer = (struct hg_client_peer){.pid = credentials.pid, .uid = credentials.uid, .gid = credentials.gid};
    return 0;
}

static int address_make(struct sockaddr_un *address, const char *path)
{
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof(address->sun_path))
        return -ENAMETOOLONG;
    memcpy(address->sun_path, path, length);
    return 0;
}

/* The lock outlives nothing: the kernel drops it with the process, so a socket without a lock is a dead
 * one's. */
static int lock_take(const char *path)
{
    char lock_path[sizeof(((struct hg_client_listener *)0)->path) + 8];
    int length = snprintf(lock_path, sizeof(lock_path), "%s.lock", path);
    if (length < 0 || (size_t)length >= sizeof(lock_path))
        return -ENAMETOOLONG;
    int lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (lock < 0)
        return -errno;
    if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
        int error = errno == EWOULDBLOCK ? EADDRINUSE : errno;
        close(lock);
        return -error;
    }
    return lock;
}

/* Bound under a temporary name with no rights, given its mode, then renamed: nobody connects to it before
 * that. */
static int listener_bind(int descriptor, const char *path, mode_t mode)
{
    char temporary[sizeof(((struct hg_client_listener *)0)->path)];
    int length = snprintf(temporary, sizeof(temporary), "%s.new", path);
    if (length < 0 || (size_t)length >= sizeof(temporary))
        return -ENAMETOOLONG;
    struct sockaddr_un address;
    int rc = address_make(&address, temporary);
    if (rc != 0)
        return rc;
    if (unlink(temporary) != 0 && errno != ENOENT)
        return -errno;
    if (bind(descriptor, (struct sockaddr *)&address, sizeof(address)) != 0)
        return -errno;
    if (chmod(temporary, mode) != 0 || listen(descriptor, 64) != 0 || rename(temporary, path) != 0) {
        rc = -errno;
        unlink(temporary);
        return rc;
    }
    return 0;
}

int hg_client_listener_open(struct hg_client_listener *listener, const char *path, mode_t mode)
{
    *listener = (struct hg_client_listener){.socket = -1, .lock = -1};
    struct sockaddr_un address;
    int rc = address_make(&address, path);
    if (rc != 0)
        return rc;
    int lock = lock_take(path);
    if (lock < 0)
        return lock;
    int descriptor = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    rc = descriptor < 0 ? -errno : listener_bind(descriptor, path, mode);
    if (rc != 0) {
        if (descriptor >= 0)
            close(descriptor);
        close(lock);
        return rc;
    }
    listener->socket = descriptor;
    listener->lock = lock;
    memcpy(listener->path, path, strlen(path) + 1);
    return 0;
}

int hg_client_listener_accept(struct hg_client_listener *listener)
{
    int descriptor;
    do
        descriptor = accept4(listener->socket, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    while (descriptor < 0 && (errno == EINTR || errno == ECONNABORTED));
    return descriptor < 0 ? -errno : descriptor;
}

void hg_client_listener_close(struct hg_client_listener *listener)
{
    if (listener->socket >= 0) {
        unlink(listener->path);
        close(listener->socket);
    }
    if (listener->lock >= 0)
        close(listener->lock);
    *listener = (struct hg_client_listener){.socket = -1, .lock = -1};
}

int hg_client_socket_connect(const char *path)
{
    struct sockaddr_un address;
    int rc = address_make(&address, path);
    if (rc != 0)
        return rc;
    int descriptor = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0)
        return -errno;
    if (connect(descriptor, (struct sockaddr *)&address, sizeof(address)) != 0) {
        rc = -errno;
        close(descriptor);
        return rc;
    }
    return descriptor;
}
