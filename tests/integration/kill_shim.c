/* SPDX-License-Identifier: Apache-2.0
 *
 * To be preloaded into a program of ours: at the marked call it dies at once, as by kill -9. Only calls that
 * leave something behind for others are marks: what a disk, a peer, a client or the next life sees may differ
 * on either side of one.
 *
 *     HELIO_KILL=MARK:N:before|after
 *
 * MARK: submit (of I/O to the log's ring), sendmsg, recvmsg, write (doorbells and files), rename, fsync. The
 * Nth call of it, counted from 1 over all threads. Without HELIO_KILL nothing happens.
 *
 *     HELIO_KILL_SAYS=TEXT
 *
 * Calls count from when the program prints a line with TEXT on; the mark `say` is that line itself.
 */
#include <dlfcn.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

struct io_uring;
int io_uring_submit_and_get_events(struct io_uring *ring);

static char mark[16];
static unsigned long wanted;
static bool is_after;
static atomic_ulong count;
static const char *said; /* NULL: from the beginning */
static atomic_bool is_said;

__attribute__((constructor)) static void shim_start(void)
{
    char side[8] = "";
    const char *text = getenv("HELIO_KILL");
    if (text == NULL)
        return;
    if (sscanf(text, "%15[a-z]:%lu:%7s", mark, &wanted, side) != 3 || wanted == 0) {
        fprintf(stderr, "HELIO_KILL=%s is not MARK:N:before|after\n", text);
        _exit(2);
    }
    is_after = strcmp(side, "after") == 0;
    said = getenv("HELIO_KILL_SAYS");
}

/* No handler, no buffer written out, no other thread one step further than it is. */
static void die(void)
{
    syscall(SYS_kill, getpid(), SIGKILL);
}

/* True when the process is to die after this call; dies itself when it is to die before it. */
static bool mark_is_here(const char *name)
{
    if (wanted == 0 || (said != NULL && !atomic_load(&is_said)) || strcmp(name, mark) != 0 ||
        atomic_fetch_add(&count, 1) + 1 != wanted)
        return false;
    if (!is_after)
        die();
    return true;
}

/* Calls the function that this one stands before, and dies behind it if that is the mark. */
#define MARKED(name, type, function, parameters, arguments)                                                  \
    type function parameters                                                                                 \
    {                                                                                                        \
        static type(*next) parameters;                                                                       \
        if (next == NULL)                                                                                    \
            next = (type(*) parameters)dlsym(RTLD_NEXT, #function);                                          \
        bool is_last = mark_is_here(name);                                                                   \
        type result = next arguments;                                                                        \
        if (is_last)                                                                                         \
            die();                                                                                           \
        return result;                                                                                       \
    }

MARKED("submit", int, io_uring_submit_and_get_events, (struct io_uring * ring), (ring))
MARKED("sendmsg", ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags))
MARKED("recvmsg", ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags))
MARKED("write", ssize_t, write, (int fd, const void *data, size_t bytes), (fd, data, bytes))
MARKED("write", int, eventfd_write, (int fd, eventfd_t value), (fd, value))
MARKED("rename", int, rename, (const char *from, const char *to), (from, to))
MARKED("rename", int, renameat, (int from_fd, const char *from, int to_fd, const char *to),
       (from_fd, from, to_fd, to))
MARKED("fsync", int, fsync, (int fd), (fd))

int fprintf(FILE *file, const char *format, ...)
{
    char line[1024];
    va_list arguments;
    bool is_it = false, is_last = false;
    if (said != NULL) {
        va_start(arguments, format);
        vsnprintf(line, sizeof(line), format, arguments);
        va_end(arguments);
        is_it = strstr(line, said) != NULL;
    }
    if (is_it) {
        atomic_store(&is_said, true);
        is_last = mark_is_here("say");
    }
    va_start(arguments, format);
    int result = vfprintf(file, format, arguments);
    va_end(arguments);
    if (is_last)
        die();
    return result;
}
