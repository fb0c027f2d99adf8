/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/psk/psk.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIGITS (2 * HG_PSK_BYTES)

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static int file_check(const char *path, int fd, char *error, size_t error_bytes)
{
    struct stat st;
    if (fstat(fd, &st) != 0) {
        int rc = -errno;
        snprintf(error, error_bytes, "cannot examine the key file %s: %s", path, strerror(-rc));
        return rc;
    }
    if (!S_ISREG(st.st_mode)) {
        snprintf(error, error_bytes,
                 "the key file %s is not a regular file; name the file that holds the key", path);
        return -EINVAL;
    }
    if ((st.st_mode & 077) != 0) {
        snprintf(error, error_bytes,
                 "the key file %s has mode %04o: others may read or write the key; run: chmod 600 %s", path,
                 (unsigned)(st.st_mode & 07777), path);
        return -EACCES;
    }
    if (st.st_uid != geteuid() && st.st_uid != 0) {
        snprintf(error, error_bytes, "the key file %s belongs to user id %u; run: chown %u %s", path,
                 (unsigned)st.st_uid, (unsigned)geteuid(), path);
        return -EACCES;
    }
    return 0;
}

static ssize_t file_read(int fd, char *text, size_t text_bytes)
{
    size_t got = 0;
    while (got < text_bytes) {
        ssize_t n = read(fd, text + got, text_bytes - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        got += (size_t)n;
    }
    return (ssize_t)got;
}

static bool text_parse(const char *text, size_t bytes, uint8_t psk[HG_PSK_BYTES])
{
    if (bytes == DIGITS + 1 && text[DIGITS] == '\n')
        bytes--;
    if (bytes != DIGITS)
        return false;
    for (size_t i = 0; i < HG_PSK_BYTES; i++) {
        int high = digit_value(text[2 * i]), low = digit_value(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        psk[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

int hg_psk_load(const char *path, uint8_t psk[HG_PSK_BYTES], char *error, size_t error_bytes)
{
    char text[DIGITS + 2]; /* one more than fits, to see that the file ends */
    OPENSSL_cleanse(psk, HG_PSK_BYTES);
    int fd =
        open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* so that a pipe named by mistake does not hang us */
    if (fd < 0) {
        int rc = -errno;
        snprintf(error, error_bytes,
                 "cannot open the key file %s: %s; make one with: (umask 077; openssl rand -hex 32 > %s)",
                 path, strerror(-rc), path);
        return rc;
    }
    int rc = file_check(path, fd, error, error_bytes);
    if (rc == 0) {
        ssize_t bytes = file_read(fd, text, sizeof(text));
        if (bytes < 0) {
            rc = (int)bytes;
            snprintf(error, error_bytes, "cannot read the key file %s: %s", path, strerror(-rc));
        } else if (!text_parse(text, (size_t)bytes, psk)) {
            rc = -EINVAL;
            OPENSSL_cleanse(psk, HG_PSK_BYTES);
            snprintf(error, error_bytes,
                     "the key file %s must hold one line of %d hexadecimal digits and nothing else; make one "
                     "with: "
                     "(umask 077; openssl rand -hex 32 > %s)",
                     path, DIGITS, path);
        }
        OPENSSL_cleanse(text, sizeof(text));
    }
    close(fd);
    return rc;
}
