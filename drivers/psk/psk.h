/* SPDX-License-Identifier: Apache-2.0
 *
 * The file of a peer's pre-shared key: 64 hexadecimal digits (32 random bytes), at most a newline after them,
 * readable by its owner only. Made with: (umask 077; openssl rand -hex 32 > FILE)
 */
#ifndef HG_PSK_H
#define HG_PSK_H

#include "drivers/platform/platform.h"

#define HG_PSK_BYTES 32

/* Reads the key. 0, or a negative errno with a sentence for people in `error` that names the file and what to
 * do, and nothing in `psk`: -EACCES group or others have rights on it, or another user owns it; -EINVAL not a
 * regular file or not 64 hexadecimal digits; -ENOENT and others from open and read. The caller wipes psk.
 * Start-up thread. */
int hg_psk_load(const char *path, uint8_t psk[HG_PSK_BYTES], char *error, size_t error_bytes);

#endif
