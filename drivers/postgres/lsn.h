/* SPDX-License-Identifier: Apache-2.0
 *
 * WAL positions and segment files: text, names and arithmetic exactly as PostgreSQL has them. Pure; any
 * thread. A position is a byte address in the WAL (u64); a segment holds `segment_bytes` of it (a power of
 * two, 1 MiB to 1 GiB) and is named by timeline and number: 8 + 8 + 8 upper-case hex digits.
 */
#ifndef HG_POSTGRES_LSN_H
#define HG_POSTGRES_LSN_H

#include <stdbool.h>
#include <stdint.h>

#define HG_LSN_TEXT_BYTES         18 /* "FFFFFFFF/FFFFFFFF" and its end */
#define HG_SEGMENT_NAME_BYTES     25 /* 24 digits and its end */
#define HG_SEGMENT_BYTES_MIN      (UINT32_C(1) << 20)
#define HG_SEGMENT_BYTES_MAX      (UINT32_C(1) << 30)
#define HG_SYSTEM_IDENTIFIER_NONE UINT64_C(0)

/* "16/B374D848". False (and *lsn untouched) for anything else, trailing characters too. */
bool hg_lsn_parse(const char *text, uint64_t *lsn);
/* Writes the text, returns `text`. */
char *hg_lsn_format(char text[HG_LSN_TEXT_BYTES], uint64_t lsn);

/* A decimal number up to `max`, nothing else. */
bool hg_decimal_parse(const char *text, uint64_t max, uint64_t *value);
/* "16MB", "1GB", "1024kB" or bytes, as SHOW wal_segment_size and --wal-segment-size say it. False when it
 * isn't a size that a segment can have. */
bool hg_segment_bytes_parse(const char *text, uint32_t *bytes);
bool hg_segment_bytes_valid(uint64_t bytes);
/* "10s", "500ms", "1min", "0" (milliseconds without a unit), as SHOW says times. */
bool hg_duration_parse(const char *text, uint64_t *duration_ns);

/* Start of the segment that holds the byte at lsn. */
uint64_t hg_segment_start(uint64_t lsn, uint32_t segment_bytes);
/* The first segment start at or above lsn; UINT64_MAX when there is none. */
uint64_t hg_segment_start_up(uint64_t lsn, uint32_t segment_bytes);
/* Name of the segment that holds the byte at lsn. */
char *hg_segment_name(char name[HG_SEGMENT_NAME_BYTES], uint32_t timeline, uint64_t lsn,
                      uint32_t segment_bytes);
/* The reverse: false for anything that isn't exactly such a name for this segment size. */
bool hg_segment_name_parse(const char *name, uint32_t segment_bytes, uint32_t *timeline, uint64_t *lsn);

#endif
