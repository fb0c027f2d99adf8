/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/ipc/control_socket.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

union ancillary {
    struct cmsghdr align;
    uint8_t bytes[CMSG_SPACE(sizeof(int) * HG_CONTROL_RING_FDS)];
};

static void message_init(struct hg_control_socket_message *message, enum hg_control_socket_type type)
{
    memset(message, 0, sizeof(*message));
    message->magic = HG_CONTROL_SOCKET_MAGIC;
    message->type = (uint16_t)type;
    message->bytes = (uint16_t)sizeof(*message);
    message->abi = HG_CONTROL_ABI;
    message->pid = (uint32_t)getpid();
}

static bool message_valid(const struct hg_control_socket_message *message, ssize_t bytes)
{
    return bytes == (ssize_t)sizeof(*message) && message->magic == HG_CONTROL_SOCKET_MAGIC &&
           message->bytes == sizeof(*message) && memchr(message->text, '\0', sizeof(message->text)) != NULL;
}

static int message_send(int socket, const struct hg_control_socket_message *message, const int *fds)
{
    struct iovec vector = {.iov_base = (void *)(uintptr_t)message, .iov_len = sizeof(*message)};
    union ancillary control;
    struct msghdr header = {.msg_iov = &vector, .msg_iovlen = 1};

    if (fds != NULL) {
        memset(&control, 0, sizeof(control));
        header.msg_control = control.bytes;
        header.msg_controllen = sizeof(control.bytes);
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&header);

        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int) * HG_CONTROL_RING_FDS);
        memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * HG_CONTROL_RING_FDS);
    }
    return sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof(*message) ? 0 : -errno;
}

int hg_control_socket_peek(int socket)
{
    uint32_t magic = 0;
    ssize_t got = recv(socket, &magic, sizeof(magic), MSG_PEEK | MSG_DONTWAIT);

    if (got < 0)
        return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    if (got == 0)
        return -ECONNRESET;
    return got == sizeof(magic) && magic == HG_CONTROL_SOCKET_MAGIC;
}

static int refuse(int socket, int code, const char *text)
{
    struct hg_control_socket_message message;

    message_init(&message, HG_CONTROL_SOCKET_REFUSED);
    message.code = code;
    snprintf(message.text, sizeof(message.text), "%s", text);
    message_send(socket, &message, NULL);
    return code;
}

int hg_control_socket_answer(int socket, const struct hg_control_ring *ring, const char *text)
{
    struct hg_control_socket_message message;
    struct ucred peer = {0};
    socklen_t peer_bytes = sizeof(peer);
    ssize_t got = recv(socket, &message, sizeof(message), MSG_DONTWAIT);

    if (got < 0)
        return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    if (!message_valid(&message, got) || message.type != HG_CONTROL_SOCKET_HELLO)
        return refuse(socket, -EPROTO, "the first packet was no HELLO of a control plane");
    if (message.abi != HG_CONTROL_ABI)
        return refuse(socket, -EPROTO,
                      "control plane and dataplane are of different versions; install both from one");
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &peer_bytes) < 0 ||
        (peer.uid != geteuid() && peer.uid != 0))
        return refuse(socket, -EACCES, "the control plane runs as another user than the dataplane");
    if (ring == NULL)
        return refuse(socket, -EBUSY, text);
    message_init(&message, HG_CONTROL_SOCKET_WELCOME);
    message.boot = ring->boot;
    return message_send(socket, &message, ring->fds);
}

int hg_control_socket_connect(const char *path)
{
    struct hg_control_socket_message message;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int socket_fd, rc;

    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    socket_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (socket_fd < 0)
        return -errno;
    rc = connect(socket_fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
    if (rc == 0) {
        message_init(&message, HG_CONTROL_SOCKET_HELLO);
        rc = message_send(socket_fd, &message, NULL);
    }
    if (rc < 0) {
        close(socket_fd);
        return rc;
    }
    return socket_fd;
}

/* Descriptors that came: taken over into fds, and closed when there are not exactly three. */
static bool take_fds(struct msghdr *header, int fds[HG_CONTROL_RING_FDS])
{
    uint32_t count = 0;

    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(header); cmsg != NULL; cmsg = CMSG_NXTHDR(header, cmsg)) {
        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i < (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(fd));
            if (count < HG_CONTROL_RING_FDS)
                fds[count++] = fd;
            else
                close(fd);
        }
    }
    if (count == HG_CONTROL_RING_FDS && (header->msg_flags & MSG_CTRUNC) == 0)
        return true;
    for (uint32_t i = 0; i < count; i++)
        close(fds[i]);
    return false;
}

int hg_control_socket_receive(int socket, int fds[HG_CONTROL_RING_FDS], char text[HG_CONTROL_TEXT_BYTES])
{
    struct hg_control_socket_message message;
    struct iovec vector = {.iov_base = &message, .iov_len = sizeof(message)};
    union ancillary control;
    struct msghdr header = {.msg_iov = &vector,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof(control.bytes)};
    ssize_t got;
    bool fds_came;

    memset(&control, 0, sizeof(control));
    got = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0)
        return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    if (got == 0)
        return -ECONNRESET;
    fds_came = take_fds(&header, fds);
    if (message_valid(&message, got) && message.type == HG_CONTROL_SOCKET_WELCOME && fds_came)
        return 1;
    for (int i = 0; fds_came && i < HG_CONTROL_RING_FDS; i++)
        close(fds[i]);
    if (!message_valid(&message, got) || message.type != HG_CONTROL_SOCKET_REFUSED)
        return -EPROTO;
    memcpy(text, message.text, HG_CONTROL_TEXT_BYTES);
    return 0;
}
